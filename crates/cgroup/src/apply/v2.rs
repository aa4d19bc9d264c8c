//! Limits on cgroup v2 (kernel `cgroup-v2.rst`; conversions of the OCI runtime specification's v1 units).

use std::path::Path;

use super::{Amount, check_page_size, check_usage, device_line, memory_and_swap, set_either_order};
use crate::file::{exists, read_if_there, set};
use crate::{BlockIo, Cgroup, Controller, Cpu, Error, Limits, Memory, Result, Version, delegate};

pub(super) fn apply(cgroup: &Cgroup, limits: &Limits) -> Result<()> {
    refuse_v1_only(limits)?;
    for (name, value) in &limits.unified {
        check_unified(name, value)?;
    }
    delegate::require(cgroup, &needs(limits))?;
    let Some((_, directory)) = cgroup.unified() else { return Ok(()) };
    memory(directory, &limits.memory)?;
    cpu(directory, &limits.cpu)?;
    for (name, limit, list) in
        [("cpuset.cpus", "cpu.cpus", &limits.cpu.cpus), ("cpuset.mems", "cpu.mems", &limits.cpu.mems)]
    {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            set(directory, name, limit, list)?;
        }
    }
    if let Some(pids) = Amount::given(limits.pids) {
        set(directory, "pids.max", "pids.limit", &pids.text("max"))?;
    }
    block_io(directory, &limits.block_io)?;
    for (size, bytes) in &limits.hugepages {
        check_page_size(size)?;
        set(directory, &format!("hugetlb.{size}.max"), "hugepageLimits", &bytes.to_string())?;
        // Reservations fail at mmap instead of killing at the first touch. Linux 5.7.
        let reserved = format!("hugetlb.{size}.rsvd.max");
        if exists(directory, &reserved) {
            set(directory, &reserved, "hugepageLimits", &bytes.to_string())?;
        }
    }
    for (name, value) in &limits.unified {
        // Files with a line per device take one at a time.
        for line in value.lines() {
            set(directory, name, "unified", line)?;
        }
    }
    Ok(())
}

fn refuse_v1_only(limits: &Limits) -> Result<()> {
    let refused = [
        ("memory.swappiness", limits.memory.swappiness.is_some(), "swappiness is the whole host's"),
        (
            "memory.disableOOMKiller",
            limits.memory.disable_oom_killer == Some(true),
            "the OOM killer cannot be disabled",
        ),
        (
            "cpu.realtimeRuntime",
            limits.cpu.realtime_runtime.is_some(),
            "there is no realtime bandwidth per group",
        ),
        (
            "cpu.realtimePeriod",
            limits.cpu.realtime_period.is_some(),
            "there is no realtime bandwidth per group",
        ),
        (
            "blockIO.leafWeight",
            limits.block_io.leaf_weight.is_some_and(|w| w != 0),
            "there are no leaf weights",
        ),
    ];
    match refused.into_iter().find(|(_, given, _)| *given) {
        Some((limit, _, reason)) => Err(Error::Unsupported { limit, version: Version::V2, reason }),
        None => Ok(()),
    }
}

/// A unified name is that of a resource file in the cgroup's own directory: nothing that leads elsewhere, and
/// none of the files with which processes are moved and controllers handed down.
fn check_unified(name: &str, value: &str) -> Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let resource = name.split_once('.').is_some_and(|(controller, file)| {
        !controller.is_empty() && !file.is_empty() && (controller != "cgroup" || file.starts_with("max."))
    });
    if plain && resource {
        return Ok(());
    }
    let reason = format!("{name:?} is not the name of a cgroup v2 resource file, like memory.high");
    Err(Error::Invalid { limit: "unified", value: value.to_owned(), reason })
}

/// The controllers these limits need, each with the limit to name if it is missing.
fn needs(limits: &Limits) -> Vec<(&'static str, Controller)> {
    let (memory, cpu) = (&limits.memory, &limits.cpu);
    let bandwidth = [cpu.shares, cpu.period, cpu.burst].iter().any(Option::is_some) || cpu.quota.is_some();
    let mut needs: Vec<_> = [
        ("memory.limit", memory.limit.is_some(), Controller::Memory),
        ("memory.reservation", memory.reservation.is_some(), Controller::Memory),
        ("memory.swap", memory.swap.is_some(), Controller::Memory),
        ("cpu", bandwidth || cpu.idle.is_some(), Controller::Cpu),
        ("cpu.cpus", cpu.cpus.is_some(), Controller::Cpuset),
        ("cpu.mems", cpu.mems.is_some(), Controller::Cpuset),
        ("pids.limit", limits.pids.is_some(), Controller::Pids),
        ("blockIO", limits.block_io != BlockIo::default(), Controller::BlockIo),
        ("hugepageLimits", !limits.hugepages.is_empty(), Controller::Hugetlb),
    ]
    .into_iter()
    .filter_map(|(limit, given, controller)| given.then_some((limit, controller)))
    .collect();
    let controller = |name: &str| Controller::named(name.split('.').next().unwrap_or_default());
    needs.extend(limits.unified.iter().filter_map(|(name, _)| Some(("unified", controller(name)?))));
    needs
}

