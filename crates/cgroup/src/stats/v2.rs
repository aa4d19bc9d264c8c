//! Numbers of cgroup v2.

use std::path::Path;

use super::{FlatKeyed, Hugetlb, Pids, device, page_sizes, pids};
use crate::Cgroup;
use crate::file::{read_if_there, read_number};

/// Numbers of cgroup v2; what a controller that is not enabled would count is `None` or empty.
#[derive(Debug, Clone, Default)]
pub struct StatsV2 {
    /// Memory.
    pub memory: Option<MemoryV2>,
    /// `cpu.stat`: microseconds (`usage_usec`, `user_usec`, `system_usec`, `throttled_usec`) and counts.
    pub cpu: FlatKeyed,
    /// Stalls for want of a processor.
    pub cpu_pressure: Option<Pressure>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Block I/O.
    pub io: IoV2,
    /// Huge pages, by size.
    pub hugetlb: Vec<Hugetlb>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default)]
pub struct MemoryV2 {
    /// In use.
    pub usage: u64,
    /// Most ever in use; `None` before Linux 5.19.
    pub max_usage: Option<u64>,
    /// Limit; `None` for none.
    pub limit: Option<u64>,
    /// Swap in use.
    pub swap_usage: u64,
    /// Most swap ever in use; `None` before Linux 6.5.
    pub swap_max_usage: Option<u64>,
    /// Limit of swap; `None` for none.
    pub swap_limit: Option<u64>,
    /// `memory.stat`, bytes and counts.
    pub stat: FlatKeyed,
    /// `memory.events`: counts of `low`, `high`, `max`, `oom`, `oom_kill`, `oom_group_kill`.
    pub events: FlatKeyed,
    /// Stalls for want of memory.
    pub pressure: Option<Pressure>,
}

/// Block I/O.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IoV2 {
    /// `io.stat`, by device.
    pub devices: Vec<IoDevice>,
    /// Stalls for want of I/O.
    pub pressure: Option<Pressure>,
}

/// Block I/O of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoDevice {
    /// Device number, major part.
    pub major: u64,
    /// Device number, minor part.
    pub minor: u64,
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Reads.
    pub rios: u64,
    /// Writes.
    pub wios: u64,
}

/// Pressure stall information (kernel `Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// At least one process was stalled.
    pub some: PressureAverages,
    /// All were.
    pub full: PressureAverages,
}

/// Share of time stalled.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PressureAverages {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last 5 minutes.
    pub avg300: f64,
    /// Microseconds in all.
    pub total: u64,
}

pub(super) fn read(cgroup: &Cgroup) -> StatsV2 {
    let Some(directory) = cgroup.first() else { return StatsV2::default() };
    StatsV2 {
        memory: memory(directory),
        cpu: FlatKeyed::read(&directory.join("cpu.stat")),
        cpu_pressure: pressure(&directory.join("cpu.pressure")),
        pids: pids(Some(directory)),
        io: IoV2 {
            devices: read_if_there(&directory.join("io.stat"))
                .unwrap_or_default()
                .lines()
                .filter_map(io_device)
                .collect(),
            pressure: pressure(&directory.join("io.pressure")),
        },
        hugetlb: page_sizes(directory, "current").into_iter().map(|size| hugetlb(directory, size)).collect(),
    }
}

fn memory(directory: &Path) -> Option<MemoryV2> {
    let number = |name: &str| read_number(&directory.join(name));
    Some(MemoryV2 {
        usage: number("memory.current")?,
        max_usage: number("memory.peak"),
        limit: number("memory.max"),
        swap_usage: number("memory.swap.current").unwrap_or(0),
        swap_max_usage: number("memory.swap.peak"),
        swap_limit: number("memory.swap.max"),
        stat: FlatKeyed::read(&directory.join("memory.stat")),
        events: FlatKeyed::read(&directory.join("memory.events")),
        pressure: pressure(&directory.join("memory.pressure")),
    })
}

/// `major:minor rbytes=1 wbytes=2 rios=3 wios=4 …`
fn io_device(line: &str) -> Option<IoDevice> {
    let ((major, minor), rest) = device(line)?;
    let number = |key: &str| {
        let pair = rest.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        pair.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let (rbytes, wbytes, rios, wios) = (number("rbytes"), number("wbytes"), number("rios"), number("wios"));
    Some(IoDevice { major, minor, rbytes, wbytes, rios, wios })
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …`.
fn pressure(path: &Path) -> Option<Pressure> {
    let text = read_if_there(path)?;
    let line = |kind: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        let field = |key: &str| rest.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let average = |key: &str| field(key).and_then(|number| number.parse().ok()).unwrap_or(0.0);
        let total = field("total").and_then(|number| number.parse().ok()).unwrap_or(0);
        PressureAverages {
            avg10: average("avg10"),
            avg60: average("avg60"),
            avg300: average("avg300"),
            total,
        }
    };
    Some(Pressure { some: line("some"), full: line("full") })
}

fn hugetlb(directory: &Path, page_size: String) -> Hugetlb {
    let number =
        |suffix: &str| read_number(&directory.join(format!("hugetlb.{page_size}.{suffix}"))).unwrap_or(0);
    let events = FlatKeyed::read(&directory.join(format!("hugetlb.{page_size}.events")));
    let (usage, max) = (number("current"), number("max"));
    Hugetlb { page_size, usage, max, failcnt: events.get("max").unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_line_gives_its_numbers_whatever_else_is_in_it() {
        let device = io_device("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6").unwrap();
        assert_eq!((device.major, device.minor, device.rbytes, device.wios), (8, 16, 1, 4));
        assert_eq!(io_device("8:0 ").unwrap().rbytes, 0);
    }
}
