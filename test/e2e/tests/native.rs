//! Promise: an ordinary Linux container runs through the same shim as wasm ones, with every method of the Task API.
//!
//! Real: containerd, an overlay snapshot of a busybox image, libcontainer, cgroups, namespaces, seccomp.

use std::fs;

use containerd_client::services::v1::{
    DeleteTaskRequest, KillRequest, PauseTaskRequest, ResizePtyRequest, ResumeTaskRequest, UpdateTaskRequest,
};
use e2e::{Bed, Container, Image, Layer, Namespace, Process, Task, Traces, eventually, guest};
use prost_types::Any;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Commands that the tests' scripts use.
const COMMANDS: [&str; 30] = [
    "sh", "cat", "echo", "sleep", "id", "ls", "mkdir", "mknod", "mount", "chmod", "hostname", "stty", "tty",
    "kill", "grep", "readlink", "head", "dd", "ps", "wc", "ln", "touch", "env", "test", "ip", "tail", "sed",
    "awk", "stat", "true",
];

fn image(namespace: &Namespace) -> Image {
    let mut layer = Layer::new().directory("/bin").directory("/tmp").directory("/etc").directory("/proc");
    layer = layer
        .file("/bin/busybox", e2e::busybox_bytes())
        .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:7:8::/home/me:/bin/sh\n");
    for command in COMMANDS {
        layer = layer.symlink(&format!("/bin/{command}"), "busybox");
    }
    let image = Image::new("e2e.local/native:1").layer(layer).entrypoint(&["/bin/sh"]);
    namespace.import(&image);
    image
}

fn script<'n>(namespace: &'n Namespace, image: &Image, text: &str) -> Container<'n> {
    namespace.container(image, "a", &["sh", "-c", text])
}

/// A container that does nothing, for ever, but ends on SIGTERM.
fn idle(namespace: &Namespace, image: &Image) -> Task {
    let task = script(namespace, image, "trap 'exit 3' TERM; echo ready; while :; do sleep 1; done").start();
    task.stdout().wait_until_it_says("ready");
    task
}

fn assert_nothing_left(namespace: &Namespace) {
    let traces = Traces::of_containers(namespace);
    assert!(traces.is_empty(), "{traces:?}");
    let server = namespace.server();
    let children: Vec<_> = server.process.children().iter().map(Process::arguments).collect();
    assert_eq!(children.len(), 1, "only the zygote: {children:?}");
}

#[test]
fn a_program_runs_with_streams_and_its_own_exit_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("run");
    let image = image(&namespace);
    let text =
        "read line; echo out $line; echo err >&2; echo $0 $PATH; cat /proc/self/cgroup | head -n 1; exit 7";
    let mut task = script(&namespace, &image, text).input().start();
    task.write(b"hello\n");
    let finished = task.finish();
    assert_eq!(finished.code, 7);
    assert!(finished.text().starts_with("out hello\nsh /usr/local/sbin"), "{finished:?}");
    assert_eq!(finished.stderr, "err\n");
    for (text, code) in [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        // As process 1 of its namespace it would be spared.
        let finished = script(&namespace, &image, &format!("sh -c '{text}'; exit $?")).run();
        assert_eq!(finished.code, code, "{text}");
    }
    assert_nothing_left(&namespace);
}

#[test]
fn a_script_and_a_program_that_is_not_there_are_told_apart() {
    let bed = Bed::shared();
    let namespace = bed.namespace("script");
    let layer = Layer::new()
        .directory("/bin")
        .file("/bin/busybox", e2e::busybox_bytes())
        .symlink("/bin/sh", "busybox")
        .file("/hello", "#!/bin/sh\necho from a script $1\n")
        .file("/broken", "#!/nonexistent\n")
        .file("/machine", b"\x7fELF\x02\x01\x01");
    let image = Image::new("e2e.local/native-script:1").layer(layer);
    namespace.import(&image);
    let finished = namespace.container(&image, "a", &["/hello", "one"]).run();
    assert_eq!((finished.code, finished.text().as_str()), (0, "from a script one\n"));
    let refusal = namespace.container(&image, "a", &["nothing"]).refusal();
    assert!(refusal.contains("nothing"), "{refusal}");
    let broken = namespace.container(&image, "a", &["/broken"]).run();
    assert_eq!(broken.code, 255);
    assert!(broken.stderr.contains("interpreter"), "{broken:?}");
    let machine = namespace.container(&image, "a", &["/machine"]).run();
    assert_eq!(machine.code, 255);
    assert!(machine.stderr.contains("exec format error"), "{machine:?}");
    assert_nothing_left(&namespace);
}

