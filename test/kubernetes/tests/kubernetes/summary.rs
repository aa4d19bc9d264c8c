//! What `kubectl top` and autoscalers are made of: the kubelet's summary.

use kubernetes::{Pod, Space, wait_for, wasm};
use serde_json::{Value, json};

#[test]
fn the_summary_tells_memory_and_processor_time_of_pod_and_container() {
    let space = Space::new("summary");
    let pod = Pod::new("busy", &[wasm("main", &["wait", "spin"])])
        .container("resources", json!({ "limits": { "cpu": "100m", "memory": "32Mi" } }));
    let pod = space.pod(&pod);
    space.ready(&pod);
    let (whole, container) = wait_for("a summary with all there is to tell", || {
        let summary = space.cluster.api.get("/api/v1/nodes/node/proxy/stats/summary")?;
        let pods = summary["pods"].as_array()?;
        let whole = pods.iter().find(|found| found["podRef"]["namespace"] == "summary")?;
        let container = whole["containers"].get(0)?;
        let told =
            |value: &Value, group: &str, field: &str| value[group][field].as_u64().is_some_and(|sum| sum > 0);
        let complete = told(container, "cpu", "usageNanoCores")
            && told(container, "memory", "workingSetBytes")
            && told(whole, "cpu", "usageNanoCores")
            && told(whole, "memory", "workingSetBytes");
        complete.then(|| (whole.clone(), container.clone()))
    });
    assert_eq!(container["name"], "main");
    let number = |value: &Value, group: &str, field: &str| value[group][field].as_u64().unwrap();
    let memory = number(&container, "memory", "workingSetBytes");
    assert!((10_000..8 << 20).contains(&memory), "{memory}");
    // A tenth of a processor, of which the kubelet sees samples.
    let used = number(&container, "cpu", "usageNanoCores");
    assert!((10_000_000..300_000_000).contains(&used), "{used}");
    let whole = number(&whole, "memory", "workingSetBytes");
    assert!((10_000..8 << 20).contains(&whole), "{whole}");
}
