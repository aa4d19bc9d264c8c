//! Restarts of the node's agents, which no pod may notice.

use kubernetes::{Pod, PodStatus, Space, wasm};
use serde_json::Value;

/// A pod, and the run its container is in.
fn start(space: &Space) -> (String, PodStatus) {
    let pod = space.pod(&Pod::new("steady", &[wasm("main", &["wait", "sleep"])]));
    let status = space.ready(&pod);
    (pod, status)
}

/// Works as before: the same run of the same container, which still can be asked.
fn unchanged(space: &Space, pod: &str, before: &PodStatus) {
    // Everything the node knows of it is heard anew.
    let identity = |status: &PodStatus| -> Value { status.container("main")["containerID"].clone() };
    let output = space.kubectl(&["exec", pod, "--", "/hello.wasm"]);
    assert_eq!(output, "hello from wasm\n");
    let status = space.ready(pod);
    assert_eq!(status.restarts(), 0);
    assert_eq!(identity(&status), identity(before));
    assert_eq!(space.logs(pod), "ready\n");
}

#[test]
fn a_restart_of_the_kubelet_restarts_no_pod() {
    let space = Space::alone("kubelet-restart");
    let (pod, before) = start(&space);
    let (node, kubelet) = (&space.cluster.node, space.cluster.kubelet());
    node.kill(kubelet);
    node.begin(kubelet);
    space.cluster.wait_for_node();
    // A pod made after it is seen shows that the kubelet has gone through all there are.
    let next = space.pod(&Pod::new("next", &[wasm("main", &["hello"])]).once());
    assert_eq!(space.ended(&next), (0, "Completed".to_owned()));
    unchanged(&space, &pod, &before);
}

#[test]
fn a_restart_of_containerd_restarts_no_pod() {
    let space = Space::alone("containerd-restart");
    let (pod, before) = start(&space);
    space.cluster.node.kill("containerd");
    space.cluster.node.begin("containerd");
    space.cluster.wait_for_containerd();
    let next = space.pod(&Pod::new("next", &[wasm("main", &["hello"])]).once());
    assert_eq!(space.ended(&next), (0, "Completed".to_owned()));
    unchanged(&space, &pod, &before);
}
