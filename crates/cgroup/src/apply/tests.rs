//! Limits as the kernel takes them on this host, and as they are written on v2.

use std::path::PathBuf;

use super::{Amount, memory_and_swap};
use crate::testbed::{Bed, Child, Tree, touch};
use crate::{BlockIo, Cgroup, Controller, Cpu, DeviceRate, Error, Limits, Memory, Path, Version};

/// A bed on a host with v1; what is asserted here are v1's files.
fn v1() -> Option<Bed> {
    Some(Bed::new()).filter(|bed| bed.host.version() == Version::V1)
}

fn value(cgroup: &Cgroup, controller: Controller, name: &str) -> String {
    std::fs::read_to_string(cgroup.file(controller, name).unwrap()).unwrap().trim().to_owned()
}

fn memory(limit: i64, swap: Option<i64>) -> Limits {
    Limits { memory: Memory { limit: Some(limit), swap, ..Memory::default() }, ..Limits::default() }
}

const MIB: i64 = 1 << 20;

#[test]
fn memory_and_swap_move_up_and_down_together_in_any_order() {
    let Some(bed) = v1() else { return };
    let cgroup = bed.create("c", &memory(64 * MIB, Some(64 * MIB)));
    let both = || {
        ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
            .map(|name| value(&cgroup, Controller::Memory, name).parse::<i64>().unwrap() / MIB)
    };
    assert_eq!(both(), [64, 64]);
    for (limit, swap) in [(128, 128), (32, 32), (32, 256), (256, 256), (16, 16)] {
        cgroup.apply(&memory(limit * MIB, Some(swap * MIB))).unwrap();
        assert_eq!(both(), [limit, swap]);
    }
    // Above present memory plus swap without a new value for that: the kernel says no, and we say to what.
    let error = cgroup.apply(&memory(32 * MIB, None)).unwrap_err().to_string();
    assert!(error.starts_with("cannot set memory.limit to 33554432 in /"), "{error}");
    assert!(error.contains("memory.limit_in_bytes: Invalid argument"), "{error}");
    cgroup.apply(&memory(-1, None)).unwrap();
    assert!(both()[0] > 1 << 40);
    cgroup.apply(&memory(16 * MIB, Some(-1))).unwrap();
    assert_eq!(both()[0], 16);
    cgroup.apply(&memory(0, Some(0))).unwrap();
    assert_eq!(both()[0], 16);
    cgroup.remove().unwrap();
}

#[test]
fn a_memory_limit_is_enforced_and_raising_it_lets_the_same_program_live() {
    let bed = Bed::new();
    let cgroup = bed.create("c", &memory(8 * MIB, Some(8 * MIB)));
    assert_eq!(Child::enter(&cgroup, || touch(32 << 20)).wait_signal(), Some(libc::SIGKILL));
    cgroup.apply(&memory(64 * MIB, Some(64 * MIB))).unwrap();
    assert_eq!(Child::enter(&cgroup, || touch(32 << 20)).wait_signal(), None);
    cgroup.remove().unwrap();
}

