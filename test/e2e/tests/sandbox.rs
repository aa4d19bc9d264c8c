//! Promise: a pod's pause container is one small process that holds the pod's namespaces, and its guests live in them.
//!
//! Real: containerd, the shim, namespaces, cgroups. The specs are shaped like those of containerd's CRI plugin, which
//! `test/cri` has in earnest.

use e2e::{Bed, Container, Namespace, Task, Traces, eventually};
use serde_json::json;

const KIND: &str = "io.kubernetes.cri.container-type";

/// The pause container of a pod; its image has no such file.
fn sandbox<'n>(namespace: &'n Namespace, image: &e2e::Image) -> Container<'n> {
    let mut sandbox = namespace.container(image, "pod", &["/pause"]).stdout("").stderr("");
    sandbox.spec.set("", "hostname", json!("web-0"));
    sandbox.spec.set("/linux", "sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "7" }));
    sandbox.annotation(KIND, "sandbox")
}

/// A container of the pod that `holder` is of.
fn member<'n>(namespace: &'n Namespace, image: &e2e::Image, holder: &Task, args: &[&str]) -> Container<'n> {
    let mut member = namespace.container(image, "app", args);
    let joined =
        |kind: &str, file: &str| json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", holder.pid) });
    member.spec.set(
        "/linux",
        "namespaces",
        json!([
            { "type": "pid" },
            { "type": "mount" },
            joined("ipc", "ipc"),
            joined("uts", "uts"),
            joined("network", "net")
        ]),
    );
    member.annotation(KIND, "container").annotation("io.kubernetes.cri.sandbox-id", "pod")
}

fn namespace_of(pid: i32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

#[test]
fn a_pod_of_one_container_is_two_processes_in_shared_namespaces() {
    let bed = Bed::shared();
    let namespace = bed.namespace("pod");
    let image = namespace.import_guests(&["wait"]);
    let events = namespace.events();
    let holder = sandbox(&namespace, &image).start();
    assert_eq!(holder.state(), ("RUNNING".to_owned(), 0));
    let task = member(&namespace, &image, &holder, &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");

    // The server, its zygote, and these two.
    assert_eq!(namespace.server().process.children().len(), 3);
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace_of(task.pid, kind), namespace_of(holder.pid, kind));
        assert_ne!(namespace_of(task.pid, kind), namespace_of(std::process::id() as i32, kind));
    }
    let outside = std::process::Command::new("nsenter")
        .args(["-t", &holder.pid.to_string(), "-u", "-n", "sh", "-c"])
        .arg("hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "web-0\n7\n");

    assert_eq!(task.end().code, 137);
    assert_eq!(holder.end().code, 137);
    assert_eq!(events.until_deleted("pod"), ["create", "start", "exit pod 137", "delete"]);
    eventually("the server to end", || Traces::of(&namespace).is_empty());
}

#[test]
fn a_holder_needs_nothing_of_its_image_and_sees_nothing_of_the_host() {
    let bed = Bed::shared();
    let namespace = bed.namespace("holder");
    let image = namespace.import_guests(&["wait"]);
    let holder = sandbox(&namespace, &image).start();
    assert_eq!(namespace_of(holder.pid, "mnt"), namespace_of(namespace.server().zygotes()[0].pid, "mnt"));
    let there: Vec<_> = std::fs::read_dir(format!("/proc/{}/root", holder.pid)).unwrap().collect();
    assert_eq!(there.len(), 1, "the zygote's empty root: {there:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", holder.pid)).unwrap();
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert!(status.contains("Seccomp:\t2"), "{status}");
    holder.end();
}

#[test]
fn a_program_cannot_be_run_in_a_holder() {
    let bed = Bed::shared();
    let namespace = bed.namespace("noexec");
    let image = namespace.import_guests(&["wait", "hello"]);
    let holder = sandbox(&namespace, &image).start();
    let why = namespace.exec("pod", "x", &["/bin/hello.wasm"]).refusal();
    assert!(why.message().contains("only holds the pod's namespaces"), "{why}");
    holder.end();
}

#[test]
fn orphans_of_a_shared_pid_namespace_leave_no_zombie() {
    let bed = Bed::shared();
    let namespace = bed.namespace("orphan");
    let image = namespace.import_guests(&["wait"]);
    let holder = sandbox(&namespace, &image).start();
    // A grandchild of nsenter's, whose parent has ended: process 1 inherits it, and it ends.
    let status = std::process::Command::new("nsenter")
        .args(["-t", &holder.pid.to_string(), "-p", "sh", "-c", "(sleep 0.1 & ) ; exec sleep 0"])
        .status()
        .unwrap();
    assert!(status.success());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let process = holder.process();
    eventually("no child of the holder to be left", || process.children().is_empty());
    assert!(process.is_alive());
    holder.end();
}