fn memory(directory: &Path, memory: &Memory) -> Result<()> {
    let (limit, swap) = memory_and_swap(memory)?;
    check_usage(memory, limit, &directory.join("memory.current"))?;
    if let Some(swap) = swap {
        set_swap(directory, limit, swap)?;
    }
    if let Some(limit) = limit {
        set(directory, "memory.max", "memory.limit", &limit.text("max"))?;
    }
    if let Some(reservation) = Amount::given(memory.reservation) {
        set(directory, "memory.low", "memory.reservation", &reservation.text("max"))?;
    }
    Ok(())
}

/// v2 limits swap by itself: what is left of memory plus swap after the memory limit, the present one if none
/// is given.
fn set_swap(directory: &Path, limit: Option<Amount>, total: Amount) -> Result<()> {
    let swap = match total {
        Amount::Unlimited => Amount::Unlimited,
        Amount::Of(bytes) => {
            let present =
                || read_if_there(&directory.join("memory.max"))?.trim().parse().ok().map(Amount::Of);
            let Some(Amount::Of(memory)) = limit.or_else(present) else {
                let reason = "it counts memory and swap together, which needs a memory.limit".to_owned();
                return Err(Error::Invalid { limit: "memory.swap", value: bytes.to_string(), reason });
            };
            if memory > bytes {
                let reason = format!("it counts memory and swap together, and memory.limit is {memory}");
                return Err(Error::Invalid { limit: "memory.swap", value: bytes.to_string(), reason });
            }
            Amount::Of(bytes - memory)
        }
    };
    // Without swap accounting there is none to be had, and no limit to be set on it.
    if matches!(swap, Amount::Unlimited | Amount::Of(0)) && !exists(directory, "memory.swap.max") {
        return Ok(());
    }
    set(directory, "memory.swap.max", "memory.swap", &swap.text("max"))
}

fn cpu(directory: &Path, cpu: &Cpu) -> Result<()> {
    // An idle group has no weight to set: leave that class first, or enter it last and alone.
    if let Some(idle) = cpu.idle {
        set(directory, "cpu.idle", "cpu.idle", &idle.to_string())?;
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0)
        && cpu.idle.is_none_or(|idle| idle <= 0)
    {
        set(directory, "cpu.weight", "cpu.shares", &weight_of_shares(shares).to_string())?;
    }
    let set_burst = || match cpu.burst {
        Some(burst) => set(directory, "cpu.max.burst", "cpu.burst", &burst.to_string()),
        None => Ok(()),
    };
    // A burst must not exceed the quota.
    set_either_order(set_burst, || set_bandwidth(directory, cpu))
}

fn set_bandwidth(directory: &Path, cpu: &Cpu) -> Result<()> {
    let quota = Amount::given(cpu.quota).map(|quota| quota.text("max"));
    match (quota, cpu.period.filter(|period| *period != 0)) {
        (None, None) => Ok(()),
        // The period stays as it is.
        (Some(quota), None) => set(directory, "cpu.max", "cpu.quota", &quota),
        (Some(quota), Some(period)) => set(directory, "cpu.max", "cpu.quota", &format!("{quota} {period}")),
        // The kernel wants the quota with it.
        (None, Some(period)) => {
            let present = read_if_there(&directory.join("cpu.max")).unwrap_or_default();
            let quota = present.split_whitespace().next().unwrap_or("max");
            set(directory, "cpu.max", "cpu.period", &format!("{quota} {period}"))
        }
    }
}

fn block_io(directory: &Path, io: &BlockIo) -> Result<()> {
    // BFQ counts as v1 did; the kernel's other weight is on a scale of its own.
    let bfq = exists(directory, "io.bfq.weight");
    let name = if bfq { "io.bfq.weight" } else { "io.weight" };
    let scaled = |weight: u64| if bfq { weight } else { io_weight(weight) };
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        set(directory, name, "blockIO.weight", &scaled(weight.into()).to_string())?;
    }
    for device in &io.weight_device {
        set(directory, name, "blockIO.weightDevice", &device_line(device, scaled(device.rate)))?;
    }
    let throttles = [
        ("rbps", "blockIO.throttleReadBpsDevice", &io.read_bps),
        ("wbps", "blockIO.throttleWriteBpsDevice", &io.write_bps),
        ("riops", "blockIO.throttleReadIOPSDevice", &io.read_iops),
        ("wiops", "blockIO.throttleWriteIOPSDevice", &io.write_iops),
    ];
    for (key, limit, devices) in throttles {
        for device in devices {
            // v1 lifts a throttle with 0.
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            set(directory, "io.max", limit, &device_line(device, format_args!("{key}={rate}")))?;
        }
    }
    Ok(())
}

/// `cpu.shares` to `cpu.weight`.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// `blkio.weight` to `io.weight`.
fn io_weight(weight: u64) -> u64 {
    1 + (weight.clamp(10, 1_000) - 10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_the_ends_of_their_scales() {
        assert_eq!([2, 1024, 262_144, 0, u64::MAX].map(weight_of_shares), [1, 39, 10_000, 1, 10_000]);
        assert_eq!([10, 1_000, 500].map(io_weight), [1, 10_000, 4_950]);
    }

    #[test]
    fn unified_names_reach_resource_files_only() {
        for name in ["memory.high", "io.max", "hugetlb.2MB.max", "cgroup.max.depth", "misc.max"] {
            assert!(check_unified(name, "1").is_ok(), "{name}");
        }
        for name in [
            "../memory.high",
            "a/memory.high",
            "memory",
            "",
            ".",
            "..",
            "cgroup.procs",
            "cgroup.kill",
            "memory.\0",
        ] {
            assert!(check_unified(name, "1").is_err(), "{name}");
        }
    }
}
