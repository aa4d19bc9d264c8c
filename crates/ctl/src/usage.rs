//! What a container takes: memory by the kernel's account of its processes, processor time by its cgroup's.

use std::fs;
use std::path::Path;

use serde::Serialize;
use shim::report::Container;

/// Memory of all processes of a container, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Pages nobody else maps (`Private_*`).
    pub private_kib: u64,
    /// Pages that others map too, such as the engine and the module's template (`Shared_*`).
    pub shared_kib: u64,
    /// Private pages, and of each shared page its part (`Pss`).
    pub pss_kib: u64,
}

/// What a container takes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Its processes.
    pub processes: usize,
    /// Their memory; absent if none can be looked at.
    pub memory: Option<Memory>,
    /// Processor time since it was made, in nanoseconds; absent if nobody counts it.
    pub cpu_ns: Option<u64>,
}

impl Usage {
    /// Looks at a container now. What has ended meanwhile is not counted.
    pub fn of(container: &Container, host: &cgroup::Host) -> Usage {
        let group = cgroup::Cgroup::from_directories(host, container.cgroup.iter().cloned());
        let mut pids = group.pids().unwrap_or_default();
        if pids.is_empty() && container.state != "stopped" {
            pids.push(container.pid);
        }
        let memory: Vec<Memory> = pids.iter().filter_map(|pid| memory(*pid)).collect();
        let sum = |one: fn(&Memory) -> u64| memory.iter().map(one).sum();
        let cpu = container.cgroup.iter().find_map(|directory| cpu_of_cgroup(directory));
        Usage {
            processes: pids.len(),
            memory: (!memory.is_empty()).then(|| Memory {
                private_kib: sum(|memory| memory.private_kib),
                shared_kib: sum(|memory| memory.shared_kib),
                pss_kib: sum(|memory| memory.pss_kib),
            }),
            cpu_ns: cpu.or_else(|| cpu_of_process(container.pid)),
        }
    }
}

/// Of one process; `None` if it is gone or not ours to look at.
pub fn memory(pid: i32) -> Option<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(parse_rollup(&text))
}

/// `proc_pid_smaps(5)`: one sum a line, in kB of 1024 bytes.
fn parse_rollup(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let kib: u64 = value.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        match name {
            "Private_Clean" | "Private_Dirty" | "Private_Hugetlb" => memory.private_kib += kib,
            "Shared_Clean" | "Shared_Dirty" | "Shared_Hugetlb" => memory.shared_kib += kib,
            "Pss" => memory.pss_kib = kib,
            _ => {}
        }
    }
    memory
}

/// v1 has a file for it, v2 a line.
fn cpu_of_cgroup(directory: &Path) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(directory.join("cpuacct.usage")) {
        return text.trim().parse().ok();
    }
    let text = fs::read_to_string(directory.join("cpu.stat")).ok()?;
    let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    microseconds.trim().parse::<u64>().ok()?.checked_mul(1000)
}

/// `proc_pid_stat(5)`: fields 14 and 15, in ticks of the clock that user programs see.
fn cpu_of_process(pid: i32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = fields.next()?? + fields.next()??;
    ticks.checked_mul(1_000_000_000)?.checked_div(rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_past() {
        let own = i32::try_from(std::process::id()).unwrap();
        let memory = memory(own).unwrap();
        assert!(memory.private_kib > 100 && memory.pss_kib >= memory.private_kib, "{memory:?}");
        assert!(cpu_of_process(own).is_some());
        assert_eq!(super::memory(i32::MAX), None);
        assert_eq!(cpu_of_process(i32::MAX), None);
    }

    #[test]
    fn all_kinds_of_private_and_shared_pages_are_summed() {
        let text = "00400000-7ffe00000000 ---p 00000000 00:00 0 [rollup]\nRss: 99 kB\nPss: 40 kB\nPss_Anon: 7 kB\n\
                    Shared_Clean: 20 kB\nShared_Dirty: 4 kB\nPrivate_Clean: 10 kB\nPrivate_Dirty: 20 kB\n";
        assert_eq!(parse_rollup(text), Memory { private_kib: 30, shared_kib: 24, pss_kib: 40 });
    }

    #[test]
    fn processor_time_is_read_from_either_version_of_cgroups() {
        let folder = std::env::temp_dir().join(format!("wamrctl-usage-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(cpu_of_cgroup(&folder), None);
        fs::write(folder.join("cpu.stat"), "nr_periods 0\nthrottled_time 7\n").unwrap();
        assert_eq!(cpu_of_cgroup(&folder), None, "v1's file of that name holds no time");
        fs::write(folder.join("cpu.stat"), "usage_usec 1500\nuser_usec 9\n").unwrap();
        assert_eq!(cpu_of_cgroup(&folder), Some(1_500_000));
        fs::write(folder.join("cpuacct.usage"), "77\n").unwrap();
        assert_eq!(cpu_of_cgroup(&folder), Some(77));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_process_s_name_cannot_forge_its_figures() {
        let stat = |name: &str| format!("7 ({name}) R 1 7 7 0 -1 4 0 0 0 0 150 50 0 0 20 0 1 0 9 9 9");
        let expected = Some(200 * 1_000_000_000 / rustix::param::clock_ticks_per_second());
        assert_eq!(parse_stat(&stat("a")), expected);
        assert_eq!(parse_stat(&stat("a) R 1 7 7 0 -1 4 0 0 0 0 9 9")), expected);
        assert_eq!(parse_stat("7 (a"), None);
    }
}
