//! Lifecycle hooks and the end of pods.

use std::fs;
use std::time::{Duration, Instant};

use kubernetes::{Pod, Space, eventually, wasm};
use serde_json::json;

#[test]
fn hooks_run_modules_after_the_start_and_before_the_stop() {
    let space = Space::new("hooks");
    let seen = space.cluster.folder().join("hooks");
    fs::create_dir_all(&seen).unwrap();
    let write = |name: &str| {
        let file = format!("/seen/{name}");
        json!({ "exec": { "command": ["/file.wasm", "write", file, name] } })
    };
    let pod = Pod::new("hooked", &[wasm("main", &["wait", "sleep"])])
        .with("volumes", json!([{ "name": "seen", "hostPath": { "path": seen } }]))
        .container("volumeMounts", json!([{ "name": "seen", "mountPath": "/seen" }]))
        .container("lifecycle", json!({ "postStart": write("started"), "preStop": write("stopping") }));
    let pod = space.pod(&pod);
    space.ready(&pod);
    assert_eq!(fs::read_to_string(seen.join("started")).unwrap(), "started");
    assert!(!seen.join("stopping").exists());
    space.kubectl(&["delete", "pod", &pod]);
    assert_eq!(fs::read_to_string(seen.join("stopping")).unwrap(), "stopping");
}

#[test]
fn a_pod_that_is_deleted_does_not_wait_for_its_grace_period() {
    let space = Space::new("grace");
    let pod = Pod::new("wait", &[wasm("main", &["wait", "spin"])])
        .with("terminationGracePeriodSeconds", json!(600))
        .container("resources", json!({ "limits": { "cpu": "100m" } }));
    let pod = space.pod(&pod);
    space.ready(&pod);
    let begin = Instant::now();
    space.kubectl(&["delete", "pod", &pod, "--wait=false"]);
    let path = space.path(&format!("pods/{pod}"));
    eventually("the pod to be gone", || space.cluster.api.get(&path).is_none());
    assert!(begin.elapsed() < Duration::from_secs(150));
}
