//! What docs/kubernetes.md says of things that are not as they should be.

use kubernetes::{Pod, PodStatus, Space, eventually, wasm};
use serde_json::json;

#[test]
fn a_class_that_does_not_exist_is_named_when_the_pod_is_made() {
    let space = Space::new("no-class");
    let pod = Pod::new("lost", &[wasm("main", &["hello"])]).with("runtimeClassName", json!("nowhere"));
    let (status, body) = space.cluster.api.ask("POST", &space.path("pods"), Some(&pod.0)).unwrap();
    assert_eq!(status, 403);
    assert!(body.contains("RuntimeClass \\\"nowhere\\\" not found"), "{body}");
}

#[test]
fn a_handler_that_containerd_does_not_have_is_named_in_the_events() {
    let space = Space::new("no-handler");
    let class = json!({ "metadata": { "name": "elsewhere" }, "handler": "elsewhere" });
    space.cluster.api.create("/apis/node.k8s.io/v1/runtimeclasses", &class);
    let pod = Pod::new("lost", &[wasm("main", &["hello"])]).with("runtimeClassName", json!("elsewhere"));
    let pod = space.pod(&pod);
    eventually("the event", || space.events().contains("no runtime for \"elsewhere\" is configured"));
    assert_eq!(space.status(&pod).phase(), "Pending");
    space.cluster.api.delete("/apis/node.k8s.io/v1/runtimeclasses/elsewhere");
}

#[test]
fn a_command_that_is_no_file_of_the_image_is_named_in_the_status() {
    let space = Space::new("no-module");
    let mut container = wasm("main", &["hello"]);
    container["command"] = json!(["/missing.wasm"]);
    let pod = space.pod(&Pod::new("missing", &[container]).once());
    let status = space.wait(&pod, "to end", |status: &PodStatus| status.end().is_some());
    let state = &status.container("main")["state"]["terminated"];
    assert_eq!(state["reason"], "StartError", "{state}");
    assert!(state["message"].as_str().unwrap().contains("/missing.wasm"), "{state}");
}

#[test]
fn a_limit_that_is_too_small_is_refused_with_the_least_that_works() {
    let space = Space::new("small");
    let pod = Pod::new("small", &[wasm("main", &["hello"])])
        .once()
        .container("resources", json!({ "limits": { "memory": "256Ki" } }));
    let pod = space.pod(&pod);
    let status = space.wait(&pod, "to end", |status: &PodStatus| status.end().is_some());
    let state = &status.container("main")["state"]["terminated"];
    assert_eq!(state["reason"], "StartError", "{state}");
    assert!(state["message"].as_str().unwrap().contains("589824"), "{state}");
}
