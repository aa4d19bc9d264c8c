//! Promise: a container shares with its pod and with the host exactly what the pod asks for. Real: all but the kubelet;
//! namespaces are compared by their inodes in `/proc`.

use std::fs;
use std::process::Command;

use cri::api::NamespaceMode::{Container as Own, Node as Host, Pod as Shared};
use cri::{Container, Node, guests};
use e2e::{Image, Network};

fn image() -> Image {
    guests("namespaces", &["wait", "file"])
}

fn namespace(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

/// Of the node: those of its shim server, which runs outside all pods.
fn of_the_node(node: &Node, kind: &str) -> String {
    namespace(node.server().process.pid, kind)
}

fn of(container: &Container<'_>, kind: &str) -> String {
    namespace(container.pid(), kind)
}

#[test]
fn containers_of_a_pod_share_network_ipc_and_name_but_not_processes_and_files() {
    let scene = Node::shared().scene("pod");
    let pod = scene.pod("a").run();
    let one = pod.container("one", &image(), &["/wait.wasm"]).start();
    let two = pod.container("two", &image(), &["/wait.wasm"]).start();
    let other = scene.pod("b").run().container("main", &image(), &["/wait.wasm"]).start();
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(of(&one, kind), of(&two, kind), "{kind}");
        assert_ne!(of(&one, kind), of(&other, kind), "{kind}");
        assert_ne!(of(&one, kind), of_the_node(&scene.node, kind), "{kind}");
    }
    for kind in ["pid", "mnt"] {
        assert_ne!(of(&one, kind), of(&two, kind), "{kind}");
        assert_ne!(of(&one, kind), of_the_node(&scene.node, kind), "{kind}");
    }
}

#[test]
fn a_pod_on_the_host_s_network_has_its_network_and_name() {
    let scene = Node::shared().scene("host-network");
    let pod = scene.pod("a").namespaces(Host, Own, Shared).run();
    assert_eq!(pod.address(), None);
    let container = pod.container("main", &image(), &["/wait.wasm"]).start();
    for kind in ["net", "uts"] {
        assert_eq!(of(&container, kind), of_the_node(&scene.node, kind), "{kind}");
    }
    for kind in ["ipc", "pid", "mnt"] {
        assert_ne!(of(&container, kind), of_the_node(&scene.node, kind), "{kind}");
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(container.exec(&["/file.wasm", "read", "/etc/hostname"]).1.trim(), name.trim());
}

#[test]
fn host_ipc_and_host_pid_are_the_host_s() {
    let scene = Node::shared().scene("host-ipc-pid");
    let container = scene
        .pod("a")
        .namespaces(Shared, Host, Host)
        .run()
        .container("main", &image(), &["/wait.wasm"])
        .start();
    for kind in ["ipc", "pid"] {
        assert_eq!(of(&container, kind), of_the_node(&scene.node, kind), "{kind}");
    }
    assert_ne!(of(&container, "net"), of_the_node(&scene.node, "net"));
    container.stop(10);
    assert_eq!(container.status().exit_code, 143);
}

#[test]
fn containers_that_share_processes_are_in_the_pod_s_pid_namespace() {
    let scene = Node::shared().scene("share-pid");
    let pod = scene.pod("a").namespaces(Shared, Shared, Shared).run();
    let one = pod.container("one", &image(), &["/wait.wasm"]).start();
    let two = pod.container("two", &image(), &["/wait.wasm"]).start();
    assert_eq!(of(&one, "pid"), of(&two, "pid"));
    assert_ne!(of(&one, "pid"), of_the_node(&scene.node, "pid"));
    one.stop(10);
    assert_eq!(one.status().exit_code, 143);
    assert_eq!(two.exec(&["/file.wasm", "read", "/etc/hostname"]).0, 0);
}

#[test]
fn sysctls_and_the_host_name_are_set_in_the_pod_s_namespaces_alone() {
    let scene = Node::shared().scene("sysctls");
    let mut pod = scene.pod("a").sysctl("net.ipv4.tcp_syncookies", "0").sysctl("kernel.shm_rmid_forced", "1");
    pod.config.hostname = "another-name".to_owned();
    let pod = pod.run();
    let container = pod.container("main", &image(), &["/wait.wasm"]).start();
    let network = Network::at(pod.network_namespace().unwrap().as_ref());
    let syncookies = || fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").unwrap();
    assert_eq!(network.enter(syncookies).trim(), "0");
    assert_eq!(scene.node.network().enter(syncookies).trim(), "1");
    let inside = |kind: &str, file: &str| {
        let mut command = Command::new("nsenter");
        command.arg(format!("--{kind}=/proc/{}/ns/{kind}", container.pid())).args(["cat", file]);
        e2e::run(&mut command, b"").succeeded().text().trim().to_owned()
    };
    assert_eq!(inside("ipc", "/proc/sys/kernel/shm_rmid_forced"), "1");
    assert_eq!(inside("uts", "/proc/sys/kernel/hostname"), "another-name");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shm_rmid_forced").unwrap().trim(), "0");
}

#[test]
fn a_sysctl_of_the_whole_host_is_refused_and_leaves_nothing() {
    let scene = Node::shared().scene("bad-sysctl");
    let error = scene.pod("a").sysctl("vm.swappiness", "10").try_run().unwrap_err();
    assert!(error.message().contains("vm.swappiness"), "{error}");
}
