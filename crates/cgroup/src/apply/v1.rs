//! Limits on cgroup v1 (kernel `Documentation/admin-guide/cgroup-v1`).

use std::path::Path;

use super::{Amount, check_page_size, check_usage, device_line, memory_and_swap, set_either_order};
use crate::file::{exists, read_number, set};
use crate::{BlockIo, Cgroup, Controller, Cpu, Error, Limits, Memory, Result, Version};

pub(super) fn apply(cgroup: &Cgroup, limits: &Limits) -> Result<()> {
    if !limits.unified.is_empty() {
        let reason = "there are no unified files";
        return Err(Error::Unsupported { limit: "unified", version: Version::V1, reason });
    }
    memory(cgroup, &limits.memory)?;
    cpu(cgroup, &limits.cpu)?;
    cpuset(cgroup, &limits.cpu)?;
    if let Some(pids) = Amount::given(limits.pids) {
        let directory = cgroup.directory_for("pids.limit", Controller::Pids)?;
        set(directory, "pids.max", "pids.limit", &pids.text("max"))?;
    }
    block_io(cgroup, &limits.block_io)?;
    for (size, bytes) in &limits.hugepages {
        check_page_size(size)?;
        let directory = cgroup.directory_for("hugepageLimits", Controller::Hugetlb)?;
        set(directory, &format!("hugetlb.{size}.limit_in_bytes"), "hugepageLimits", &bytes.to_string())?;
        // Reservations fail at mmap instead of killing at the first touch. Linux 5.7.
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        if exists(directory, &reserved) {
            set(directory, &reserved, "hugepageLimits", &bytes.to_string())?;
        }
    }
    Ok(())
}

const MEMSW: &str = "memory.memsw.limit_in_bytes";

fn memory(cgroup: &Cgroup, memory: &Memory) -> Result<()> {
    if *memory == (Memory { check_before_update: memory.check_before_update, ..Memory::default() }) {
        return Ok(());
    }
    let directory = cgroup.directory_for("memory", Controller::Memory)?;
    let (limit, swap) = memory_and_swap(memory)?;
    check_usage(memory, limit, &directory.join("memory.usage_in_bytes"))?;
    set_memory(directory, limit, swap)?;
    let settings = [
        (
            "memory.soft_limit_in_bytes",
            "memory.reservation",
            Amount::given(memory.reservation).map(|a| a.text("-1")),
        ),
        ("memory.swappiness", "memory.swappiness", memory.swappiness.map(|value| value.to_string())),
        (
            "memory.oom_control",
            "memory.disableOOMKiller",
            memory.disable_oom_killer.map(|on| u8::from(on).to_string()),
        ),
    ];
    for (name, limit, value) in settings {
        if let Some(value) = value {
            set(directory, name, limit, &value)?;
        }
    }
    Ok(())
}

/// The kernel keeps the limit at or below that of memory plus swap at every moment, so the order depends on
/// where the latter stands now.
fn set_memory(directory: &Path, limit: Option<Amount>, swap: Option<Amount>) -> Result<()> {
    let counts_swap = exists(directory, MEMSW);
    let swap = match (limit, swap) {
        // No limit on memory makes sense only without one on memory plus swap.
        (Some(Amount::Unlimited), None) if counts_swap => Some(Amount::Unlimited),
        // Without swap accounting there is nothing to set, and nothing asked for beyond the limit.
        (limit, swap) if !counts_swap && (swap == limit || swap == Some(Amount::Unlimited)) => None,
        (_, swap) => swap,
    };
    let set_limit =
        |limit: Amount| set(directory, "memory.limit_in_bytes", "memory.limit", &limit.text("-1"));
    let set_swap = |swap: Amount| set(directory, MEMSW, "memory.swap", &swap.text("-1"));
    match (limit, swap) {
        (Some(limit), Some(swap)) => {
            let present = read_number(&directory.join(MEMSW));
            let fits = |limit: i64| present.is_none_or(|present| limit.unsigned_abs() <= present);
            if matches!(limit, Amount::Of(limit) if fits(limit)) {
                set_limit(limit)?;
                set_swap(swap)
            } else {
                set_swap(swap)?;
                set_limit(limit)
            }
        }
        (Some(limit), None) => set_limit(limit),
        (None, Some(swap)) => set_swap(swap),
        (None, None) => Ok(()),
    }
}

