//! Promise: an exec is a wasm process of its own in its container: same namespaces, cgroup and confinement, own
//! streams, own end.

use std::fs;
use std::os::unix::fs::MetadataExt;

use containerd_client::tonic::Code;
use e2e::{Bed, Namespace, Task, Traces, eventually};
use serde_json::json;

/// A container that does nothing, for ever.
fn idle(namespace: &Namespace, guests: &[&str]) -> Task {
    let image = namespace.import_guests(&[&["wait"], guests].concat());
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    task
}

#[test]
fn an_exec_runs_a_second_module_with_streams_and_an_exit_code_of_its_own() {
    let bed = Bed::shared();
    let namespace = bed.namespace("second");
    let task = idle(&namespace, &["both", "exit", "trap", "env"]);
    let both = namespace.exec("a", "both", &["/bin/both.wasm"]).run();
    assert_eq!(both.code, 0);
    assert!(both.text().starts_with("out 0\n") && both.text().ends_with("out 9\n"), "{both:?}");
    assert!(both.stderr.starts_with("err 0\n") && both.stderr.ends_with("err 9\n"), "{both:?}");
    for code in [0, 1, 42, 255] {
        let text = code.to_string();
        assert_eq!(namespace.exec("a", "exit", &["/bin/exit.wasm", &text]).run().code, code);
    }
    assert_eq!(namespace.exec("a", "trap", &["/bin/trap.wasm"]).run().code, 134);
    let mut exec = namespace.exec("a", "env", &["env.wasm", "one"]);
    exec.process["env"] = json!(["PATH=/bin", "ONLY=here"]);
    let env = exec.run().text();
    assert!(env.contains("arg 1 one\n") && env.contains("env ONLY=here\n"), "{env}");
    assert_eq!(task.state().0, "RUNNING");
    assert_eq!(task.stdout().so_far(), "ready\n", "nothing of the execs");
    task.end();
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
}

#[test]
fn an_exec_enters_another_export_of_the_container_s_own_module() {
    let bed = Bed::shared();
    let namespace = bed.namespace("export");
    let image = namespace.import_guests(&["loop"]);
    let task = namespace.container(&image, "a", &["/bin/loop.wasm"]).start();
    let finished = namespace.exec("a", "e", &["/bin/loop.wasm#other"]).run();
    assert_eq!((finished.code, finished.text().as_str()), (0, "entered at other\n"));
    let refusal = namespace.exec("a", "e", &["/bin/loop.wasm#missing"]).refusal();
    assert!(refusal.message().contains("missing"), "{refusal:?}");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    task.end();
}

#[test]
fn an_exec_reads_its_stdin_until_that_is_closed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("stdin");
    let task = idle(&namespace, &["cat"]);
    let (mut exec, _) = namespace.exec("a", "cat", &["/bin/cat.wasm", "5"]).input().start();
    exec.write(b"first\n");
    exec.stdout().wait_until_it_says("first\n");
    exec.write(b"second\n");
    exec.close_input();
    let finished = exec.finish();
    assert_eq!((finished.code, finished.text().as_str()), (5, "first\nsecond\n"));
    task.end();
}

#[test]
fn an_exec_shares_its_container_s_namespaces_root_and_cgroup() {
    let bed = Bed::shared();
    let namespace = bed.namespace("shares");
    let task = idle(&namespace, &[]);
    let (exec, process) = namespace.exec("a", "e", &["/bin/wait.wasm"]).start();
    exec.stdout().wait_until_it_says("ready");
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(process.pid), of(task.pid), "{kind}");
        // Those the spec asks for.
        if ["mnt", "pid", "net", "ipc", "uts"].contains(&kind) {
            assert_ne!(of(process.pid), of(std::process::id() as i32), "{kind}");
        }
    }
    let cgroup = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroup(process.pid), cgroup(task.pid));
    let root = |pid: i32| fs::metadata(format!("/proc/{pid}/root/bin")).map(|m| (m.dev(), m.ino())).unwrap();
    assert_eq!(root(process.pid), root(task.pid));
    let mut both = vec![task.pid, process.pid];
    both.sort_unstable();
    let mut told = task.pids();
    told.sort_unstable();
    assert_eq!(told, both);
    exec.end();
    assert_eq!(task.pids(), [task.pid]);
    task.end();
}

