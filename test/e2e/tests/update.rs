//! Promise: Update changes the limits of a container while it runs, or says why not and changes nothing of them.

use std::fs;
use std::path::PathBuf;

use containerd_client::services::v1::UpdateTaskRequest;
use containerd_client::tonic::{Code, Status};
use e2e::{Bed, Namespace, Task};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

fn update(task: &Task, resources: Value) -> Result<(), Status> {
    let resources = prost_types::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
        value: resources.to_string().into_bytes(),
    };
    let message = UpdateTaskRequest {
        container_id: task.id.clone(),
        resources: Some(resources),
        annotations: Default::default(),
    };
    task.call(message, async |mut tasks, request| tasks.update(request).await.map(drop))
}

/// Path of a file of the container's cgroup: the first of the names that exists, v1's or v2's.
fn path(namespace: &Namespace, id: &str, names: &[&str]) -> PathBuf {
    let directories = namespace.bed.cgroups.below(&namespace.name);
    let own = directories.iter().filter(|directory| directory.ends_with(id));
    let mut paths = own.flat_map(|directory| names.iter().map(|name| directory.join(name)));
    paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{id} has no {names:?}"))
}

fn read(namespace: &Namespace, id: &str, names: &[&str]) -> String {
    fs::read_to_string(path(namespace, id, names)).unwrap().trim().to_owned()
}

fn is_v1(namespace: &Namespace, id: &str) -> bool {
    path(namespace, id, &["memory.limit_in_bytes", "memory.max"]).ends_with("memory.limit_in_bytes")
}

#[test]
fn memory_goes_up_and_down() {
    let bed = Bed::shared();
    let namespace = bed.namespace("memory");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).memory_limit(16 * MIB).start();
    let cgroup = format!("{}/a", namespace.name);
    task.stdout().wait_until_it_says("ready");
    for mebibytes in [64, 8, 32, 16] {
        update(&task, json!({ "memory": { "limit": mebibytes * MIB } })).unwrap();
        assert_eq!(bed.cgroups.memory_limit(&cgroup), Some(mebibytes * MIB));
    }
    update(&task, json!({ "memory": { "limit": -1 } })).unwrap();
    assert_eq!(bed.cgroups.memory_limit(&cgroup), None);
    task.end();
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_in_words_and_kills_nobody() {
    let bed = Bed::shared();
    let namespace = bed.namespace("below");
    let image = namespace.import_guests(&["dirty"]);
    let events = namespace.events();
    let task =
        namespace.container(&image, "a", &["/bin/dirty.wasm", "10", "stay"]).memory_limit(32 * MIB).start();
    task.stdout().wait_until_it_says("dirtied 10 MiB");
    let refusal = update(&task, json!({ "memory": { "limit": 4 * MIB } })).unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal:?}");
    for words in ["memory.limit", "4194304", "in use"] {
        assert!(refusal.message().contains(words), "{words:?} is in {refusal:?}");
    }
    assert_eq!(bed.cgroups.memory_limit(&format!("{}/a", namespace.name)), Some(32 * MIB));
    assert_eq!(task.state().0, "RUNNING");
    task.end();
    assert!(!events.until_deleted("a").contains(&"oom".to_owned()));
}

#[test]
fn a_running_guest_can_use_the_memory_an_update_gives_it() {
    let bed = Bed::shared();
    let namespace = bed.namespace("more");
    let image = namespace.import_guests(&["hoard"]);
    let mut task =
        namespace.container(&image, "a", &["/bin/hoard.wasm"]).memory_limit(16 * MIB).input().start();
    task.write(b"10\n");
    task.stdout().wait_until_it_says("has 10\n");
    task.write(b"20\n");
    task.stdout().wait_until_it_says("refused\n");
    update(&task, json!({ "memory": { "limit": 64 * MIB } })).unwrap();
    task.write(b"20\n");
    task.stdout().wait_until_it_says("has 30\n");
    task.close_input();
    assert_eq!(task.finish().code, 0);
}

