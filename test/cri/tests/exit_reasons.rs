//! Promise: why a container ended is told as Kubernetes shows it. Real: all but the kubelet.

use cri::{Node, guests};
use e2e::Image;

const MIB: i64 = 1 << 20;

fn image() -> Image {
    guests("exit-reasons", &["exit", "trap", "file", "dirty", "wait"])
}

#[test]
fn an_end_with_0_is_completed_and_any_other_is_an_error_with_its_code() {
    let scene = Node::shared().scene("codes");
    let pod = scene.pod("a").run();
    for (attempt, code) in [0, 1, 42, 255].into_iter().enumerate() {
        let container = pod.container("main", &image(), &["/exit.wasm", &code.to_string()]);
        let (status, _) = container.attempt(attempt as u32).run();
        let reason = if code == 0 { "Completed" } else { "Error" };
        assert_eq!((status.exit_code, status.reason.as_str()), (code, reason));
    }
    let (status, _) = pod.container("traps", &image(), &["/trap.wasm"]).run();
    assert_eq!((status.exit_code, status.reason.as_str()), (134, "Error"));
}

#[test]
fn a_container_that_the_kernel_killed_for_its_own_limit_is_oom_killed() {
    let scene = Node::shared().scene("oom-own");
    let pod = scene.pod("a").run();
    // What is in /dev/shm counts for whoever wrote it.
    let container = pod.container("main", &image(), &["/file.wasm", "append", "/dev/shm/x", "60"]);
    let (status, _) = container.memory_limit(16 * MIB).run();
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    assert!(pod.is_ready());
}

#[test]
fn a_container_that_the_kernel_killed_for_its_pods_limit_is_oom_killed() {
    let scene = Node::shared().scene("oom-pod");
    let pod = scene.pod("a").run();
    let modest = pod.container("modest", &image(), &["/wait.wasm"]).start();
    scene.node.bed.cgroups.limit_memory(&scene.name, 48 << 20);
    let (status, _) = pod.container("greedy", &image(), &["/dirty.wasm", "200"]).run();
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    assert_eq!(modest.status().reason, "");
    assert!(pod.is_ready());
}

#[test]
fn a_guest_meets_a_failing_allocation_before_the_kernel_kills() {
    let scene = Node::shared().scene("grow");
    let container = scene.pod("a").run().container("main", &image(), &["/dirty.wasm", "200"]);
    let (status, text) = container.memory_limit(32 * MIB).run();
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(text.starts_with("malloc failed after"), "{text}");
}

#[test]
fn a_container_killed_by_the_kubelet_is_an_error_with_137_or_143() {
    let scene = Node::shared().scene("killed");
    let pod = scene.pod("a").run();
    for (name, grace, code) in [("softly", 30, 143), ("at-once", 0, 137)] {
        let container = pod.container(name, &image(), &["/wait.wasm", "spin"]).start();
        container.wait_until_it_says("ready");
        container.stop(grace);
        let status = container.status();
        assert_eq!((status.exit_code, status.reason.as_str()), (code, "Error"));
    }
}

#[test]
fn what_cannot_run_is_told_by_name_when_it_is_started() {
    let scene = Node::shared().scene("cannot");
    let pod = scene.pod("a").run();
    let missing = pod.container("missing", &image(), &["/nothing.wasm"]).create();
    let error = missing.try_start().unwrap_err();
    assert!(error.message().contains("/nothing.wasm"), "{error}");
    let status = missing.status();
    assert!(status.message.contains("/nothing.wasm"), "{status:?}");
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
}
