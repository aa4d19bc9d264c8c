//! `io.containerd.cgroups.v2.Metrics`: times in microseconds, sizes in bytes, no limit as the largest number.

use cgroup::{FlatKeyed, IoV2, MemoryV2, Pressure, PressureAverages, StatsV2};
use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats, PidsStat,
};
use protobuf::MessageField;

pub fn metrics(stats: &StatsV2) -> Metrics {
    let pids = stats.pids.map(|pids| PidsStat {
        current: pids.current,
        limit: pids.limit.unwrap_or(0),
        ..PidsStat::default()
    });
    let hugetlb = stats.hugetlb.iter().map(|size| HugeTlbStat {
        current: size.usage,
        max: size.max,
        pagesize: size.page_size.clone(),
        failcnt: size.failcnt,
        ..HugeTlbStat::default()
    });
    Metrics {
        pids: pids.into(),
        cpu: MessageField::some(cpu(&stats.cpu, stats.cpu_pressure.as_ref())),
        memory: stats.memory.as_ref().map(memory).into(),
        io: MessageField::some(io(&stats.io)),
        hugetlb: hugetlb.collect(),
        memory_events: stats.memory.as_ref().map(|memory| events(&memory.events)).into(),
        ..Metrics::default()
    }
}

fn cpu(stat: &FlatKeyed, pressure: Option<&Pressure>) -> CPUStat {
    let stat = |key| stat.get(key).unwrap_or(0);
    CPUStat {
        usage_usec: stat("usage_usec"),
        user_usec: stat("user_usec"),
        system_usec: stat("system_usec"),
        nr_periods: stat("nr_periods"),
        nr_throttled: stat("nr_throttled"),
        throttled_usec: stat("throttled_usec"),
        psi: pressure.map(psi).into(),
        nr_bursts: stat("nr_bursts"),
        burst_usec: stat("burst_usec"),
        ..CPUStat::default()
    }
}

fn memory(memory: &MemoryV2) -> MemoryStat {
    let stat = |key| memory.stat.get(key).unwrap_or(0);
    MemoryStat {
        anon: stat("anon"),
        file: stat("file"),
        kernel_stack: stat("kernel_stack"),
        slab: stat("slab"),
        sock: stat("sock"),
        shmem: stat("shmem"),
        file_mapped: stat("file_mapped"),
        file_dirty: stat("file_dirty"),
        file_writeback: stat("file_writeback"),
        anon_thp: stat("anon_thp"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        slab_reclaimable: stat("slab_reclaimable"),
        slab_unreclaimable: stat("slab_unreclaimable"),
        pgfault: stat("pgfault"),
        pgmajfault: stat("pgmajfault"),
        workingset_refault: stat("workingset_refault_file") + stat("workingset_refault_anon"),
        workingset_activate: stat("workingset_activate_file") + stat("workingset_activate_anon"),
        workingset_nodereclaim: stat("workingset_nodereclaim"),
        pgrefill: stat("pgrefill"),
        pgscan: stat("pgscan"),
        pgsteal: stat("pgsteal"),
        pgactivate: stat("pgactivate"),
        pgdeactivate: stat("pgdeactivate"),
        pglazyfree: stat("pglazyfree"),
        pglazyfreed: stat("pglazyfreed"),
        thp_fault_alloc: stat("thp_fault_alloc"),
        thp_collapse_alloc: stat("thp_collapse_alloc"),
        usage: memory.usage,
        usage_limit: memory.limit.unwrap_or(u64::MAX),
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit.unwrap_or(u64::MAX),
        max_usage: memory.max_usage.unwrap_or(0),
        swap_max_usage: memory.swap_max_usage.unwrap_or(0),
        psi: memory.pressure.as_ref().map(psi).into(),
        ..MemoryStat::default()
    }
}

fn events(events: &FlatKeyed) -> MemoryEvents {
    let event = |key| events.get(key).unwrap_or(0);
    MemoryEvents {
        low: event("low"),
        high: event("high"),
        max: event("max"),
        oom: event("oom"),
        oom_kill: event("oom_kill"),
        oom_group_kill: event("oom_group_kill"),
        ..MemoryEvents::default()
    }
}

fn io(io: &IoV2) -> IOStat {
    let usage = io.devices.iter().map(|device| IOEntry {
        major: device.major,
        minor: device.minor,
        rbytes: device.rbytes,
        wbytes: device.wbytes,
        rios: device.rios,
        wios: device.wios,
        ..IOEntry::default()
    });
    IOStat { usage: usage.collect(), psi: io.pressure.as_ref().map(psi).into(), ..IOStat::default() }
}

fn psi(pressure: &Pressure) -> PSIStats {
    let data = |averages: &PressureAverages| PSIData {
        avg10: averages.avg10,
        avg60: averages.avg60,
        avg300: averages.avg300,
        total: averages.total,
        ..PSIData::default()
    };
    PSIStats {
        some: MessageField::some(data(&pressure.some)),
        full: MessageField::some(data(&pressure.full)),
        ..PSIStats::default()
    }
}
