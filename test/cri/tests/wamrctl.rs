//! Promise: `wamrctl` shows pods as the kubelet has them, with a pause container and without. Real: all but the kubelet.

use std::sync::Arc;

use cri::{Node, guests};
use e2e::tool::{find, guest_digest, wamrctl_json};
use serde_json::Value;

/// Whatever else runs on this machine, of other releases too, is none of this test's business.
fn ps(node: &Node) -> Value {
    let (mut values, _) = wamrctl_json(&node.bed, &["ps", "--namespace", "k8s.io"]);
    values.remove(0)
}

fn shown(node: &Arc<Node>, holder: bool) {
    let scene = node.scene("ps");
    let image = guests("ps", &["wait"]);
    let pod = scene.pod("a").run();
    let container = pod.container("main", &image, &[]).start();
    container.wait_until_it_says("ready");
    let rows = ps(node);
    let row = find(&rows, "id", &container.id);
    assert_eq!(row["pid"], container.pid(), "{row}");
    assert_eq!((&row["sandbox"], &row["state"]), (&pod.id.as_str().into(), &"running".into()), "{row}");
    assert_eq!(row["module"]["digest"], guest_digest("wait"));
    assert!(row["memory"]["private_kib"].as_u64().unwrap() > 0, "{row}");
    let holders = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] == "sandbox" && row["id"] == pod.id.as_str());
    assert_eq!(holders.count(), usize::from(holder), "{rows}");
}

#[test]
fn a_pod_with_a_pause_container_is_shown_with_it() {
    shown(&Node::shared(), true);
}

#[test]
fn a_pod_of_the_sandbox_api_is_shown_by_its_containers() {
    let node = Node::with_sandbox_api();
    // Older ones know no such pods: a pause container again.
    shown(&node, !node.bed.release.is_2());
}

#[test]
fn a_node_for_pods_has_its_handler_and_its_network() {
    let node = Node::shared();
    let (values, _) = wamrctl_json(&node.bed, &["doctor"]);
    for name in ["RuntimeClass handler", "pod network", "shim", "containerd"] {
        assert_eq!(find(&values[0], "name", name)["verdict"], "ok", "{values:?}");
    }
}
