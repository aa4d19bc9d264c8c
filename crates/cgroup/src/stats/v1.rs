//! Numbers of cgroup v1.

use std::path::Path;

use super::{FlatKeyed, Hugetlb, Pids, device, page_sizes, pids};
use crate::file::{read_if_there, read_number};
use crate::{Cgroup, Controller};

/// Numbers of cgroup v1; a controller that is not mounted is `None` or empty.
#[derive(Debug, Clone, Default)]
pub struct StatsV1 {
    /// Memory.
    pub memory: Option<MemoryV1>,
    /// Processor time.
    pub cpu: Option<CpuV1>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Block I/O.
    pub block_io: BlockIoV1,
    /// Huge pages, by size.
    pub hugetlb: Vec<Hugetlb>,
}

/// One of the memory controller's counters, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryCounter {
    /// In use.
    pub usage: u64,
    /// Most ever in use.
    pub max_usage: u64,
    /// Limit; a number near 2^63 for none.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// `memory.oom_control`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OomControl {
    /// 1 if the kernel must not kill.
    pub oom_kill_disable: u64,
    /// 1 while processes wait for memory.
    pub under_oom: u64,
    /// Processes killed.
    pub oom_kill: u64,
}

/// Memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryV1 {
    /// `memory.stat`, bytes and counts; `total_*` includes groups below.
    pub stat: FlatKeyed,
    /// `memory.*`.
    pub usage: MemoryCounter,
    /// `memory.memsw.*`: memory plus swap; `None` without swap accounting.
    pub swap: Option<MemoryCounter>,
    /// `memory.kmem.*`.
    pub kernel: Option<MemoryCounter>,
    /// `memory.kmem.tcp.*`.
    pub kernel_tcp: Option<MemoryCounter>,
    /// `memory.oom_control`.
    pub oom: OomControl,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuV1 {
    /// Total.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Total, by processor.
    pub per_cpu: Vec<u64>,
    /// `cpu.stat`.
    pub throttling: Throttling,
}

/// How often the quota ran out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which something ran.
    pub periods: u64,
    /// Those in which the quota ran out.
    pub throttled_periods: u64,
    /// Nanoseconds spent waiting for the next period.
    pub throttled_time: u64,
}

/// Block I/O, by device and operation. Which scheduler counts is the kernel's choice per device; without one
/// that does, only the first two are there, counted by the throttling layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIoV1 {
    /// Bytes.
    pub service_bytes: Vec<IoV1>,
    /// Operations.
    pub serviced: Vec<IoV1>,
    /// Operations in the queue.
    pub queued: Vec<IoV1>,
    /// Nanoseconds of service.
    pub service_time: Vec<IoV1>,
    /// Nanoseconds in the queue.
    pub wait_time: Vec<IoV1>,
    /// Operations merged into others.
    pub merged: Vec<IoV1>,
    /// Milliseconds of disk time.
    pub time: Vec<IoV1>,
    /// Sectors.
    pub sectors: Vec<IoV1>,
}

/// A number of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoV1 {
    /// Device number, major part.
    pub major: u64,
    /// Device number, minor part.
    pub minor: u64,
    /// `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`; empty where operations are not told apart.
    pub op: String,
    /// The number.
    pub value: u64,
}

pub(super) fn read(cgroup: &Cgroup) -> StatsV1 {
    StatsV1 {
        memory: cgroup.directory(Controller::Memory).and_then(memory),
        cpu: cpu(cgroup),
        pids: pids(cgroup.directory(Controller::Pids)),
        block_io: cgroup.directory(Controller::BlockIo).map(block_io).unwrap_or_default(),
        hugetlb: cgroup.directory(Controller::Hugetlb).map(hugetlb).unwrap_or_default(),
    }
}