#[test]
fn an_exec_is_confined_like_its_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("confined");
    let task = idle(&namespace, &[]);
    let mut exec = namespace.exec("a", "e", &["/bin/wait.wasm"]);
    // Whatever it asks for: a wasm process has no capability.
    exec.process["capabilities"] = json!({ "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"] });
    let (exec, process) = exec.start();
    exec.stdout().wait_until_it_says("ready");
    let fields = [
        "Uid",
        "Gid",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
    ];
    let status = |pid: i32, field: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
    };
    for field in fields {
        assert_eq!(status(process.pid, field), status(task.pid, field), "{field}");
    }
    assert_eq!(status(process.pid, "CapEff"), "0000000000000000");
    assert_eq!((status(process.pid, "NoNewPrivs"), status(process.pid, "Seccomp")), ("1".into(), "2".into()));
    exec.end();

    let mut exec = namespace.exec("a", "other-user", &["/bin/wait.wasm"]);
    exec.process["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [1002] });
    let (exec, process) = exec.start();
    assert_eq!(status(process.pid, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(status(process.pid, "Gid"), "1001\t1001\t1001\t1001");
    assert_eq!(status(process.pid, "Groups"), "1002");
    exec.end();
    task.end();
}

#[test]
fn an_exec_and_its_container_see_each_other_s_files() {
    let bed = Bed::shared();
    let namespace = bed.namespace("files");
    let image = namespace.import_guests(&["wait", "file"]);
    let container = namespace.container(&image, "a", &["/bin/wait.wasm"]);
    let task = container.mount("tmpfs", "tmpfs", "/scratch", &["nosuid", "nodev", "size=1m"]).start();
    let file = |args: &[&str]| namespace.exec("a", "file", &[&["/bin/file.wasm"], args].concat()).run();
    for path in ["/on-root", "/scratch/on-tmpfs"] {
        assert_eq!(file(&["write", path, "kept"]).code, 0);
        let read = file(&["read", path]);
        assert_eq!((read.code, read.text().as_str()), (0, "kept"), "{path}");
        let seen = fs::read_to_string(format!("/proc/{}/root{path}", task.pid)).unwrap();
        assert_eq!(seen, "kept", "{path} of the first process");
    }
    task.end();
}

#[test]
fn a_signal_to_an_exec_ends_that_exec_and_nothing_else() {
    let bed = Bed::shared();
    let namespace = bed.namespace("signals");
    let task = idle(&namespace, &[]);
    let (bystander, _) = namespace.exec("a", "bystander", &["/bin/wait.wasm"]).start();
    for (how, signal, code) in [("spin", 15, 143), ("sleep", 2, 130), ("poll", 9, 137), ("spin", 10, 138)] {
        let (exec, process) = namespace.exec("a", "e", &["/bin/wait.wasm", how]).input().start();
        exec.stdout().wait_until_it_says("ready");
        exec.kill(signal).unwrap();
        assert_eq!(exec.wait(), code, "{how} {signal}");
        assert_eq!(exec.state().unwrap(), ("STOPPED".to_owned(), code));
        assert_eq!(exec.kill(signal).unwrap_err().code(), Code::NotFound);
        assert_eq!(exec.finish().code, code);
        assert!(!process.is_there());
    }
    assert_eq!((task.state().0.as_str(), bystander.state().unwrap().0.as_str()), ("RUNNING", "RUNNING"));
    bystander.end();
    task.end();
}

#[test]
fn an_exec_goes_from_created_to_running_to_stopped() {
    let bed = Bed::shared();
    let namespace = bed.namespace("states");
    let task = idle(&namespace, &["cat"]);
    let mut exec = namespace.exec("a", "e", &["/bin/cat.wasm", "3"]).input().add().unwrap();
    assert_eq!(exec.state().unwrap(), ("CREATED".to_owned(), 0));
    let pid = exec.start().unwrap();
    assert!(task.pids().contains(&pid));
    assert_eq!(exec.state().unwrap(), ("RUNNING".to_owned(), 0));
    assert_eq!(exec.start().unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(exec.delete().unwrap_err().code(), Code::FailedPrecondition);
    exec.close_input();
    assert_eq!(exec.wait(), 3);
    assert_eq!(exec.state().unwrap(), ("STOPPED".to_owned(), 3));
    assert_eq!(exec.wait(), 3, "Wait answers at once, however often it is asked");
    assert_eq!(exec.delete().unwrap(), 3);
    assert_eq!(exec.state().unwrap_err().code(), Code::NotFound);
    task.end();
}

#[test]
fn an_exec_that_was_never_started_can_be_deleted() {
    let bed = Bed::shared();
    let namespace = bed.namespace("unborn");
    let task = idle(&namespace, &["hello"]);
    let exec = namespace.exec("a", "e", &["/bin/hello.wasm"]).add().unwrap();
    assert_eq!(exec.delete().unwrap(), 137);
    drop(exec);
    assert_eq!(task.pids(), [task.pid]);
    // Its id is free again.
    assert_eq!(namespace.exec("a", "e", &["/bin/hello.wasm"]).run().text(), "hello from wasm\n");
    task.end();
}

#[test]
fn events_tell_the_exec_s_id_and_exit_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("events");
    let task = idle(&namespace, &["exit"]);
    let events = namespace.events();
    for (id, code) in [("e1", "5"), ("e2", "0")] {
        namespace.exec("a", id, &["/bin/exit.wasm", code]).run();
    }
    task.end();
    let expected = [
        "exec-added e1",
        "exec-started e1",
        "exit e1 5",
        "exec-added e2",
        "exec-started e2",
        "exit e2 0",
        "exit a 137",
        "delete",
    ];
    assert_eq!(events.until_deleted("a"), expected);
}

#[test]
fn nothing_can_be_run_in_a_container_that_does_not_run() {
    let bed = Bed::shared();
    let namespace = bed.namespace("moments");
    let image = namespace.import_guests(&["wait", "hello"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).create().unwrap();
    let refused = |words: &str| {
        let refusal = namespace.exec("a", "e", &["/bin/hello.wasm"]).refusal();
        assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
        assert!(refusal.message().contains(words), "{refusal:?}");
    };
    refused("not started");
    task.start().unwrap();
    namespace.ctr().run(&["task", "pause", "a"]).succeeded();
    refused("paused");
    namespace.ctr().run(&["task", "resume", "a"]).succeeded();
    assert_eq!(namespace.exec("a", "e", &["/bin/hello.wasm"]).run().code, 0);
    task.kill(9).unwrap();
    task.wait();
    refused("ended");
    task.finish();
    let refusal = namespace.exec("a", "e", &["/bin/hello.wasm"]).refusal();
    assert_eq!(refusal.code(), Code::NotFound, "{refusal:?}");
}

#[test]
fn execs_end_with_their_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("end");
    let image = namespace.import_guests(&["wait"]);
    // With a pid namespace of its own the kernel ends them; with the host's the shim does.
    for id in ["own", "host"] {
        let mut container = namespace.container(&image, id, &["/bin/wait.wasm"]);
        if id == "host" {
            let kinds = ["ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
            container.spec.set("/linux", "namespaces", json!(kinds));
        }
        let events = namespace.events();
        let task = container.start();
        let execs: Vec<_> = ["e1", "e2"]
            .into_iter()
            .map(|exec| namespace.exec(id, exec, &["/bin/wait.wasm"]).start())
            .collect();
        let unborn = namespace.exec(id, "unborn", &["/bin/wait.wasm"]).add().unwrap();
        task.kill(15).unwrap();
        assert_eq!(task.wait(), 143);
        for (exec, process) in &execs {
            assert_eq!(exec.wait(), 137, "{id}");
            assert!(!process.is_there());
        }
        assert_eq!(unborn.wait(), 137);
        assert_eq!(unborn.start().unwrap_err().code(), Code::FailedPrecondition);
        assert!(bed.cgroups.processes(&namespace.name).is_empty());
        drop((execs, unborn));
        task.finish();
        let told = events.until_deleted(id);
        for exec in ["e1", "e2", "unborn"] {
            let exits = told.iter().filter(|line| **line == format!("exit {exec} 137")).count();
            assert_eq!(exits, 1, "{told:?}");
        }
        let first = told.iter().position(|line| *line == format!("exit {id} 143")).unwrap();
        let last_exec = told.iter().rposition(|line| line.ends_with(" 137")).unwrap();
        assert!(last_exec < first, "the container's end is the last one told: {told:?}");
    }
}

#[test]
fn an_exec_id_can_be_taken_once() {
    let bed = Bed::shared();
    let namespace = bed.namespace("twice");
    let task = idle(&namespace, &["hello"]);
    let (first, _) = namespace.exec("a", "e", &["/bin/wait.wasm"]).start();
    let client = namespace.client.clone();
    let again = |id: &str| {
        use containerd_client::services::v1::ExecProcessRequest;
        use containerd_client::services::v1::tasks_client::TasksClient;
        let process = json!({ "args": ["/bin/hello.wasm"], "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        let spec = prost_types::Any { type_url: String::new(), value: process.to_string().into_bytes() };
        let message = ExecProcessRequest {
            container_id: "a".into(),
            exec_id: id.to_owned(),
            spec: Some(spec),
            ..ExecProcessRequest::default()
        };
        client.call(message, async |channel, request| TasksClient::new(channel).exec(request).await.map(drop))
    };
    assert_eq!(again("e").unwrap_err().code(), Code::AlreadyExists);
    first.kill(9).unwrap();
    assert_eq!(first.wait(), 137);
    assert_eq!(again("e").unwrap_err().code(), Code::AlreadyExists, "until it is deleted");
    first.finish();
    for id in ["../x", "a/b"] {
        assert_eq!(again(id).unwrap_err().code(), Code::InvalidArgument, "{id}");
    }
    // Many at once under one id: one of them gets it.
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| again("e"))).collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers
            .filter(|answer| answer.as_ref().map_err(|e| assert_eq!(e.code(), Code::AlreadyExists)).is_ok())
            .count()
    });
    assert_eq!(won, 1);
    assert_eq!(task.pids().len(), 2);
    task.end();
}

#[test]
fn what_cannot_be_run_is_refused_in_words_and_leaves_nothing() {
    use e2e::{Image, Layer, guest};
    let bed = Bed::shared();
    let namespace = bed.namespace("refused");
    let layer = Layer::new()
        .directory("/bin")
        .file("/bin/wait.wasm", guest("wait"))
        .file("/bin/no_start.wasm", guest("no_start"))
        .file("/bin/torn.wasm", &guest("wait")[..200])
        .file("/bin/text.wasm", "hello");
    let image = Image::new("e2e.local/refused:1").layer(layer);
    namespace.import(&image);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let server = namespace.server();
    let quiet = server.process.descriptors().len();
    let cases = [
        ("/bin/missing.wasm", "missing.wasm"),
        ("/bin/no_start.wasm", "_start"),
        ("/bin/torn.wasm", ""),
        ("/bin/text.wasm", "text.wasm"),
        ("", ""),
    ];
    for (path, words) in cases {
        let refusal = namespace.exec("a", "e", &[path]).refusal();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{path}: {refusal:?}");
        assert!(refusal.message().contains(words) && !refusal.message().is_empty(), "{path}: {refusal:?}");
    }
    let mut exec = namespace.exec("a", "e", &["/bin/wait.wasm"]);
    exec.process["user"] = json!("nobody");
    assert_eq!(exec.refusal().code(), Code::InvalidArgument);
    assert_eq!((task.state().0.as_str(), task.pids()), ("RUNNING", vec![task.pid]));
    eventually("the descriptors of what was refused to close", || {
        server.process.descriptors().len() <= quiet
    });
    task.end();
}

#[test]
fn calls_about_an_exec_nobody_added_are_not_found() {
    use containerd_client::services::v1::{DeleteProcessRequest, KillRequest, StartRequest, WaitRequest};
    let bed = Bed::shared();
    let namespace = bed.namespace("unknown");
    let task = idle(&namespace, &[]);
    let (container_id, exec_id) = (String::from("a"), String::from("nobody"));
    let start = StartRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
    let wait = WaitRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
    let delete = DeleteProcessRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
    let kill = KillRequest { container_id, exec_id, signal: 9, all: false };
    let answers = [
        task.call(start, async |mut tasks, request| tasks.start(request).await.map(drop)),
        task.call(wait, async |mut tasks, request| tasks.wait(request).await.map(drop)),
        task.call(delete, async |mut tasks, request| tasks.delete_process(request).await.map(drop)),
        task.call(kill, async |mut tasks, request| tasks.kill(request).await.map(drop)),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(task.state().0, "RUNNING");
    task.end();
}

#[test]
fn many_execs_at_once_leave_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("many");
    let task = idle(&namespace, &["exit"]);
    let server = namespace.server();
    namespace.exec("a", "first", &["/bin/exit.wasm", "1"]).run();
    let quiet = server.process.descriptors().len();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let namespace = &namespace;
            scope.spawn(move || {
                for round in 0..5 {
                    let (id, code) = (format!("e{thread}-{round}"), 10 + thread);
                    let text = code.to_string();
                    assert_eq!(namespace.exec("a", &id, &["/bin/exit.wasm", &text]).run().code, code);
                }
            });
        }
    });
    assert_eq!(task.pids(), [task.pid]);
    eventually("the execs' descriptors to close", || server.process.descriptors().len() <= quiet + 2);
    task.end();
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
}

