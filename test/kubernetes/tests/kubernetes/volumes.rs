//! Volumes that the kubelet keeps up to date.

use kubernetes::{Pod, Space, eventually, wasm};
use serde_json::json;

#[test]
fn a_running_guest_sees_the_update_of_a_config_map() {
    let space = Space::new("config");
    let map = |text: &str| json!({ "metadata": { "name": "settings" }, "data": { "colour": text } });
    space.create("configmaps", &map("red"));
    let pod = Pod::new("watching", &[wasm("main", &["watch", "/settings/colour"])])
        .with("volumes", json!([{ "name": "settings", "configMap": { "name": "settings" } }]))
        .container("volumeMounts", json!([{ "name": "settings", "mountPath": "/settings" }]));
    let pod = space.pod(&pod);
    space.ready(&pod);
    eventually("the guest to see it", || space.logs(&pod) == "now: red\n");
    space.cluster.api.replace(&space.path("configmaps/settings"), &map("green"));
    eventually("the guest to see the update", || space.logs(&pod) == "now: red\nnow: green\n");
    assert_eq!(space.status(&pod).restarts(), 0);
}

#[test]
fn a_guest_reads_secrets_and_the_token_of_its_account() {
    let space = Space::new("secrets");
    let secret = json!({ "metadata": { "name": "key" }, "stringData": { "password": "open sesame" } });
    space.create("secrets", &secret);
    let pod = Pod::new("reading", &[wasm("main", &["wait", "sleep"])])
        .with("volumes", json!([{ "name": "key", "secret": { "secretName": "key", "defaultMode": 0o400 } }]))
        .container("volumeMounts", json!([{ "name": "key", "mountPath": "/key", "readOnly": true }]));
    let pod = space.pod(&pod);
    space.ready(&pod);
    let read = |path: &str| space.kubectl(&["exec", &pod, "--", "/file.wasm", "read", path]);
    assert_eq!(read("/key/password"), "open sesame");
    assert_eq!(read("/var/run/secrets/kubernetes.io/serviceaccount/namespace"), "secrets");
    assert_eq!(read("/var/run/secrets/kubernetes.io/serviceaccount/token").split('.').count(), 3);
    assert!(read("/etc/hosts").contains("reading"));
    assert!(read("/etc/resolv.conf").contains("nameserver 10.99.0.1"));
}
