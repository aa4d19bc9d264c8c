//! What a container has used.

mod v1;
mod v2;

use std::path::Path;

pub use v1::{BlockIoV1, CpuV1, IoV1, MemoryCounter, MemoryV1, OomControl, StatsV1, Throttling};
pub use v2::{IoDevice, IoV2, MemoryV2, Pressure, PressureAverages, StatsV2};

use crate::file::{read_if_there, read_number};
use crate::{Cgroup, Version};

/// Numbers of one container, in the terms of the version that counts them.
///
/// What the kernel does not offer is absent, empty or 0, never an error: a controller that is not there, a
/// file of another kernel, a cgroup that is gone.
#[derive(Debug, Clone)]
pub enum Stats {
    /// Of cgroup v1.
    V1(Box<StatsV1>),
    /// Of cgroup v2.
    V2(Box<StatsV2>),
}

/// Number of processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pids {
    /// At present.
    pub current: u64,
    /// At most; `None` for no limit.
    pub limit: Option<u64>,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// As the kernel names it, `2MB`.
    pub page_size: String,
    /// Bytes in use.
    pub usage: u64,
    /// v1: most bytes ever in use. v2: the limit in bytes, 0 for none.
    pub max: u64,
    /// Allocations that failed for the limit.
    pub failcnt: u64,
}

/// The text of a file with lines `key number`, as it was read. New kernels bring new keys: all are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatKeyed(String);

impl FlatKeyed {
    pub(crate) fn read(path: &Path) -> Self {
        Self(read_if_there(path).unwrap_or_default())
    }

    /// The number beside a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<u64> {
        crate::file::keyed(&self.0, key)
    }

    /// All keys with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.lines().filter_map(|line| {
            let (key, number) = line.split_once(' ')?;
            Some((key, number.trim().parse().ok()?))
        })
    }
}

impl Cgroup {
    /// Reads all numbers: about 20 files on v1, 12 on v2.
    #[must_use]
    pub fn stats(&self) -> Stats {
        match self.version() {
            Version::V1 => Stats::V1(Box::new(v1::read(self))),
            Version::V2 => Stats::V2(Box::new(v2::read(self))),
        }
    }
}

fn pids(directory: Option<&Path>) -> Option<Pids> {
    let directory = directory?;
    let current = read_number(&directory.join("pids.current"))?;
    Some(Pids { current, limit: read_number(&directory.join("pids.max")) })
}

/// The huge page sizes a directory has files for: `hugetlb.2MB.<suffix>`.
fn page_sizes(directory: &Path, suffix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sizes: Vec<String> = entries
        .filter_map(|entry| {
            let size = entry
                .file_name()
                .to_str()?
                .strip_prefix("hugetlb.")?
                .strip_suffix(suffix)?
                .strip_suffix('.')?
                .to_owned();
            // `2MB.rsvd` is not a size.
            (!size.contains('.')).then_some(size)
        })
        .collect();
    sizes.sort_unstable();
    sizes
}

