//! How containers end, and what Kubernetes says of it.

use kubernetes::{Pod, PodStatus, Space, wasm};
use serde_json::json;

#[test]
fn a_guest_that_returns_is_completed() {
    let space = Space::new("completed");
    let pod = space.pod(&Pod::new("hello", &[wasm("main", &["hello"])]).once());
    assert_eq!(space.ended(&pod), (0, "Completed".to_owned()));
    assert_eq!(space.status(&pod).phase(), "Succeeded");
    assert_eq!(space.logs(&pod), "hello from wasm\n");
}

#[test]
fn a_guest_that_fails_is_an_error_with_its_code() {
    let space = Space::new("error");
    let pod = space.pod(&Pod::new("exit", &[wasm("main", &["exit", "7"])]).once());
    assert_eq!(space.ended(&pod), (7, "Error".to_owned()));
    assert_eq!(space.status(&pod).phase(), "Failed");
}

#[test]
fn the_log_of_a_guest_that_traps_has_its_last_words_and_the_reason() {
    let space = Space::new("trap");
    let pod = space.pod(&Pod::new("trap", &[wasm("main", &["trap"])]).once());
    assert_eq!(space.ended(&pod), (134, "Error".to_owned()));
    let log = space.logs(&pod);
    // Two streams, which containerd reads one beside the other.
    for line in ["before the trap\n", "wasm trap: unreachable\n", "  #0 innermost\n", "  #1 middle\n"] {
        assert!(log.contains(line), "{log}");
    }
}

#[test]
fn a_guest_beyond_its_memory_limit_is_oom_killed() {
    let space = Space::new("oom");
    // Files in memory count, and the guest's own limit on linear memory does not see them.
    let pod = Pod::new("greedy", &[wasm("main", &["file", "append", "/scratch/x", "128"])])
        .once()
        .with("volumes", json!([{ "name": "scratch", "emptyDir": { "medium": "Memory" } }]))
        .container("volumeMounts", json!([{ "name": "scratch", "mountPath": "/scratch" }]))
        .container("resources", json!({ "limits": { "memory": "16Mi" } }));
    let pod = space.pod(&pod);
    assert_eq!(space.ended(&pod), (137, "OOMKilled".to_owned()));
}

#[test]
fn a_guest_that_keeps_failing_is_backed_off() {
    let space = Space::new("crashloop");
    let pod = space.pod(&Pod::new("crashing", &[wasm("main", &["exit", "3"])]));
    let backed_off = |status: &PodStatus| status.waits_for() == "CrashLoopBackOff";
    let status = space.wait(&pod, "to be backed off", backed_off);
    assert_eq!(status.last_end(), Some((3, "Error".to_owned())));
    assert!(status.restarts() >= 1);
    assert_eq!(status.phase(), "Running");
}
