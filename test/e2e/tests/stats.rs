//! Promise: a container's metrics are those of its cgroup, in the message Kubernetes reads, from Create to Delete.

use containerd_client::services::v1::MetricsRequest;
use containerd_shim_protos::cgroups::metrics::Metrics as V1;
use containerd_shim_protos::cgroups_v2::metrics::Metrics as V2;
use e2e::{Bed, Task, eventually};
use protobuf::Message;

const MIB: u64 = 1 << 20;

/// What both messages tell. Times in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figures {
    processes: u64,
    processor: u64,
    memory: u64,
    memory_limit: u64,
    oom_kills: u64,
}

impl Figures {
    /// Decodes the one message that is right on this host.
    fn of(task: &Task) -> Figures {
        let data = task.metrics().data.expect("metrics have data");
        let v1 = std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
        if v1 {
            assert_eq!(data.type_url, "io.containerd.cgroups.v1.Metrics");
            let metrics = V1::parse_from_bytes(&data.value).unwrap();
            assert!(metrics.blkio.is_some());
            Figures {
                processes: metrics.pids.current,
                processor: metrics.cpu.usage.total,
                memory: metrics.memory.usage.usage,
                memory_limit: metrics.memory.usage.limit,
                oom_kills: metrics.memory_oom_control.oom_kill,
            }
        } else {
            assert_eq!(data.type_url, "io.containerd.cgroups.v2.Metrics");
            let metrics = V2::parse_from_bytes(&data.value).unwrap();
            assert!(metrics.io.is_some());
            Figures {
                processes: metrics.pids.current,
                processor: metrics.cpu.usage_usec * 1000,
                memory: metrics.memory.usage,
                memory_limit: metrics.memory.usage_limit,
                oom_kills: metrics.memory_events.oom_kill,
            }
        }
    }
}

#[test]
fn a_running_container_s_figures_are_its_own() {
    let bed = Bed::shared();
    let namespace = bed.namespace("running");
    let image = namespace.import_guests(&["dirty", "wait"]);
    let other = namespace.container(&image, "other", &["/bin/wait.wasm"]).start();
    let task =
        namespace.container(&image, "a", &["/bin/dirty.wasm", "8", "stay"]).memory_limit(32 * MIB).start();
    task.stdout().wait_until_it_says("dirtied");
    other.stdout().wait_until_it_says("ready");
    let figures = Figures::of(&task);
    assert_eq!((figures.processes, figures.memory_limit, figures.oom_kills), (1, 32 * MIB, 0));
    assert!((8 * MIB..32 * MIB).contains(&figures.memory), "{figures:?}");
    assert!(figures.processor > 0);
    let figures = Figures::of(&other);
    assert!(figures.memory > 0 && figures.memory < 8 * MIB, "{figures:?}");
    assert!(figures.memory_limit > 1 << 40, "none: {figures:?}");
    task.end();
    other.end();
}

#[test]
fn execs_count_among_the_figures() {
    let bed = Bed::shared();
    let namespace = bed.namespace("execs");
    let image = namespace.import_guests(&["dirty", "wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    let before = Figures::of(&task);
    let (exec, _) = namespace.exec("a", "e", &["/bin/dirty.wasm", "8", "stay"]).start();
    exec.stdout().wait_until_it_says("dirtied");
    let during = Figures::of(&task);
    assert_eq!((before.processes, during.processes), (1, 2));
    assert!(during.memory >= before.memory + 7 * MIB, "{before:?} {during:?}");
    exec.end();
    eventually("the exec to be counted no more", || Figures::of(&task).processes == 1);
    task.end();
}

#[test]
fn processor_time_grows_while_a_guest_computes() {
    let bed = Bed::shared();
    let namespace = bed.namespace("cpu");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
    task.stdout().wait_until_it_says("ready");
    let mut last = Figures::of(&task).processor;
    for _ in 0..3 {
        eventually("more processor time", || Figures::of(&task).processor > last);
        last = Figures::of(&task).processor;
    }
    task.end();
}

#[test]
fn figures_are_there_from_create_to_delete() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ends");
    let image = namespace.import_guests(&["dirty", "wait"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    let task =
        namespace.container(&image, "a", &["/bin/dirty.wasm", "4"]).memory_limit(32 * MIB).create().unwrap();
    let created = Figures::of(&task);
    assert_eq!((created.processes, created.memory_limit), (1, 32 * MIB));
    task.start().unwrap();
    assert_eq!(task.wait(), 0);
    let ended = Figures::of(&task);
    assert_eq!((ended.processes, ended.memory_limit, ended.oom_kills), (0, 32 * MIB, 0));
    assert!(ended.processor >= created.processor && ended.processor > 0, "{created:?} {ended:?}");
    task.finish();
    let message = MetricsRequest { filters: vec!["id==a".into()] };
    let metrics = keeper
        .call(message, async |mut tasks, request| Ok(tasks.metrics(request).await?.into_inner().metrics))
        .unwrap();
    assert!(metrics.iter().all(|metric| metric.id != "a"), "{metrics:?}");
    keeper.end();
}

#[test]
fn an_oom_kill_can_be_read_from_the_figures_after_the_end() {
    let bed = Bed::shared();
    let namespace = bed.namespace("oom");
    let image = namespace.import_guests(&["file"]);
    let args = ["/bin/file.wasm", "append", "/scratch/x", "128"];
    let container = namespace.container(&image, "a", &args).memory_limit(16 * MIB);
    let task = container.mount("tmpfs", "tmpfs", "/scratch", &["nosuid", "nodev", "size=256m"]).start();
    assert_eq!(task.wait(), 137);
    let figures = Figures::of(&task);
    assert_eq!((figures.processes, figures.oom_kills), (0, 1), "{figures:?}");
    task.finish();
}