#[test]
fn the_container_sees_what_its_spec_says() {
    let bed = Bed::shared();
    let namespace = bed.namespace("spec");
    let image = image(&namespace);
    let text = "id; hostname; cat /proc/sys/kernel/shm_rmid_forced; ls -d /dev/null /dev/pts /dev/mqueue; \
        touch /proc/sys/kernel/x 2>/dev/null || echo ro; cat /proc/kcore | wc -c; echo $HOME $PWD; readlink /proc/self/ns/net; \
        grep -E 'CapEff|CapBnd|CapAmb|NoNewPrivs' /proc/self/status; touch /x && echo writable || echo no; ls /dev/special; stat -c %t:%T /dev/special";
    let mut container = script(&namespace, &image, text).cwd("/made/here");
    let spec = &mut container.spec;
    spec.set("/process", "user", json!({ "uid": 7, "gid": 8, "additionalGids": [9], "umask": 0o27 }));
    spec.set("/process", "capabilities", json!({ "bounding": ["CAP_KILL"] }));
    spec.set("/process", "noNewPrivileges", json!(false));
    spec.set("", "hostname", json!("inside"));
    spec.set("/linux", "sysctl", json!({ "kernel.shm_rmid_forced": "1" }));
    spec.set(
        "/linux",
        "devices",
        json!([{ "path": "/dev/special", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666 }]),
    );
    let finished = container.read_only().run();
    let text = finished.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "uid=7(me) gid=8 groups=9", "{finished:?}");
    assert_eq!(lines[1..7], ["inside", "1", "/dev/mqueue", "/dev/null", "/dev/pts", "ro"], "{finished:?}");
    assert_eq!(lines[7..9], ["0", "/home/me /made/here"], "{finished:?}");
    let own = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    assert_ne!(lines[9], own);
    assert_eq!(
        lines[10..14],
        [
            "CapEff:\t0000000000000000",
            "CapBnd:\t0000000000000020",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t0"
        ]
    );
    assert_eq!(lines[14..], ["no", "/dev/special", "1:5"], "{finished:?}");
    assert_nothing_left(&namespace);
}

#[test]
fn signals_reach_the_first_process_and_all_of_them() {
    let bed = Bed::shared();
    let namespace = bed.namespace("kill");
    let image = image(&namespace);
    let task = idle(&namespace, &image);
    assert_eq!(task.state().0, "RUNNING");
    task.kill(15).unwrap();
    let finished = task.finish();
    assert_eq!(finished.code, 3);

    let task = script(&namespace, &image, "sleep 100 & sleep 100 & echo ready; wait").start();
    task.stdout().wait_until_it_says("ready");
    assert_eq!(task.pids().len(), 3);
    let message = KillRequest { container_id: "a".into(), signal: 9, all: true, ..KillRequest::default() };
    task.call(message, async |mut tasks, request| tasks.kill(request).await.map(drop)).unwrap();
    assert_eq!(task.finish().code, 137);
    assert_nothing_left(&namespace);
}

#[test]
fn a_container_that_is_never_started_can_be_killed_and_deleted() {
    let bed = Bed::shared();
    let namespace = bed.namespace("created");
    let image = image(&namespace);
    let task = idle_unstarted(&namespace, &image);
    assert_eq!(task.state().0, "CREATED");
    task.kill(9).unwrap();
    assert_eq!(task.finish().code, 137);
    assert_nothing_left(&namespace);
    let task = idle_unstarted(&namespace, &image);
    let message = DeleteTaskRequest { container_id: "a".into() };
    // containerd itself wants it stopped.
    let deleted = task.call(message, async |mut tasks, request| tasks.delete(request).await.map(drop));
    assert!(deleted.is_ok() || task.state().0 == "CREATED", "{deleted:?}");
    drop(task);
    assert_nothing_left(&namespace);
}

