//! The pause container: the image's own program with `native_pause`, none at all with the Sandbox API.

use std::fs;

use cri::api::NamespaceMode::Pod as Shared;
use cri::{Container, Node, Pod, WAMR_WITH_PAUSE, guests};
use e2e::{Process, eventually};

use crate::bench::{WAITS, script_in};

fn namespace(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

fn program(pid: i32) -> String {
    Process::of(pid).unwrap().arguments().swap_remove(0)
}

/// A native container and a wasm one, side by side.
fn both_kinds<'s>(pod: &Pod<'s>) -> [Container<'s>; 2] {
    let native = script_in(pod, WAITS).start();
    let wasm = pod.container("wasm", &guests("beside", &["wait"]), &["/wait.wasm"]).start();
    native.wait_until_it_says("ready");
    wasm.wait_until_it_says("ready");
    [native, wasm]
}

#[test]
fn with_native_pause_the_image_s_own_program_holds_the_namespaces() {
    let scene = Node::shared().scene("native-pause");
    let pod = scene.pod("a").handler(WAMR_WITH_PAUSE).namespaces(Shared, Shared, Shared).run();
    let holder = pod.holder().unwrap();
    eventually("the image's program", || program(holder) == "/pause");
    for container in both_kinds(&pod) {
        for kind in ["net", "ipc", "uts", "pid"] {
            assert_eq!(namespace(container.pid(), kind), namespace(holder, kind), "{kind}");
        }
        container.stop(10);
        assert_eq!(container.status().exit_code, 143);
    }
    assert!(pod.is_ready());
    // Without the setting it is a process of ours.
    let other = scene.pod("b").run();
    assert_ne!(program(other.holder().unwrap()), "/pause");
}

#[test]
fn native_containers_are_in_pods_of_the_sandbox_api_too() {
    if !Node::shared().bed.release.is_2() {
        // containerd 1.7 has no such setting for a handler of the CRI plugin.
        return;
    }
    let node = Node::with_sandbox_api();
    let scene = node.scene("sandbox-api");
    let mut pod = scene.pod("a").sysctl("kernel.msgmax", "16384");
    pod.config.hostname = "its-name".to_owned();
    let pod = pod.run();
    let [native, wasm] = both_kinds(&pod);
    for kind in ["net", "ipc", "uts"] {
        assert_eq!(namespace(native.pid(), kind), namespace(wasm.pid(), kind), "{kind}");
    }
    let script = "hostname; cat /proc/sys/kernel/msgmax /etc/hostname; ls -d /dev/shm; grep -c . /etc/resolv.conf >/dev/null; echo $?";
    let (code, text) = native.exec(&["sh", "-c", script]);
    assert_eq!((code, text.as_str()), (0, "its-name\n16384\nits-name\n/dev/shm\n0\n"));
    assert!(pod.address().is_some());
    pod.stop();
    // Without a grace period of its own.
    assert_eq!(native.status().exit_code, 137);
}