fn cpu(cgroup: &Cgroup, cpu: &Cpu) -> Result<()> {
    let shares = cpu.shares.filter(|shares| *shares != 0);
    let period = cpu.period.filter(|period| *period != 0);
    let quota = Amount::given(cpu.quota);
    let realtime = (cpu.realtime_period, cpu.realtime_runtime);
    if shares.is_none()
        && period.is_none()
        && quota.is_none()
        && cpu.burst.is_none()
        && cpu.idle.is_none()
        && realtime == (None, None)
    {
        return Ok(());
    }
    let directory = cgroup.directory_for("cpu", Controller::Cpu)?;
    let set = |name: &str, limit: &'static str, value: Option<String>| {
        value.map_or(Ok(()), |value| set(directory, name, limit, &value))
    };
    // An idle group has no shares to set: leave that class first, or enter it last and alone.
    set("cpu.idle", "cpu.idle", cpu.idle.map(|idle| idle.to_string()))?;
    if cpu.idle.is_none_or(|idle| idle <= 0) {
        set("cpu.shares", "cpu.shares", shares.map(|shares| shares.to_string()))?;
    }
    // A burst must not exceed the quota, and a quota per period not what the group above has.
    set_either_order(
        || set("cpu.cfs_burst_us", "cpu.burst", cpu.burst.map(|burst| burst.to_string())),
        || {
            set_either_order(
                || set("cpu.cfs_period_us", "cpu.period", period.map(|period| period.to_string())),
                || set("cpu.cfs_quota_us", "cpu.quota", quota.map(|quota| quota.text("-1"))),
            )
        },
    )?;
    set_either_order(
        || set("cpu.rt_period_us", "cpu.realtimePeriod", realtime.0.map(|period| period.to_string())),
        || set("cpu.rt_runtime_us", "cpu.realtimeRuntime", realtime.1.map(|runtime| runtime.to_string())),
    )
}

fn cpuset(cgroup: &Cgroup, cpu: &Cpu) -> Result<()> {
    let mut is_there = false;
    for (name, limit, list) in
        [("cpuset.cpus", "cpu.cpus", &cpu.cpus), ("cpuset.mems", "cpu.mems", &cpu.mems)]
    {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            if !is_there {
                crate::cpuset::make_deferred(cgroup)?;
                is_there = true;
            }
            set(cgroup.directory_for(limit, Controller::Cpuset)?, name, limit, list)?;
        }
    }
    Ok(())
}

fn block_io(cgroup: &Cgroup, io: &BlockIo) -> Result<()> {
    if *io == BlockIo::default() {
        return Ok(());
    }
    let directory = cgroup.directory_for("blockIO", Controller::BlockIo)?;
    // CFQ's file went with it in Linux 5.0; BFQ's is named after it.
    let weight_file = |cfq: &'static str, bfq: &'static str| if exists(directory, cfq) { cfq } else { bfq };
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        let name = weight_file("blkio.weight", "blkio.bfq.weight");
        set(directory, name, "blockIO.weight", &weight.to_string())?;
    }
    if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
        set(directory, "blkio.leaf_weight", "blockIO.leafWeight", &weight.to_string())?;
    }
    let weight_device = weight_file("blkio.weight_device", "blkio.bfq.weight_device");
    let per_device = [
        (weight_device, "blockIO.weightDevice", &io.weight_device),
        ("blkio.throttle.read_bps_device", "blockIO.throttleReadBpsDevice", &io.read_bps),
        ("blkio.throttle.write_bps_device", "blockIO.throttleWriteBpsDevice", &io.write_bps),
        ("blkio.throttle.read_iops_device", "blockIO.throttleReadIOPSDevice", &io.read_iops),
        ("blkio.throttle.write_iops_device", "blockIO.throttleWriteIOPSDevice", &io.write_iops),
    ];
    for (name, limit, devices) in per_device {
        for device in devices {
            set(directory, name, limit, &device_line(device, device.rate))?;
        }
    }
    Ok(())
}