/// `major:minor` at the beginning of a line, and the rest.
fn device(line: &str) -> Option<((u64, u64), &str)> {
    let (device, rest) = line.split_once(' ')?;
    let (major, minor) = device.split_once(':')?;
    Some(((major.parse().ok()?, minor.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::{Bed, Child, Tree, touch};
    use crate::{Cpu, Limits, Memory, Path};

    #[test]
    fn what_a_process_used_and_may_use_is_counted() {
        let bed = Bed::new();
        let limits = Limits {
            memory: Memory { limit: Some(64 << 20), ..Memory::default() },
            cpu: Cpu { quota: Some(10_000), period: Some(100_000), ..Cpu::default() },
            pids: Some(16),
            ..Limits::default()
        };
        let cgroup = bed.create("c", &limits);
        let mut child = Child::enter(&cgroup, || {
            touch(16 << 20);
            crate::testbed::burn(std::time::Duration::from_millis(50));
        });
        assert_eq!(child.wait_signal(), None);
        // Memory that was used and is free again still shows in the peak.
        match cgroup.stats() {
            Stats::V1(stats) => {
                let (memory, cpu) = (stats.memory.unwrap(), stats.cpu.unwrap());
                assert_eq!(memory.usage.limit, 64 << 20);
                assert!(memory.usage.max_usage >= 16 << 20, "{memory:?}");
                assert_eq!(memory.oom, OomControl::default());
                assert!(memory.stat.get("total_pgfault").unwrap() > 0, "{memory:?}");
                assert!(cpu.total >= 40_000_000 && cpu.total <= 10_000_000_000, "{cpu:?}");
                // The split is sampled by the tick, so a short run may show under one of the two only.
                assert!(cpu.user + cpu.system > 0, "{cpu:?}");
                assert_eq!(cpu.per_cpu.iter().sum::<u64>(), cpu.total);
                assert!(cpu.throttling.throttled_periods > 0, "{cpu:?}");
                assert_eq!(stats.pids, Some(Pids { current: 0, limit: Some(16) }));
            }
            Stats::V2(stats) => {
                let memory = stats.memory.unwrap();
                assert_eq!(memory.limit, Some(64 << 20));
                assert!(memory.max_usage.is_none_or(|peak| peak >= 16 << 20), "{memory:?}");
                assert_eq!(memory.events.get("oom_kill"), Some(0));
                // Huge pages make them few.
                assert!(memory.stat.get("pgfault").unwrap() > 0, "{memory:?}");
                assert!(stats.cpu.get("usage_usec").unwrap() >= 40_000, "{:?}", stats.cpu);
                assert!(stats.cpu.get("nr_throttled").unwrap() > 0, "{:?}", stats.cpu);
                assert_eq!(stats.pids, Some(Pids { current: 0, limit: Some(16) }));
            }
        }
        cgroup.remove().unwrap();
        // Gone is not an error.
        match cgroup.stats() {
            Stats::V1(stats) => {
                assert!(stats.memory.is_none() && stats.cpu.is_none() && stats.pids.is_none())
            }
            Stats::V2(stats) => assert!(stats.memory.is_none() && stats.pids.is_none()),
        }
    }

    #[test]
    fn v2_numbers_are_read_from_their_files() {
        let tree = Tree::new(&[
            ("c/cgroup.procs", ""),
            ("c/memory.current", "5\n"),
            ("c/memory.max", "max\n"),
            ("c/memory.swap.max", "7\n"),
            ("c/memory.stat", "anon 3\ninactive_file 1\n"),
            ("c/memory.events", "low 0\noom_kill 2\n"),
            (
                "c/memory.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=4\n",
            ),
            ("c/cpu.stat", "usage_usec 11\n"),
            ("c/pids.current", "1\n"),
            ("c/pids.max", "max\n"),
            ("c/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("c/hugetlb.2MB.current", "0\n"),
            ("c/hugetlb.2MB.rsvd.current", "0\n"),
            ("c/hugetlb.2MB.max", "max\n"),
        ]);
        let cgroup = Cgroup::open(&tree.host(), &Path::parse("/c").unwrap()).unwrap();
        let Stats::V2(stats) = cgroup.stats() else { panic!("not v2") };
        let memory = stats.memory.unwrap();
        assert_eq!((memory.usage, memory.limit, memory.swap_limit), (5, None, Some(7)));
        assert_eq!((memory.stat.get("anon"), memory.events.get("oom_kill")), (Some(3), Some(2)));
        let pressure = memory.pressure.unwrap();
        assert_eq!(
            (pressure.some.avg10, pressure.some.total, pressure.full.avg10, pressure.full.total),
            (1.5, 9, 0.25, 4)
        );
        assert_eq!(stats.cpu.get("usage_usec"), Some(11));
        assert_eq!(stats.pids, Some(Pids { current: 1, limit: None }));
        assert_eq!(
            stats.io.devices,
            [IoDevice { major: 8, minor: 0, rbytes: 1, wbytes: 2, rios: 3, wios: 4 }]
        );
        assert_eq!(stats.hugetlb.len(), 1);
        assert_eq!(cgroup.oom_kills(), 2);
    }

    #[test]
    fn flat_keyed_text_gives_every_key_and_skips_what_is_no_number() {
        let stat = FlatKeyed("cache 1\ntotal_cache 2\nodd\nworse x\nlast 18446744073709551615\n".to_owned());
        assert_eq!((stat.get("cache"), stat.get("total_cache"), stat.get("worse")), (Some(1), Some(2), None));
        assert_eq!(stat.iter().collect::<Vec<_>>(), [("cache", 1), ("total_cache", 2), ("last", u64::MAX)]);
    }

    #[test]
    fn devices_are_told_from_totals() {
        assert_eq!(device("8:16 Read 5"), Some(((8, 16), "Read 5")));
        assert_eq!(device("Total 5"), None);
    }
}