fn idle_unstarted(namespace: &Namespace, image: &Image) -> Task {
    script(namespace, image, "echo ready").create().unwrap()
}

#[test]
fn exec_runs_beside_the_first_process_with_its_own_powers_and_the_profile() {
    let bed = Bed::shared();
    let namespace = bed.namespace("exec");
    let image = image(&namespace);
    let mut container = script(&namespace, &image, "echo ready; while :; do sleep 1; done");
    container.spec.set("/linux", "seccomp", refusing(&["mkdir", "mkdirat"]));
    let task = container.start();
    task.stdout().wait_until_it_says("ready");

    let finished = namespace.exec("a", "e", &["sh", "-c", "cat; echo out; echo err >&2; exit 5"]).run();
    assert_eq!((finished.code, finished.text().as_str(), finished.stderr.as_str()), (5, "out\n", "err\n"));

    let mut exec = namespace.exec("a", "input", &["cat"]).input();
    exec.process["user"] = json!({ "uid": 7, "gid": 8 });
    let (mut exec, _) = exec.start();
    exec.write(b"some\n");
    exec.stdout().wait_until_it_says("some");
    exec.close_input();
    assert_eq!(exec.finish().code, 0);

    let status = "grep -E 'Uid|Gid|Groups|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; mkdir /tmp/x; echo $HOME; cat /proc/self/oom_score_adj";
    for no_new_privs in [true, false] {
        let mut exec = namespace.exec("a", "status", &["sh", "-c", status]);
        exec.process["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [20] });
        exec.process["noNewPrivileges"] = json!(no_new_privs);
        exec.process["capabilities"] = json!({ "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] });
        let finished = exec.run();
        let text = finished.text();
        for part in [
            "Uid:\t7\t7\t7\t7",
            "Gid:\t8\t8\t8\t8",
            "Groups:\t20",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t0000000000000021",
            "Seccomp:\t2",
            "/home/me",
        ] {
            assert!(text.contains(part), "{part:?} is missing: {finished:?}");
        }
        assert!(text.contains(&format!("NoNewPrivs:\t{}", u8::from(no_new_privs))), "{text}");
        assert!(finished.stderr.contains("Operation not permitted"), "the profile holds: {finished:?}");
    }
    // Root's capabilities survive exec; those of a user do not, as the kernel has it.
    let mut exec = namespace.exec("a", "caps", &["grep", "CapEff", "/proc/self/status"]);
    exec.process["capabilities"] =
        json!({ "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] });
    assert_eq!(exec.run().text(), "CapEff:\t0000000000000020\n");

    // The same namespaces, root and cgroup.
    let (exec, process) = namespace.exec("a", "same", &["sleep", "100"]).start();
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(process.pid), of(task.pid), "{kind}");
    }
    let cgroup = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroup(process.pid), cgroup(task.pid));
    exec.kill(9).unwrap();
    assert_eq!(exec.finish().code, 137);

    let refusal = namespace.exec("a", "none", &["nothing-here"]).refusal();
    assert!(refusal.message().contains("executable file not found"), "{refusal:?}");
    // Execs end with their container.
    let (exec, _) = namespace.exec("a", "last", &["sleep", "100"]).start();
    task.kill(9).unwrap();
    assert_eq!(exec.finish().code, 137);
    assert_eq!(task.finish().code, 137);
    assert_nothing_left(&namespace);
}

/// A profile that refuses these calls and no others.
fn refusing(names: &[&str]) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] })
}