#[test]
fn a_limit_below_usage_is_refused_if_so_asked() {
    let bed = Bed::new();
    let cgroup = bed.create("c", &memory(64 * MIB, None));
    let child = Child::enter(&cgroup, || {
        touch(32 << 20);
        crate::testbed::sleep();
    });
    let used = || {
        let name = if cgroup.version() == Version::V1 { "memory.usage_in_bytes" } else { "memory.current" };
        value(&cgroup, Controller::Memory, name).parse::<i64>().unwrap()
    };
    while used() < 32 * MIB {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut limits = memory(8 * MIB, None);
    limits.memory.check_before_update = true;
    let error = cgroup.apply(&limits).unwrap_err();
    assert!(matches!(error, Error::BelowUsage { usage, .. } if usage >= 32 << 20), "{error}");
    drop(child);
    cgroup.remove().unwrap();
}

#[test]
fn no_more_processes_than_the_limit_allows() {
    let bed = Bed::new();
    let cgroup = bed.create("c", &Limits { pids: Some(1), ..Limits::default() });
    let fork = || {
        // SAFETY: both sides make system calls only; `_exit` gives what came of it.
        let status = unsafe { libc::fork() };
        if status < 0 {
            // SAFETY: raises a signal in this child, so that the test can tell.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        }
    };
    assert_eq!(Child::enter(&cgroup, fork).wait_signal(), Some(libc::SIGTERM));
    cgroup.apply(&Limits { pids: Some(-1), ..Limits::default() }).unwrap();
    assert_eq!(value(&cgroup, Controller::Pids, "pids.max"), "max");
    assert_eq!(Child::enter(&cgroup, fork).wait_signal(), None);
    cgroup.kill().unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn processor_limits_are_taken_in_every_order_the_kernel_insists_on() {
    let Some(bed) = v1() else { return };
    let cpu = |cpu: Cpu| Limits { cpu, ..Limits::default() };
    let first = Cpu { shares: Some(512), quota: Some(20_000), period: Some(100_000), ..Cpu::default() };
    let cgroup = bed.create("c", &cpu(Cpu { cpus: Some("0".into()), mems: Some("0".into()), ..first }));
    let now = || {
        ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"]
            .map(|name| value(&cgroup, Controller::Cpu, name))
    };
    assert_eq!(now(), ["512", "20000", "100000"]);
    assert_eq!(value(&cgroup, Controller::Cpuset, "cpuset.cpus"), "0");
    // A child group must not get a larger part of the processor than its parent: lowering the period first
    // would.
    let below =
        bed.create("c/below", &cpu(Cpu { quota: Some(20_000), period: Some(100_000), ..Cpu::default() }));
    below.apply(&cpu(Cpu { quota: Some(10_000), period: Some(50_000), ..Cpu::default() })).unwrap();
    below.apply(&cpu(Cpu { quota: Some(20_000), period: Some(100_000), ..Cpu::default() })).unwrap();
    below.apply(&cpu(Cpu { quota: Some(-1), ..Cpu::default() })).unwrap();
    // A cpuset that is not limited has that of the group above.
    assert_eq!(value(&below, Controller::Cpuset, "cpuset.cpus"), "0");
    below.remove().unwrap();
    // A burst above the old quota, together with the new one; then idle and back.
    cgroup.apply(&cpu(Cpu { burst: Some(40_000), quota: Some(50_000), ..Cpu::default() })).unwrap();
    assert_eq!(value(&cgroup, Controller::Cpu, "cpu.cfs_burst_us"), "40000");
    cgroup.apply(&cpu(Cpu { idle: Some(1), shares: Some(256), ..Cpu::default() })).unwrap();
    cgroup.apply(&cpu(Cpu { idle: Some(0), shares: Some(256), ..Cpu::default() })).unwrap();
    assert_eq!(now(), ["256", "50000", "100000"]);
    let error = cgroup.apply(&cpu(Cpu { quota: Some(10), ..Cpu::default() })).unwrap_err().to_string();
    assert!(error.starts_with("cannot set cpu.quota to 10 in /"), "{error}");
    cgroup.remove().unwrap();
}

#[test]
fn other_v1_limits_are_set_or_refused_by_name() {
    let Some(bed) = v1() else { return };
    let memory = Memory {
        reservation: Some(16 * MIB),
        swappiness: Some(10),
        disable_oom_killer: Some(true),
        ..Memory::default()
    };
    let cgroup = bed.create("c", &Limits { memory, ..Limits::default() });
    assert_eq!(value(&cgroup, Controller::Memory, "memory.soft_limit_in_bytes"), (16 * MIB).to_string());
    assert_eq!(value(&cgroup, Controller::Memory, "memory.swappiness"), "10");
    assert!(value(&cgroup, Controller::Memory, "memory.oom_control").starts_with("oom_kill_disable 1"));
    let refused = |limits: Limits| cgroup.apply(&limits).unwrap_err().to_string();
    let unified = vec![("memory.high".to_owned(), "1".to_owned())];
    assert_eq!(
        refused(Limits { unified, ..Limits::default() }),
        "cannot set unified: there are no unified files on a host with cgroup v1"
    );
    let leaf_weight = BlockIo { leaf_weight: Some(10), ..BlockIo::default() };
    let error = refused(Limits { block_io: leaf_weight, ..Limits::default() });
    assert!(error.starts_with("cannot set blockIO.leafWeight to 10: this kernel has no /"), "{error}");
    let device = DeviceRate { major: 4095, minor: 7, rate: 1 };
    let error = refused(Limits {
        block_io: BlockIo { read_bps: vec![device], ..BlockIo::default() },
        ..Limits::default()
    });
    assert!(error.starts_with("cannot set blockIO.throttleReadBpsDevice to 4095:7 1 in /"), "{error}");
    let error = refused(Limits { hugepages: vec![("2MB/../x".into(), 0)], ..Limits::default() });
    assert!(error.contains("page size like 2MB"), "{error}");
    if cgroup.directory(Controller::Hugetlb).is_none() {
        let error = refused(Limits { hugepages: vec![("2MB".into(), 0)], ..Limits::default() });
        assert!(error.starts_with("cannot set hugepageLimits: cgroup /"), "{error}");
        assert!(error.contains("has no hugetlb controller"), "{error}");
    }
    cgroup.remove().unwrap();
}

/// A tree of plain files in which the parent has delegated everything to `p/c`.
fn v2_tree(controllers: &str) -> (Tree, Cgroup) {
    let files = [
        "cpu.weight",
        "cpu.idle",
        "cpu.max.burst",
        "cpuset.cpus",
        "memory.low",
        "memory.swap.max",
        "pids.max",
        "io.weight",
        "io.max",
        "hugetlb.2MB.max",
        "memory.high",
    ];
    let mut all =
        vec![("p/c/cgroup.procs", ""), ("p/c/cpu.max", "30000 100000\n"), ("p/c/memory.max", "max\n")];
    let names: Vec<String> = files.iter().map(|name| format!("p/c/{name}")).collect();
    all.extend(names.iter().map(|name| (name.as_str(), "")));
    for name in [
        "cgroup.controllers",
        "cgroup.subtree_control",
        "p/cgroup.controllers",
        "p/cgroup.subtree_control",
        "p/c/cgroup.controllers",
    ] {
        all.push((name, controllers));
    }
    let tree = Tree::new(&all);
    let cgroup = Cgroup::open(&tree.host(), &Path::parse("/p/c").unwrap()).unwrap();
    (tree, cgroup)
}

const ALL: &str = "cpuset cpu io memory hugetlb pids\n";

#[test]
fn v2_files_get_the_converted_values() {
    let (tree, _) = v2_tree(ALL);
    let device = DeviceRate { major: 8, minor: 0, rate: 5 };
    let limits = Limits {
        memory: Memory {
            limit: Some(64 * MIB),
            swap: Some(80 * MIB),
            reservation: Some(-1),
            ..Memory::default()
        },
        cpu: Cpu {
            shares: Some(1024),
            period: Some(50_000),
            burst: Some(7),
            cpus: Some("0-1".into()),
            ..Cpu::default()
        },
        pids: Some(9),
        hugepages: vec![("2MB".into(), 4 << 20)],
        block_io: BlockIo { weight: Some(1000), write_iops: vec![device], ..BlockIo::default() },
        unified: vec![("memory.high".into(), "60M".into())],
    };
    // Taken over, as no process is in it.
    Cgroup::create(&tree.host(), &Path::parse("/p/c").unwrap(), &limits).unwrap();
    let expected = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "16777216"),
        ("memory.low", "max"),
        ("cpu.weight", "39"),
        ("cpu.max.burst", "7"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "9"),
        ("hugetlb.2MB.max", "4194304"),
        ("io.weight", "10000"),
        ("io.max", "8:0 wiops=5"),
        ("memory.high", "60M"),
    ];
    for (name, value) in expected {
        assert_eq!(tree.read(&format!("p/c/{name}")), value, "{name}");
    }
    // The kernel wants a quota with the period: the present one stays.
    assert!(tree.read("p/c/cpu.max").starts_with("30000 50000"));
}

#[test]
fn v2_swap_alone_is_counted_from_the_present_memory_limit() {
    let (tree, cgroup) = v2_tree(ALL);
    let swap =
        |swap| Limits { memory: Memory { swap: Some(swap), ..Memory::default() }, ..Limits::default() };
    assert!(cgroup.apply(&swap(MIB)).unwrap_err().to_string().contains("needs a memory.limit"));
    tree.write("p/c/memory.max", "1048576\n");
    cgroup.apply(&swap(3 * MIB)).unwrap();
    assert_eq!(tree.read("p/c/memory.swap.max"), "2097152");
    assert!(cgroup.apply(&swap(1024)).unwrap_err().to_string().contains("memory.limit is 1048576"));
}

#[test]
fn v2_refuses_what_it_does_not_have_and_names_a_missing_controller() {
    let (tree, cgroup) = v2_tree("cpu io memory\n");
    let swappiness = Memory { swappiness: Some(1), ..Memory::default() };
    let error = cgroup.apply(&Limits { memory: swappiness, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, Error::Unsupported { limit: "memory.swappiness", .. }), "{error}");
    let error = cgroup.apply(&Limits { pids: Some(1), ..Limits::default() }).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot set pids.limit: cgroup /") && error.ends_with("has no pids controller"),
        "{error}"
    );
    let unified =
        |name: &str| Limits { unified: vec![(name.to_owned(), "1".to_owned())], ..Limits::default() };
    assert!(
        cgroup
            .apply(&unified("cgroup.procs"))
            .unwrap_err()
            .to_string()
            .contains("not the name of a cgroup v2")
    );
    let error = cgroup.apply(&unified("memory.nonsense")).unwrap_err();
    let file = tree.path().join("p/c/memory.nonsense");
    assert!(matches!(&error, Error::NoFile { file: named, .. } if *named == file), "{error}");
    assert!(!PathBuf::from(&file).exists());
}

