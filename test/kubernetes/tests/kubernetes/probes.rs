//! Probes.

use kubernetes::{Pod, PodStatus, Space, wasm};
use serde_json::json;

#[test]
fn an_exec_probe_runs_a_module_and_readiness_follows_it() {
    let space = Space::new("readiness");
    let probe = json!({ "exec": { "command": ["/file.wasm", "read", "/tmp/ready"] }, "periodSeconds": 1 });
    let pod = Pod::new("probed", &[wasm("main", &["wait", "sleep"])]).container("readinessProbe", probe);
    let pod = space.pod(&pod);
    let status = space.wait(&pod, "to run", |status| status.phase() == "Running");
    assert!(!status.ready());
    space.kubectl(&["exec", &pod, "--", "/file.wasm", "write", "/tmp/ready", "yes"]);
    let status = space.ready(&pod);
    assert_eq!(status.restarts(), 0);
}

#[test]
fn a_liveness_probe_that_fails_restarts_the_container() {
    let space = Space::new("liveness");
    let probe =
        json!({ "exec": { "command": ["/exit.wasm", "1"] }, "periodSeconds": 1, "failureThreshold": 1 });
    let pod = Pod::new("probed", &[wasm("main", &["wait", "sleep"])]).container("livenessProbe", probe);
    let pod = space.pod(&pod);
    let status = space.wait(&pod, "to be restarted", |status: &PodStatus| status.restarts() > 0);
    assert_eq!(status.last_end().map(|(code, _)| code), Some(143));
    assert!(space.events().contains("Liveness probe failed"), "{}", space.events());
}