#[test]
fn a_seccomp_profile_holds_with_and_without_no_new_privs() {
    let bed = Bed::shared();
    let namespace = bed.namespace("seccomp");
    let image = image(&namespace);
    for no_new_privs in [true, false] {
        let mut container =
            script(&namespace, &image, "grep Seccomp: /proc/self/status; chmod 700 /tmp; echo $?");
        container.spec.set("/process", "noNewPrivileges", json!(no_new_privs));
        container.spec.set("/linux", "seccomp", refusing(&["chmod", "fchmod", "fchmodat"]));
        let finished = container.run();
        assert_eq!(finished.text(), "Seccomp:\t2\n1\n", "{finished:?}");
    }
    let mut container = script(&namespace, &image, "true");
    container.spec.set(
        "/linux",
        "seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] }),
    );
    let refusal = container.refusal();
    assert!(refusal.contains("linux.seccomp"), "{refusal}");
    assert_nothing_left(&namespace);
}

#[test]
fn device_rules_hold() {
    let bed = Bed::shared();
    let namespace = bed.namespace("devices");
    let image = image(&namespace);
    // Random is allowed by default, kmsg (1:11) is not.
    let text = "mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg >/dev/null && echo open || echo refused; head -c 1 /dev/urandom | wc -c";
    for (rules, expected) in [
        (json!([{ "allow": false, "access": "rwm" }]), "refused\n1\n"),
        (
            json!([{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }]),
            "open\n1\n",
        ),
    ] {
        let mut container = script(&namespace, &image, text);
        let capabilities = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
        container.spec.set(
            "/process",
            "capabilities",
            json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities }),
        );
        container.spec.set("/linux/resources", "devices", rules);
        assert_eq!(container.run().text(), expected);
    }
    let mut container = script(&namespace, &image, "echo ready; while :; do sleep 1; done");
    container.spec.set("/linux/resources", "devices", json!([{ "allow": false, "access": "rwm" }]));
    let task = container.start();
    task.stdout().wait_until_it_says("ready");
    let mut exec = namespace.exec("a", "e", &["sh", "-c", text]);
    exec.process["capabilities"] = json!({ "bounding": ["CAP_MKNOD", "CAP_SYSLOG"], "effective": ["CAP_MKNOD", "CAP_SYSLOG"], "permitted": ["CAP_MKNOD", "CAP_SYSLOG"] });
    assert_eq!(exec.run().text(), "refused\n1\n", "also for an exec");
    task.end();
    assert_nothing_left(&namespace);
}

#[test]
fn a_terminal_is_the_container_s_own_for_init_and_exec() {
    let bed = Bed::shared();
    let namespace = bed.namespace("terminal");
    let image = image(&namespace);
    let text = "tty; test -c /dev/console && echo console; trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done";
    let task = script(&namespace, &image, text).terminal().stderr("").start();
    task.stdout().wait_until_it_says("ready");
    assert_eq!(task.stdout().so_far(), "/dev/pts/0\r\nconsole\r\nready\r\n");
    let resize = |exec_id: &str, width, height| {
        let message = ResizePtyRequest { container_id: "a".into(), exec_id: exec_id.into(), width, height };
        task.call(message, async |mut tasks, request| tasks.resize_pty(request).await.map(drop)).unwrap();
    };
    resize("", 100, 40);
    task.stdout().wait_until_it_says("40 100");
    let mut exec = namespace
        .exec("a", "e", &["sh", "-c", "tty; id -u; cat >/dev/tty; stty size; exit 4"])
        .terminal()
        .input();
    exec.process["user"] = json!({ "uid": 7, "gid": 8 });
    let (mut exec, _) = exec.start();
    exec.stdout().wait_until_it_says("7");
    resize("e", 90, 30);
    exec.write(b"typed\n\x04");
    let finished = exec.finish();
    assert_eq!(finished.code, 4);
    assert!(
        finished.text().starts_with("/dev/pts/1\r\n7\r\n") && finished.text().ends_with("30 90\r\n"),
        "{finished:?}"
    );
    task.end();
    assert_nothing_left(&namespace);
}