#[test]
fn v2_controllers_are_enabled_from_the_top_down() {
    let (tree, cgroup) = v2_tree(ALL);
    tree.write("cgroup.subtree_control", "cpu\n");
    tree.write("p/cgroup.subtree_control", "");
    tree.write("p/c/cgroup.controllers", "");
    // Plain files hand nothing down, so this ends with the controller missing; what was written is what
    // counts.
    let error = cgroup.apply(&Limits { pids: Some(1), ..Limits::default() }).unwrap_err();
    assert!(
        matches!(error, Error::NoController { limit: "pids.limit", controller: Controller::Pids, .. }),
        "{error}"
    );
    assert!(tree.read("cgroup.subtree_control").starts_with("+pids"));
    assert!(tree.read("p/cgroup.subtree_control").starts_with("+pids"));
}

#[test]
fn zero_is_not_given_and_negative_is_unlimited() {
    assert_eq!(Amount::given(None), None);
    assert_eq!(Amount::given(Some(0)), None);
    assert_eq!(Amount::given(Some(-1)), Some(Amount::Unlimited));
    assert!(Amount::Of(i64::MAX) < Amount::Unlimited);
}

#[test]
fn less_memory_and_swap_than_memory_is_refused_in_words() {
    let memory = Memory { limit: Some(100), swap: Some(50), ..Memory::default() };
    let error = memory_and_swap(&memory).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot set memory.swap to 50: it counts memory and swap together, and memory.limit is 100"
    );
    let memory = Memory { limit: Some(-1), swap: Some(50), ..Memory::default() };
    assert!(memory_and_swap(&memory).is_err());
    let memory = Memory { limit: Some(100), swap: Some(-1), ..Memory::default() };
    assert!(memory_and_swap(&memory).is_ok());
}
