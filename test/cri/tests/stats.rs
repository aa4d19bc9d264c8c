//! Promise: CRI counts what containers and pods use, and their limits can be changed while they run. Real: all but the
//! kubelet.

use cri::api::{ContainerStatsFilter, LinuxContainerResources, ListContainerStatsRequest, UInt64Value};
use cri::{Node, guests};
use e2e::{Image, eventually};

const MIB: u64 = 1 << 20;

fn image() -> Image {
    guests("stats", &["wait", "dirty", "hoard"])
}

fn value(number: Option<UInt64Value>) -> u64 {
    number.expect("a figure").value
}

#[test]
fn a_container_s_processor_time_and_memory_are_counted() {
    let scene = Node::shared().scene("container");
    let pod = scene.pod("a").run();
    let busy = pod.container("busy", &image(), &["/wait.wasm", "spin"]).start();
    let large = pod.container("large", &image(), &["/dirty.wasm", "8", "stay"]).start();
    large.wait_until_it_says("dirtied");
    eventually("a tenth of a second of processor time", || {
        value(busy.stats().cpu.unwrap().usage_core_nano_seconds) > 100_000_000
    });
    let stats = large.stats();
    assert_eq!(stats.attributes.unwrap().id, large.id);
    let memory = stats.memory.unwrap();
    for bytes in [value(memory.working_set_bytes), value(memory.usage_bytes), value(memory.rss_bytes)] {
        assert!((8 * MIB..12 * MIB).contains(&bytes), "{memory:?}");
    }
    let filter =
        Some(ContainerStatsFilter { pod_sandbox_id: pod.id.clone(), ..ContainerStatsFilter::default() });
    let request = ListContainerStatsRequest { filter };
    let all =
        scene.node.runtime(request, async |mut client, request| client.list_container_stats(request).await);
    assert_eq!(all.unwrap().stats.len(), 2);
}

#[test]
fn a_pod_s_processor_time_memory_and_network_are_counted() {
    let node = Node::shared();
    // Linux counts pods from 1.7 on.
    if node.bed.release.version.starts_with("1.6") {
        return;
    }
    let scene = node.scene("pod");
    let pod = scene.pod("a").run();
    let container = pod.container("large", &image(), &["/dirty.wasm", "8", "stay"]).start();
    container.wait_until_it_says("dirtied");
    let linux = pod.stats().linux.unwrap();
    assert!(value(linux.cpu.unwrap().usage_core_nano_seconds) > 0);
    let memory = linux.memory.unwrap();
    assert!(value(memory.usage_bytes) > 8 * MIB, "{memory:?}");
    assert_eq!(linux.network.unwrap().default_interface.unwrap().name, "eth0");
    assert_eq!(linux.containers.len(), 1);
}

#[test]
fn limits_are_changed_while_a_container_runs() {
    let scene = Node::shared().scene("update");
    let pod = scene.pod("a").run();
    let container = pod.container("main", &image(), &["/hoard.wasm"]).memory_limit(24 << 20).input().start();
    container.wait_until_it_says("ready");
    let mut attached = container.attach(false);
    attached.write(b"30\n");
    attached.wait_until_it_says("refused\n");
    let limits = LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_shares: 512,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        ..LinuxContainerResources::default()
    };
    container.update(limits).unwrap();
    attached.write(b"30\n");
    attached.wait_until_it_says("has 30\n");
    let cgroup = format!("{}/{}", scene.name, container.id);
    assert_eq!(scene.node.bed.cgroups.memory_limit(&cgroup), Some(64 * MIB));
    let told = container.status().resources.and_then(|resources| resources.linux);
    // 1.6 does not tell.
    if let Some(told) = told {
        assert_eq!((told.memory_limit_in_bytes, told.cpu_shares, told.cpu_quota), (64 << 20, 512, 50_000));
    }
    let too_little =
        LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..LinuxContainerResources::default() };
    let error = container.update(too_little).unwrap_err();
    assert!(error.message().contains("memory"), "{error}");
    attached.write(b"1\n");
    attached.wait_until_it_says("has 31\n");
    attached.close();
}