#[test]
fn pause_stops_every_process_until_resume() {
    let bed = Bed::shared();
    let namespace = bed.namespace("pause");
    let image = image(&namespace);
    let task = script(&namespace, &image, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done").start();
    task.stdout().wait_until_it_says("3\n");
    let message = PauseTaskRequest { container_id: "a".into() };
    task.call(message, async |mut tasks, request| tasks.pause(request).await.map(drop)).unwrap();
    assert_eq!(task.state().0, "PAUSED");
    std::thread::sleep(std::time::Duration::from_millis(200));
    let before = task.stdout().so_far();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(task.stdout().so_far(), before);
    assert!(namespace.exec("a", "e", &["true"]).refusal().message().contains("paused"));
    let message = ResumeTaskRequest { container_id: "a".into() };
    task.call(message, async |mut tasks, request| tasks.resume(request).await.map(drop)).unwrap();
    eventually("it to go on", || task.stdout().so_far() != before);
    task.end();
    assert_nothing_left(&namespace);
}

#[test]
fn limits_are_kept_counted_and_changed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("limits");
    let image = image(&namespace);
    let events = namespace.events();
    let task = script(
        &namespace,
        &image,
        "echo ready; read line; dd if=/dev/zero of=/dev/shm/x bs=1M count=40 && echo fits; sleep 1000",
    )
    .memory_limit(32 << 20)
    .input();
    let mut task = task.start();
    task.stdout().wait_until_it_says("ready");
    assert!(!task.metrics().data.expect("metrics").value.is_empty());
    let resources = json!({ "memory": { "limit": 24 << 20 } }).to_string().into_bytes();
    let any = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
        value: resources,
    };
    let message =
        UpdateTaskRequest { container_id: "a".into(), resources: Some(any), ..UpdateTaskRequest::default() };
    task.call(message, async |mut tasks, request| tasks.update(request).await.map(drop)).unwrap();
    task.write(b"go\n");
    eventually("the report of the kill", || events.topics("a").iter().any(|topic| topic == "/tasks/oom"));
    assert!(!task.stdout().so_far().contains("fits"));
    let _ = task.kill(9);
    assert_eq!(task.finish().code, 137);
    assert_nothing_left(&namespace);
}

#[test]
fn volumes_have_the_propagation_that_was_asked_for() {
    let bed = Bed::shared();
    let namespace = bed.namespace("volumes");
    let image = image(&namespace);
    let host = std::env::temp_dir().join(format!("native-volumes-{}", std::process::id()));
    fs::create_dir_all(host.join("later")).unwrap();
    let path = host.display().to_string();
    rustix::mount::mount("tmpfs", &host, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    rustix::mount::mount_change(&host, rustix::mount::MountPropagationFlags::SHARED).unwrap();
    let unmount = |path: &std::path::Path| rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
    fs::create_dir(host.join("later")).unwrap();
    fs::create_dir(host.join("from-inside")).unwrap();
    for (option, seen, rootfs) in
        [("rprivate", "no\n", ""), ("rslave", "yes\n", "rslave"), ("rshared", "yes\n", "rshared")]
    {
        let text = "echo ready; read line; test -e /volume/later/file && echo yes || echo no; mount -t tmpfs x /volume/from-inside; \
            echo done; read line";
        let mut container =
            script(&namespace, &image, text).mount("bind", &path, "/volume", &["rbind", option]).input();
        if !rootfs.is_empty() {
            container.spec.set("/linux", "rootfsPropagation", json!(rootfs));
        }
        let admin = json!(["CAP_SYS_ADMIN"]);
        container.spec.set(
            "/process",
            "capabilities",
            json!({ "bounding": admin, "effective": admin, "permitted": admin }),
        );
        let mut task = container.start();
        task.stdout().wait_until_it_says("ready");
        rustix::mount::mount("tmpfs", host.join("later"), "tmpfs", rustix::mount::MountFlags::empty(), None)
            .unwrap();
        fs::write(host.join("later/file"), "").unwrap();
        task.write(b"\n");
        task.stdout().wait_until_it_says("done");
        let on_host =
            fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&format!("{path}/from-inside"));
        assert_eq!(on_host, option == "rshared", "{option}");
        assert_eq!(task.stdout().so_far(), format!("ready\n{seen}done\n"), "{option}");
        task.end();
        let _ = unmount(&host.join("from-inside"));
        unmount(&host.join("later")).unwrap();
    }
    unmount(&host).unwrap();
    let finished = script(&namespace, &image, "touch /volume/x; echo $?")
        .mount("bind", &path, "/volume", &["rbind", "ro"])
        .run();
    assert_eq!(finished.text(), "1\n");
    fs::remove_dir_all(&host).unwrap();
    assert_nothing_left(&namespace);
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let bed = Bed::shared();
    let namespace = bed.namespace("refused");
    let image = image(&namespace);
    let refused = |change: &dyn Fn(&mut e2e::Spec), field: &str| {
        let mut container = script(&namespace, &image, "true");
        change(&mut container.spec);
        let refusal = container.refusal();
        assert!(refusal.contains(field), "{field:?} is not in: {refusal}");
    };
    refused(&|spec| spec.push("/linux/namespaces", json!({ "type": "user" })), "linux.namespaces[5].type");
    refused(&|spec| spec.set("/process", "selinuxLabel", json!("a:b:c:d")), "process.selinuxLabel");
    refused(&|spec| spec.set("/linux", "intelRdt", json!({ "closID": "x" })), "linux.intelRdt");
    refused(
        &|spec| {
            spec.push(
                "/mounts",
                json!({ "destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"] }),
            )
        },
        "mounts[7].destination",
    );
    refused(&|spec| spec.set("/process", "apparmorProfile", json!("not-loaded-here")), "pparmor");
    assert_nothing_left(&namespace);
}

