//! `io.containerd.cgroups.v1.Metrics`: times in nanoseconds, sizes in bytes.

use cgroup::{BlockIoV1, CpuV1, IoV1, MemoryCounter, MemoryV1, StatsV1};
use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat,
    Metrics, PidsStat, Throttle,
};
use protobuf::MessageField;

pub fn metrics(stats: &StatsV1) -> Metrics {
    let pids = stats.pids.map(|pids| PidsStat {
        current: pids.current,
        limit: pids.limit.unwrap_or(0),
        ..PidsStat::default()
    });
    let oom = stats.memory.as_ref().map(|memory| MemoryOomControl {
        oom_kill_disable: memory.oom.oom_kill_disable,
        under_oom: memory.oom.under_oom,
        oom_kill: memory.oom.oom_kill,
        ..MemoryOomControl::default()
    });
    let hugetlb = stats.hugetlb.iter().map(|size| HugetlbStat {
        usage: size.usage,
        max: size.max,
        failcnt: size.failcnt,
        pagesize: size.page_size.clone(),
        ..HugetlbStat::default()
    });
    Metrics {
        hugetlb: hugetlb.collect(),
        pids: pids.into(),
        cpu: stats.cpu.as_ref().map(cpu).into(),
        memory: stats.memory.as_ref().map(memory).into(),
        blkio: MessageField::some(block_io(&stats.block_io)),
        memory_oom_control: oom.into(),
        ..Metrics::default()
    }
}

fn cpu(cpu: &CpuV1) -> CPUStat {
    let usage = CPUUsage {
        total: cpu.total,
        kernel: cpu.system,
        user: cpu.user,
        per_cpu: cpu.per_cpu.clone(),
        ..CPUUsage::default()
    };
    let throttling = Throttle {
        periods: cpu.throttling.periods,
        throttled_periods: cpu.throttling.throttled_periods,
        throttled_time: cpu.throttling.throttled_time,
        ..Throttle::default()
    };
    CPUStat {
        usage: MessageField::some(usage),
        throttling: MessageField::some(throttling),
        ..CPUStat::default()
    }
}

fn memory(memory: &MemoryV1) -> MemoryStat {
    let stat = |key| memory.stat.get(key).unwrap_or(0);
    MemoryStat {
        cache: stat("cache"),
        rss: stat("rss"),
        rss_huge: stat("rss_huge"),
        mapped_file: stat("mapped_file"),
        dirty: stat("dirty"),
        writeback: stat("writeback"),
        pg_pg_in: stat("pgpgin"),
        pg_pg_out: stat("pgpgout"),
        pg_fault: stat("pgfault"),
        pg_maj_fault: stat("pgmajfault"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        hierarchical_memory_limit: stat("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat("hierarchical_memsw_limit"),
        total_cache: stat("total_cache"),
        total_rss: stat("total_rss"),
        total_rss_huge: stat("total_rss_huge"),
        total_mapped_file: stat("total_mapped_file"),
        total_dirty: stat("total_dirty"),
        total_writeback: stat("total_writeback"),
        total_pg_pg_in: stat("total_pgpgin"),
        total_pg_pg_out: stat("total_pgpgout"),
        total_pg_fault: stat("total_pgfault"),
        total_pg_maj_fault: stat("total_pgmajfault"),
        total_inactive_anon: stat("total_inactive_anon"),
        total_active_anon: stat("total_active_anon"),
        total_inactive_file: stat("total_inactive_file"),
        total_active_file: stat("total_active_file"),
        total_unevictable: stat("total_unevictable"),
        usage: MessageField::some(entry(&memory.usage)),
        swap: memory.swap.as_ref().map(entry).into(),
        kernel: memory.kernel.as_ref().map(entry).into(),
        kernel_tcp: memory.kernel_tcp.as_ref().map(entry).into(),
        ..MemoryStat::default()
    }
}

fn entry(counter: &MemoryCounter) -> MemoryEntry {
    MemoryEntry {
        limit: counter.limit,
        usage: counter.usage,
        max: counter.max_usage,
        failcnt: counter.failcnt,
        ..MemoryEntry::default()
    }
}

fn block_io(io: &BlockIoV1) -> BlkIOStat {
    let entries = |list: &[IoV1]| {
        list.iter()
            .map(|io| BlkIOEntry {
                op: io.op.clone(),
                major: io.major,
                minor: io.minor,
                value: io.value,
                ..BlkIOEntry::default()
            })
            .collect()
    };
    BlkIOStat {
        io_service_bytes_recursive: entries(&io.service_bytes),
        io_serviced_recursive: entries(&io.serviced),
        io_queued_recursive: entries(&io.queued),
        io_service_time_recursive: entries(&io.service_time),
        io_wait_time_recursive: entries(&io.wait_time),
        io_merged_recursive: entries(&io.merged),
        io_time_recursive: entries(&io.time),
        sectors_recursive: entries(&io.sectors),
        ..BlkIOStat::default()
    }
}