#[test]
fn the_last_words_of_an_exec_wait_for_a_client_that_comes_late() {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let bed = Bed::shared();
    let namespace = bed.namespace("late");
    let task = idle(&namespace, &["hello"]);
    for terminal in [false, true] {
        let path = bed.folder().join(format!("late-{terminal}"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let exec = namespace.exec("a", "e", &["/bin/hello.wasm"]).stdout(&path.display().to_string());
        let exec = if terminal { exec.terminal() } else { exec }.add().unwrap();
        exec.start().unwrap();
        assert_eq!(exec.wait(), 0);
        let (mut text, mut length) = ([0; 256], 0);
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(exec.delete().unwrap(), 0));
            std::thread::sleep(std::time::Duration::from_millis(100));
            let mut client =
                fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
            length = client.read(&mut text).unwrap();
        });
        assert_eq!(String::from_utf8_lossy(&text[..length]).trim_end(), "hello from wasm", "{terminal}");
        fs::remove_file(path).unwrap();
    }
    task.end();
}

#[test]
fn ctr_task_exec_prints_the_output_and_ends_with_the_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ctr");
    let task = idle(&namespace, &["hello", "exit"]);
    let fifos = bed.fifos().join(&namespace.name).display().to_string();
    let exec = |id: &str, args: &[&str]| {
        let options = ["task", "exec", "--fifo-dir", &fifos, "--exec-id", id, "a"];
        namespace.ctr().run(&[&options, args].concat())
    };
    // Its client opens the streams at its leisure and forgets them once Delete has answered.
    for i in 0..20 {
        let output = exec(&format!("hello-{i}"), &["/bin/hello.wasm"]).succeeded();
        assert_eq!(output.text(), "hello from wasm\n", "{i}");
    }
    let output = exec("exit", &["/bin/exit.wasm", "42"]);
    assert_eq!(output.code, 42, "{output:?}");
    task.end();
}