#[test]
fn hooks_run_around_the_container_s_life() {
    let bed = Bed::shared();
    let namespace = bed.namespace("hooks");
    let image = image(&namespace);
    let log = std::env::temp_dir().join(format!("native-hooks-{}", std::process::id()));
    let hook = |name: &str| {
        let script = format!("read state; echo {name} $state >> {}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
    };
    let mut container = script(&namespace, &image, "echo ran");
    let hooks = json!({ "createRuntime": hook("createRuntime"), "poststart": hook("poststart"), "poststop": hook("poststop") });
    container.spec.set("", "hooks", hooks);
    assert_eq!(container.run().text(), "ran\n");
    let said = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    let names: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["createRuntime", "poststart", "poststop"], "{said}");
    assert!(said.lines().all(|line| line.contains("\"id\":\"a\"")), "{said}");
    let mut container = script(&namespace, &image, "echo ran");
    container.spec.set("", "hooks", json!({ "createRuntime": [{ "path": "/bin/false" }] }));
    let refusal = container.refusal();
    assert!(refusal.contains("hook"), "{refusal}");
    assert_nothing_left(&namespace);
}

#[test]
fn a_wasm_and_a_native_container_are_served_by_one_server() {
    let bed = Bed::shared();
    let namespace = bed.namespace("mixed");
    let image = image(&namespace);
    let guests = namespace.import_guests(&["wait"]);
    let native = idle(&namespace, &image);
    let wasm = namespace.container(&guests, "w", &["/bin/wait.wasm"]).start();
    wasm.stdout().wait_until_it_says("ready");
    assert_eq!(namespace.servers().len(), 1);
    wasm.end();
    native.end();
    assert_nothing_left(&namespace);
}

#[test]
fn a_native_program_joins_a_wasm_container_under_its_confinement() {
    let bed = Bed::shared();
    let namespace = bed.namespace("joins");
    let layer = Layer::new()
        .directory("/bin")
        .file("/bin/wait.wasm", guest("wait"))
        .file("/bin/busybox", e2e::busybox_bytes())
        .symlink("/bin/sh", "busybox")
        .symlink("/bin/id", "busybox");
    let image = Image::new("e2e.local/native-joins:1").layer(layer);
    namespace.import(&image);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    let mut exec = namespace.exec("a", "id", &["sh", "-c", "id -u; exit 6"]);
    exec.process["user"] = json!({ "uid": 7, "gid": 8 });
    let finished = exec.run();
    assert_eq!((finished.code, finished.text().as_str()), (6, "7\n"), "{finished:?}");
    let mut exec = namespace.exec("a", "wait", &["sh", "-c", "echo ready; read line"]).input();
    let all = json!(["CAP_SYS_ADMIN", "CAP_KILL"]);
    exec.process["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    exec.process["noNewPrivileges"] = json!(false);
    let (exec, process) = exec.start();
    exec.stdout().wait_until_it_says("ready");
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line:?} is not in {status}");
    }
    let cgroup = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroup(process.pid), cgroup(task.pid));
    drop(exec);
    task.end();
    assert_nothing_left(&namespace);
}

