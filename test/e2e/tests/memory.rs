//! Promise: a memory limit is met inside the guest first, kept by the kernel behind it, and is nobody else's matter.

use e2e::{Bed, Traces, eventually};

const MIB: u64 = 1 << 20;

#[test]
fn memory_grow_fails_cleanly_at_the_limit() {
    let bed = Bed::shared();
    let namespace = bed.namespace("grow");
    let image = namespace.import_guests(&["grow"]);
    for limit in [4 * MIB, 16 * MIB, 64 * MIB] {
        let id = format!("grow-{limit}");
        let finished = namespace.container(&image, &id, &["/bin/grow.wasm"]).memory_limit(limit).run();
        assert_eq!(finished.code, 0, "{finished:?}");
        let pages: u64 = finished.text().trim().strip_prefix("pages ").unwrap().parse().unwrap();
        assert!(pages * 65536 < limit, "{pages} pages under a limit of {limit} bytes");
        // Most of the limit is the guest's.
        assert!(pages * 65536 >= limit * 3 / 4, "{pages} pages under a limit of {limit} bytes");
    }
    let options = ["--rm", "--memory-limit", "16777216"];
    let output = namespace.ctr().container(&options, &image, "ctr", &["/bin/grow.wasm"]).succeeded();
    assert!(output.text().starts_with("pages 2"), "{output:?}");
}

#[test]
fn memory_up_to_the_limit_can_be_used() {
    let bed = Bed::shared();
    let namespace = bed.namespace("use");
    let image = namespace.import_guests(&["dirty"]);
    let finished =
        namespace.container(&image, "dirty", &["/bin/dirty.wasm", "13"]).memory_limit(16 * MIB).run();
    assert_eq!((finished.code, finished.text().as_str()), (0, "dirtied 13 MiB\n"));
    let refused =
        namespace.container(&image, "more", &["/bin/dirty.wasm", "20"]).memory_limit(16 * MIB).run();
    assert_eq!(refused.code, 3, "malloc fails, the guest lives: {refused:?}");
}

#[test]
fn the_kernel_keeps_the_limit_too() {
    let bed = Bed::shared();
    let namespace = bed.namespace("kernel");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "wait", &["/bin/wait.wasm"]).memory_limit(16 * MIB).start();
    let cgroup = format!("{}/wait", namespace.name);
    assert_eq!(bed.cgroups.memory_limit(&cgroup), Some(16 * MIB));
    task.stdout().wait_until_it_says("ready");
    assert!(bed.cgroups.memory_used(&cgroup).unwrap() > 0);
    task.end();
}

#[test]
fn a_guest_that_dirties_more_than_its_pod_may_is_killed_alone() {
    let bed = Bed::shared();
    let namespace = bed.namespace("pod");
    let image = namespace.import_guests(&["dirty", "wait"]);
    let bystander = namespace.container(&image, "bystander", &["/bin/wait.wasm", "sleep"]).start();
    bystander.stdout().wait_until_it_says("ready");
    let server = namespace.server();
    // As a pod's limit: on the cgroup above those of the containers.
    bed.cgroups.limit_memory(&namespace.name, 48 * MIB);

    let finished = namespace.container(&image, "greedy", &["/bin/dirty.wasm", "200"]).run();
    assert_eq!((finished.code, finished.text().as_str()), (137, ""));
    assert!(server.process.is_there() && server.zygotes().iter().all(|zygote| zygote.is_there()));
    assert_eq!(bystander.state().0, "RUNNING");
    let modest = namespace.container(&image, "modest", &["/bin/dirty.wasm", "2"]).run();
    assert_eq!(modest.text(), "dirtied 2 MiB\n");
    bystander.end();
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
}

#[test]
fn a_guest_that_fills_its_tmpfs_is_killed_alone_and_containerd_hears_why() {
    let bed = Bed::shared();
    let namespace = bed.namespace("tmpfs");
    let image = namespace.import_guests(&["file", "wait"]);
    let bystander = namespace.container(&image, "bystander", &["/bin/wait.wasm", "sleep"]).start();
    let server = namespace.server();
    let events = namespace.events();

    let args = ["/bin/file.wasm", "append", "/scratch/x", "128"];
    let container = namespace.container(&image, "greedy", &args).memory_limit(16 * MIB);
    let finished = container.mount("tmpfs", "tmpfs", "/scratch", &["nosuid", "nodev", "size=256m"]).run();
    assert_eq!(finished.code, 137, "{finished:?}");
    assert!(server.process.is_there());
    assert_eq!(bystander.state().0, "RUNNING");

    let topics = ["/tasks/create", "/tasks/start", "/tasks/oom", "/tasks/exit", "/tasks/delete"];
    eventually("the last event", || events.topics("greedy").iter().any(|topic| topic == "/tasks/delete"));
    assert_eq!(events.topics("greedy"), topics);
    bystander.end();
}
