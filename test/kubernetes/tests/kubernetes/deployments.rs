//! Deployments: replicas, rolling updates, scaling.

use kubernetes::{GUESTS, Pod, PodStatus, Space, eventually, wasm};
use serde_json::{Value, json};

fn deployment(name: &str, replicas: u32, pod: Pod) -> Value {
    let mut template = pod.0;
    let template = template.as_object_mut().unwrap();
    template["metadata"] = json!({ "labels": { "app": name } });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "template": { "metadata": template["metadata"], "spec": template["spec"] },
        },
    })
}

fn make(space: &Space, deployment: &Value) {
    space.cluster.api.create(&format!("/apis/apps/v1/namespaces/{}/deployments", space.name), deployment);
}

fn settled(space: &Space, app: &str, replicas: usize) -> Vec<PodStatus> {
    eventually("as many ready pods as asked for", || {
        let pods = space.pods(app);
        pods.len() == replicas && pods.iter().all(PodStatus::ready)
    });
    space.pods(app)
}

#[test]
fn a_rolling_update_replaces_every_replica_without_a_restart() {
    let space = Space::new("rolling");
    make(&space, &deployment("wait", 3, Pod::new("", &[wasm("main", &["wait", "sleep"])])));
    let before = settled(&space, "wait", 3);
    assert!(before.iter().all(|pod| pod.0["spec"]["containers"][0]["image"] == GUESTS));
    space.kubectl(&["set", "image", "deployment/wait", "main=e2e.local/guests:2"]);
    space.kubectl(&["rollout", "status", "deployment/wait", "--timeout=120s"]);
    let after = settled(&space, "wait", 3);
    for pod in &after {
        assert_eq!(pod.0["spec"]["containers"][0]["image"], "e2e.local/guests:2");
        assert_eq!(pod.restarts(), 0);
        assert!(before.iter().all(|old| old.uid() != pod.uid()));
    }
}

#[test]
fn a_deployment_is_scaled_to_thirty_and_to_none() {
    let space = Space::new("scaling");
    make(&space, &deployment("many", 1, Pod::new("", &[wasm("main", &["wait", "sleep"])])));
    settled(&space, "many", 1);
    space.kubectl(&["scale", "deployment/many", "--replicas=30"]);
    let pods = settled(&space, "many", 30);
    assert!(pods.iter().all(|pod| pod.restarts() == 0));
    space.kubectl(&["scale", "deployment/many", "--replicas=0"]);
    eventually("all pods to be gone", || space.pods("many").is_empty());
}