#[test]
fn containers_and_execs_leave_no_descriptor_in_the_server() {
    let bed = Bed::shared();
    let namespace = bed.namespace("descriptors");
    let image = image(&namespace);
    let keeper = namespace.container(&image, "keeper", &["sleep", "1000"]).start();
    let server = namespace.server().process;
    let round = || {
        assert_eq!(script(&namespace, &image, "exit 1").run().code, 1);
        assert_eq!(namespace.exec("keeper", "e", &["sh", "-c", "exit 2"]).run().code, 2);
        namespace.container(&image, "a", &["/no/such"]).refusal();
    };
    round();
    let count = || server.descriptors().len();
    let before = count();
    (0..5).for_each(|_| round());
    eventually("the server to have as many descriptors as before", || count() <= before);
    keeper.end();
}

/// CVE-2019-5736: between its making and its start an exec is a process of the shim's own program inside the container.
#[test]
fn a_container_cannot_write_to_the_shim_s_program() {
    let bed = Bed::shared();
    let namespace = bed.namespace("overwrite");
    let image = image(&namespace);
    let program = e2e::shim_binary();
    let before = fs::read(&program).unwrap();
    // Holds on to the program of every process that is not its own, until it is told to write.
    let script_text = "echo ready; read line; n=3; for p in /proc/[0-9]*; do case $(readlink $p/exe) in */busybox) ;; *) \
        (: <$p/exe) && eval \"exec $n<$p/exe\" && n=$((n+1));; esac; done 2>/dev/null; echo found $((n-3)); read line; \
        while [ $n -gt 3 ]; do n=$((n-1)); echo x > /proc/self/fd/$n; done 2>&1; mount -o remount,rw /proc/self/fd/3; echo done";
    let mut container = script(&namespace, &image, script_text).input();
    let all = json!(["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    container.spec.set(
        "/process",
        "capabilities",
        json!({ "bounding": all, "effective": all, "permitted": all }),
    );
    let mut task = container.start();
    task.stdout().wait_until_it_says("ready");
    let exec = namespace.exec("a", "e", &["true"]).add().unwrap();
    task.write(b"look\n");
    task.stdout().wait_until_it_says("found 1");
    // Once nobody executes it, it is not busy any more.
    exec.start().unwrap();
    assert_eq!(exec.finish().code, 0);
    task.write(b"write\n");
    task.stdout().wait_until_it_says("done");
    let said = task.finish().text();
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(fs::read(&program).unwrap() == before, "the shim's program was written to");
    assert_nothing_left(&namespace);
}

#[test]
fn our_annotations_are_for_wasm_containers_and_one_for_this_container_alone_is_refused() {
    let bed = Bed::shared();
    let namespace = bed.namespace("annotations");
    let image = image(&namespace);
    let with = |key: &str| {
        script(&namespace, &image, "echo ran")
            .annotation("io.kubernetes.cri.container-type", "container")
            .annotation("io.kubernetes.cri.container-name", "side")
            .annotation(&format!("wamr.containerd.io/{key}"), "tcp://0.0.0.0:8080")
    };
    // A pod's annotations come to all its containers.
    assert_eq!(with("listen").run().text(), "ran\n");
    assert_eq!(with("listen.main").run().text(), "ran\n");
    for key in ["listen.side", "lissten"] {
        let refusal = with(key).refusal();
        assert!(refusal.contains(&format!("annotations.wamr.containerd.io/{key}")), "{refusal}");
    }
    assert_nothing_left(&namespace);
}

#[test]
fn nothing_outlives_a_server_that_is_killed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("killed");
    let image = image(&namespace);
    let task = idle(&namespace, &image);
    let process = task.process();
    namespace.server().process.signal(Signal::KILL);
    eventually("the container's end", || !process.is_alive());
    drop(task);
    eventually("the cleaning up", || Traces::of_containers(&namespace).is_empty());
}