fn memory(directory: &Path) -> Option<MemoryV1> {
    let oom = FlatKeyed::read(&directory.join("memory.oom_control"));
    let oom = |key| oom.get(key).unwrap_or(0);
    Some(MemoryV1 {
        usage: counter(directory, "memory")?,
        stat: FlatKeyed::read(&directory.join("memory.stat")),
        swap: counter(directory, "memory.memsw"),
        kernel: counter(directory, "memory.kmem"),
        kernel_tcp: counter(directory, "memory.kmem.tcp"),
        oom: OomControl {
            oom_kill_disable: oom("oom_kill_disable"),
            under_oom: oom("under_oom"),
            oom_kill: oom("oom_kill"),
        },
    })
}

fn counter(directory: &Path, prefix: &str) -> Option<MemoryCounter> {
    let number = |suffix: &str| read_number(&directory.join(format!("{prefix}.{suffix}")));
    Some(MemoryCounter {
        usage: number("usage_in_bytes")?,
        max_usage: number("max_usage_in_bytes").unwrap_or(0),
        limit: number("limit_in_bytes").unwrap_or(0),
        failcnt: number("failcnt").unwrap_or(0),
    })
}

fn cpu(cgroup: &Cgroup) -> Option<CpuV1> {
    let directory = cgroup.directory(Controller::Cpuacct)?;
    let number = |name: &str| read_number(&directory.join(name));
    let stat =
        cgroup.file(Controller::Cpu, "cpu.stat").map(|path| FlatKeyed::read(&path)).unwrap_or_default();
    let stat = |key| stat.get(key).unwrap_or(0);
    let per_cpu = read_if_there(&directory.join("cpuacct.usage_percpu")).unwrap_or_default();
    Some(CpuV1 {
        total: number("cpuacct.usage")?,
        user: number("cpuacct.usage_user").unwrap_or(0),
        system: number("cpuacct.usage_sys").unwrap_or(0),
        per_cpu: per_cpu.split_whitespace().filter_map(|time| time.parse().ok()).collect(),
        throttling: Throttling {
            periods: stat("nr_periods"),
            throttled_periods: stat("nr_throttled"),
            throttled_time: stat("throttled_time"),
        },
    })
}

fn block_io(directory: &Path) -> BlockIoV1 {
    // BFQ's files, the old CFQ's, and for two of them the throttling layer's, which counts whatever the
    // scheduler.
    let scheduler = |name: &str| {
        entries(directory, &format!("blkio.bfq.{name}_recursive"))
            .or_else(|| entries(directory, &format!("blkio.{name}_recursive")))
    };
    let throttle = |name: &str| {
        scheduler(name)
            .or_else(|| entries(directory, &format!("blkio.throttle.{name}_recursive")))
            .or_else(|| entries(directory, &format!("blkio.throttle.{name}")))
            .unwrap_or_default()
    };
    BlockIoV1 {
        service_bytes: throttle("io_service_bytes"),
        serviced: throttle("io_serviced"),
        queued: scheduler("io_queued").unwrap_or_default(),
        service_time: scheduler("io_service_time").unwrap_or_default(),
        wait_time: scheduler("io_wait_time").unwrap_or_default(),
        merged: scheduler("io_merged").unwrap_or_default(),
        time: scheduler("time").unwrap_or_default(),
        sectors: scheduler("sectors").unwrap_or_default(),
    }
}

/// Lines `major:minor [op] number`; `None` if there is no such line.
fn entries(directory: &Path, name: &str) -> Option<Vec<IoV1>> {
    let text = read_if_there(&directory.join(name))?;
    let entries: Vec<IoV1> = text
        .lines()
        .filter_map(|line| {
            let ((major, minor), rest) = device(line)?;
            let (op, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
            Some(IoV1 { major, minor, op: op.to_owned(), value: value.trim().parse().ok()? })
        })
        .collect();
    (!entries.is_empty()).then_some(entries)
}

fn hugetlb(directory: &Path) -> Vec<Hugetlb> {
    let read = |page_size: String| {
        let number =
            |suffix: &str| read_number(&directory.join(format!("hugetlb.{page_size}.{suffix}"))).unwrap_or(0);
        let (usage, max, failcnt) =
            (number("usage_in_bytes"), number("max_usage_in_bytes"), number("failcnt"));
        Hugetlb { page_size, usage, max, failcnt }
    };
    page_sizes(directory, "usage_in_bytes").into_iter().map(read).collect()
}