#[test]
fn an_exec_after_an_update_is_held_to_the_new_memory_limit() {
    let bed = Bed::shared();
    let namespace = bed.namespace("execs");
    let image = namespace.import_guests(&["wait", "grow"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).memory_limit(16 * MIB).start();
    task.stdout().wait_until_it_says("ready");
    let pages = || {
        let finished = namespace.exec("a", "grow", &["/bin/grow.wasm"]).run();
        assert_eq!(finished.code, 0, "{finished:?}");
        finished.text().trim().strip_prefix("pages ").unwrap().parse::<u64>().unwrap()
    };
    assert!((128..256).contains(&pages()));
    for mebibytes in [64, 8] {
        update(&task, json!({ "memory": { "limit": mebibytes * MIB } })).unwrap();
        let pages = pages();
        let most = mebibytes * MIB / 65536;
        assert!(pages < most && pages >= most / 2, "{pages} pages under a limit of {mebibytes} MiB");
    }
    task.end();
}

#[test]
fn processor_time_and_process_count_change_in_the_cgroup() {
    let bed = Bed::shared();
    let namespace = bed.namespace("cpu");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let v1 = is_v1(&namespace, "a");
    let file = |names: &[&str]| read(&namespace, "a", names);

    for (shares, weight) in [(2048, "79"), (512, "20")] {
        update(&task, json!({ "cpu": { "shares": shares } })).unwrap();
        let expected = if v1 { shares.to_string() } else { weight.to_owned() };
        assert_eq!(file(&["cpu.shares", "cpu.weight"]), expected);
    }
    for (quota, period) in [(50_000, 100_000), (20_000, 50_000), (-1, 100_000)] {
        update(&task, json!({ "cpu": { "quota": quota, "period": period } })).unwrap();
        if v1 {
            assert_eq!(file(&["cpu.cfs_quota_us"]), quota.to_string());
            assert_eq!(file(&["cpu.cfs_period_us"]), period.to_string());
        } else {
            let quota = if quota < 0 { "max".to_owned() } else { quota.to_string() };
            assert_eq!(file(&["cpu.max"]), format!("{quota} {period}"));
        }
    }
    for (pids, text) in [(17, "17"), (5, "5"), (-1, "max")] {
        update(&task, json!({ "pids": { "limit": pids } })).unwrap();
        assert_eq!(file(&["pids.max"]), text);
    }
    // Nothing given: nothing changed.
    update(&task, json!({})).unwrap();
    assert_eq!(file(&["pids.max"]), "max");
    task.end();
}

#[test]
fn a_container_moves_to_other_processors() {
    let bed = Bed::shared();
    let namespace = bed.namespace("cpuset");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
    let (_exec, more) = namespace.exec("a", "more", &["/bin/wait.wasm"]).start();
    let allowed = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        line.unwrap().trim().to_owned()
    };
    // On v1 its cpuset is made with the first of these.
    let all = allowed(task.pid);
    for cpus in ["0", all.as_str()] {
        update(&task, json!({ "cpu": { "cpus": cpus, "mems": "0" } })).unwrap();
        assert_eq!(read(&namespace, "a", &["cpuset.cpus"]), cpus);
        assert_eq!([allowed(task.pid), allowed(more.pid)], [cpus; 2], "the processes themselves");
    }
    let refusal = update(&task, json!({ "cpu": { "cpus": "4000" } })).unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    assert!(refusal.message().contains("cpu.cpus"), "{refusal:?}");
    assert_eq!(read(&namespace, "a", &["cpuset.cpus"]), all);
    task.end();
}

#[test]
fn what_makes_no_sense_is_refused_by_the_field_s_name() {
    let bed = Bed::shared();
    let namespace = bed.namespace("refused");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).memory_limit(16 * MIB).start();
    let cases = [
        (json!({ "memory": { "limit": -5 } }), "memory.limit"),
        (json!({ "memory": { "limit": 1 } }), "memory.limit"),
        (json!({ "memory": { "limit": 32 * MIB, "swap": 1 << 20 } }), "memory.swap"),
        (json!({ "cpu": { "quota": 10 } }), "cpu.quota"),
        (json!({ "cpu": { "period": 5 } }), "cpu.period"),
        (json!({ "cpu": { "cpus": "zero" } }), "cpu.cpus"),
        (json!({ "network": { "classID": 7 } }), "network.classID"),
        (json!({ "memory": "much" }), "memory"),
        (json!("much"), ""),
    ];
    for (resources, field) in cases {
        let refusal = update(&task, resources.clone()).unwrap_err();
        assert_eq!(refusal.code(), Code::InvalidArgument, "{resources}: {refusal:?}");
        assert!(refusal.message().contains(field), "{resources}: {refusal:?}");
    }
    if is_v1(&namespace, "a") {
        let refusal = update(&task, json!({ "unified": { "memory.high": "1000000" } })).unwrap_err();
        assert!(refusal.message().contains("unified"), "{refusal:?}");
    } else {
        update(&task, json!({ "unified": { "memory.high": "8388608" } })).unwrap();
        assert_eq!(read(&namespace, "a", &["memory.high"]), "8388608");
    }
    assert_eq!(bed.cgroups.memory_limit(&format!("{}/a", namespace.name)), Some(16 * MIB));
    assert_eq!(task.state().0, "RUNNING");
    task.end();
}

#[test]
fn created_running_and_paused_containers_can_be_updated_and_ended_ones_not() {
    let bed = Bed::shared();
    let namespace = bed.namespace("moments");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).create().unwrap();
    let limit = |count: u64| update(&task, json!({ "pids": { "limit": count } }));
    let told = || read(&namespace, "a", &["pids.max"]);
    limit(11).unwrap();
    assert_eq!(told(), "11");
    task.start().unwrap();
    limit(12).unwrap();
    assert_eq!(told(), "12");
    namespace.ctr().run(&["task", "pause", "a"]).succeeded();
    limit(13).unwrap();
    assert_eq!((told().as_str(), task.state().0.as_str()), ("13", "PAUSED"));
    task.kill(9).unwrap();
    task.wait();
    let refusal = limit(14).unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().contains("ended"), "{refusal:?}");
    task.finish();
}

#[test]
fn a_running_guest_can_grow_as_far_as_the_new_limit_and_no_further() {
    let bed = Bed::shared();
    let namespace = bed.namespace("grow");
    let image = namespace.import_guests(&["grow_on_input"]);
    let container = namespace.container(&image, "a", &["/bin/grow_on_input.wasm"]);
    let mut task = container.memory_limit(16 * MIB).input().start();
    task.stdout().wait_until_it_says("ready");
    let grown = |task: &mut Task, times: usize| -> u64 {
        task.write(b"x");
        e2e::eventually("the guest to grow", || task.stdout().so_far().matches("pages ").count() == times);
        let text = task.stdout().so_far();
        text.lines().last().and_then(|line| line.strip_prefix("pages ")?.parse().ok()).unwrap()
    };
    let before = grown(&mut task, 1);
    update(&task, json!({ "memory": { "limit": 64 * MIB } })).unwrap();
    let after = grown(&mut task, 2);
    // 48 MiB more are 768 pages of 64 KiB.
    assert_eq!(after - before, 768);
    update(&task, json!({ "memory": { "limit": 32 * MIB } })).unwrap();
    assert_eq!(grown(&mut task, 3), after, "it has more than that and may not grow");
    task.end();
}
