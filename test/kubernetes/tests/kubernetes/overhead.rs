//! The overhead that `deploy/kubernetes/runtimeclass.yaml` declares: what a pod takes beside its containers.

use std::fs;

use kubernetes::{Pod, PodStatus, Space, wasm};

/// Memory of a pod's cgroup and of its container's within it, in bytes.
fn memory(space: &Space, status: &PodStatus) -> (u64, u64) {
    let id = status.container("main")["containerID"].as_str().unwrap().replace("containerd://", "");
    let pod = format!("pod{}", status.uid());
    let used = |suffix: &str| {
        let cgroups = space.cluster.cgroups.below("kubepods");
        let mut files = cgroups
            .iter()
            .filter(|path| path.ends_with(suffix))
            .flat_map(|path| ["memory.usage_in_bytes", "memory.current"].map(|file| path.join(file)));
        let file = files.find(|file| file.exists()).expect("the cgroup has a memory controller");
        fs::read_to_string(file).unwrap().trim().parse::<u64>().unwrap()
    };
    (used(&pod), used(&id))
}

#[test]
fn a_pod_is_charged_the_overhead_of_its_class_and_takes_no_more() {
    let space = Space::new("overhead");
    let class = space.cluster.api.get("/apis/node.k8s.io/v1/runtimeclasses/wamr").unwrap();
    let declared = &class["overhead"]["podFixed"];
    let pods = ["a", "b", "c", "d"];
    for pod in pods {
        space.pod(&Pod::new(pod, &[wasm("main", &["wait", "sleep"])]));
    }
    let mut extra: Vec<u64> = pods
        .iter()
        .map(|pod| {
            let status = space.ready(pod);
            assert_eq!(&status.0["spec"]["overhead"], declared);
            let (whole, container) = memory(&space, &status);
            whole.saturating_sub(container)
        })
        .collect();
    // The kernel charges in batches, so single readings are off by up to 256 KiB per processor.
    extra.sort_unstable();
    let bytes =
        declared["memory"].as_str().unwrap().strip_suffix("Ki").unwrap().parse::<u64>().unwrap() << 10;
    assert!(extra[1] <= bytes, "{extra:?} beside the containers, declared are {bytes}");
    assert!(extra[2] * 8 >= bytes, "{extra:?} beside the containers, declared are {bytes}");
}
