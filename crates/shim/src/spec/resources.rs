//! `linux.resources`: what the container may use.

use cgroup::{BlockIo, Cpu, DeviceRate, Limits, Memory};
use oci_spec::runtime as oci;

use super::SpecError;
use super::error::Result;

/// Bytes of a memory limit that are not left to linear memory: kernel memory of the process and its cgroup (page tables,
/// stack, slab), the engine's instance and its stacks. 140 to 240 KB were measured for a small program; this is twice
/// that. The limit itself is kept by the kernel; this only makes a guest meet a failing `memory.grow` before it.
pub const MEMORY_OVERHEAD: i64 = 512 << 10;

/// Bytes of a wasm page.
const PAGE: i64 = 64 << 10;
/// Pages of the largest 32-bit linear memory.
pub const MOST_PAGES: u32 = 65_536;

/// Reads `linux.resources` as containerd's Update sends it: JSON of its own.
///
/// # Errors
/// [`SpecError`].
pub fn limits_from_json(json: &[u8]) -> std::result::Result<Limits, SpecError> {
    limits(&super::error::parse(json)?)
}

/// Largest linear memory in pages of 64 KiB under a memory limit in bytes; `None` without a limit (also -1).
///
/// # Errors
/// [`SpecError::Invalid`] when not even one page is left.
pub fn memory_pages(limit: Option<i64>) -> std::result::Result<Option<u32>, SpecError> {
    let Some(limit) = limit.filter(|limit| *limit != -1) else { return Ok(None) };
    let pages = limit.saturating_sub(MEMORY_OVERHEAD) / PAGE;
    if pages < 1 {
        let why = format!("a wasm container needs at least {} bytes", MEMORY_OVERHEAD + PAGE);
        return Err(SpecError::invalid("linux.resources.memory.limit", limit, why));
    }
    Ok(u32::try_from(pages.min(i64::from(MOST_PAGES))).ok())
}

pub(super) fn limits(resources: &oci::LinuxResources) -> Result<Limits> {
    // `devices` needs nothing: see `Mount::options`.
    if let Some(network) = resources.network() {
        let advice = "leave it out; shape traffic in the network namespace";
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            return Err(SpecError::unsupported("linux.resources.network.classID", class, advice));
        }
        if let Some(first) = network.priorities().iter().flatten().next() {
            return Err(SpecError::unsupported("linux.resources.network.priorities", first.name(), advice));
        }
    }
    if let Some(name) = resources.rdma().iter().flatten().map(|(name, _)| name).min() {
        let advice = "leave it out: a wasm guest cannot use RDMA devices";
        return Err(SpecError::unsupported("linux.resources.rdma", name, advice));
    }
    Ok(Limits {
        memory: resources.memory().as_ref().map(memory).transpose()?.unwrap_or_default(),
        cpu: resources.cpu().as_ref().map(cpu).transpose()?.unwrap_or_default(),
        pids: resources.pids().as_ref().map(pids).transpose()?.flatten(),
        hugepages: hugepages(resources)?,
        block_io: resources.block_io().as_ref().map(block_io).transpose()?.unwrap_or_default(),
        unified: unified(resources)?,
    })
}

fn memory(memory: &oci::LinuxMemory) -> Result<Memory> {
    let field = |name: &str| format!("linux.resources.memory.{name}");
    let bytes = |name: &str, value: Option<i64>| match value {
        Some(value) if value < -1 || value == 0 => {
            Err(SpecError::invalid(field(name), value, "it must be a number of bytes, or -1 for no limit"))
        }
        value => Ok(value),
    };
    #[allow(deprecated, reason = "it is only looked at to refuse it")]
    for (name, value) in [("kernel", memory.kernel()), ("kernelTCP", memory.kernel_tcp())] {
        if let Some(value) = value.filter(|value| *value > 0) {
            let advice = "the kernel has no such limit any more; memory.limit covers kernel memory too";
            return Err(SpecError::unsupported(field(name), value, advice));
        }
    }
    if memory.use_hierarchy() == Some(false) {
        let advice = "leave it out: the kernel always accounts by hierarchy";
        return Err(SpecError::unsupported(field("useHierarchy"), false, advice));
    }
    if let Some(value) = memory.swappiness().filter(|value| *value > 100) {
        return Err(SpecError::invalid(field("swappiness"), value, "it must be 0 to 100"));
    }
    let (limit, swap) = (bytes("limit", memory.limit())?, bytes("swap", memory.swap())?);
    if let Some(swap) = swap.filter(|swap| *swap != -1) {
        let why = "it counts memory and swap together, so it needs memory.limit and must not be below it";
        if limit.is_none_or(|limit| limit == -1 || swap < limit) {
            return Err(SpecError::invalid(field("swap"), swap, why));
        }
    }
    Ok(Memory {
        limit,
        reservation: bytes("reservation", memory.reservation())?,
        swap,
        swappiness: memory.swappiness(),
        disable_oom_killer: memory.disable_oom_killer(),
        check_before_update: memory.check_before_update().unwrap_or(false),
    })
}

fn cpu(cpu: &oci::LinuxCpu) -> Result<Cpu> {
    let field = |name: &str| format!("linux.resources.cpu.{name}");
    // Zero means "not given" to every caller of runc, in these three fields.
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if let Some(quota) = quota.filter(|quota| *quota != -1 && *quota < 1000) {
        return Err(SpecError::invalid(
            field("quota"),
            quota,
            "it must be 1000 microseconds or more, or -1 for no limit",
        ));
    }
    let period = cpu.period().filter(|period| *period != 0);
    if let Some(period) = period.filter(|period| !(1000..=1_000_000).contains(period)) {
        return Err(SpecError::invalid(field("period"), period, "it must be 1000 to 1000000 microseconds"));
    }
    if let Some(idle) = cpu.idle().filter(|idle| !matches!(idle, 0 | 1)) {
        return Err(SpecError::invalid(field("idle"), idle, "it must be 0 or 1"));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime < -1) {
        let why = "it must be a number of microseconds, or -1 for no limit";
        return Err(SpecError::invalid(field("realtimeRuntime"), runtime, why));
    }
    let list = |name: &str, list: &Option<String>| match list.as_deref() {
        None | Some("") => Ok(None),
        Some(text) if is_list(text) => Ok(Some(text.to_owned())),
        Some(text) => Err(SpecError::invalid(field(name), text, "it must be a list like 0-3,8")),
    };
    Ok(Cpu {
        // The kernel's own range on v1, which clamps silently.
        shares: cpu.shares().filter(|shares| *shares != 0).map(|shares| shares.clamp(2, 262_144)),
        quota,
        period,
        burst: cpu.burst(),
        realtime_runtime: cpu.realtime_runtime(),
        realtime_period: cpu.realtime_period(),
        idle: cpu.idle(),
        cpus: list("cpus", cpu.cpus())?,
        mems: list("mems", cpu.mems())?,
    })
}

/// Numbers and ranges, `cpuset(7)` list format.
fn is_list(text: &str) -> bool {
    text.trim().split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.trim().parse::<u32>(), last.trim().parse::<u32>()), (Ok(first), Ok(last)) if first <= last)
    })
}

/// As runc takes it: 0 means "not given".
fn pids(pids: &oci::LinuxPids) -> Result<Option<i64>> {
    match pids.limit() {
        0 => Ok(None),
        limit if limit < -1 => {
            let why = "it must be a number of processes, or -1 for no limit";
            Err(SpecError::invalid("linux.resources.pids.limit", limit, why))
        }
        limit => Ok(Some(limit)),
    }
}

fn hugepages(resources: &oci::LinuxResources) -> Result<Vec<(String, u64)>> {
    let mut limits = Vec::new();
    for (i, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let field = |name: &str| format!("linux.resources.hugepageLimits[{i}].{name}");
        let size = limit.page_size();
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
        if !number.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0)) {
            return Err(SpecError::invalid(field("pageSize"), size, "it must be like 2MB"));
        }
        let bytes = u64::try_from(limit.limit())
            .map_err(|_| SpecError::invalid(field("limit"), limit.limit(), "it must not be negative"))?;
        limits.push((size.clone(), bytes));
    }
    Ok(limits)
}

fn block_io(io: &oci::LinuxBlockIo) -> Result<BlockIo> {
    let field = |name: &str| format!("linux.resources.blockIO.{name}");
    let weight = |name: &str, weight: Option<u16>| match weight.filter(|weight| *weight != 0) {
        Some(weight) if !(10..=1000).contains(&weight) => {
            Err(SpecError::invalid(field(name), weight, "it must be 10 to 1000"))
        }
        weight => Ok(weight),
    };
    let mut weight_device = Vec::new();
    for (i, device) in io.weight_device().iter().flatten().enumerate() {
        if let Some(leaf) = device.leaf_weight().filter(|leaf| *leaf != 0) {
            let advice = "leave it out; give the device's weight";
            return Err(SpecError::unsupported(
                field(&format!("weightDevice[{i}].leafWeight")),
                leaf,
                advice,
            ));
        }
        if let Some(rate) = weight(&format!("weightDevice[{i}].weight"), device.weight())? {
            weight_device.push(DeviceRate {
                major: device.major(),
                minor: device.minor(),
                rate: rate.into(),
            });
        }
    }
    let rates = |rates: &Option<Vec<oci::LinuxThrottleDevice>>| -> Vec<DeviceRate> {
        let rate =
            |d: &oci::LinuxThrottleDevice| DeviceRate { major: d.major(), minor: d.minor(), rate: d.rate() };
        rates.iter().flatten().map(rate).collect()
    };
    Ok(BlockIo {
        weight: weight("weight", io.weight())?,
        leaf_weight: weight("leafWeight", io.leaf_weight())?,
        weight_device,
        read_bps: rates(io.throttle_read_bps_device()),
        write_bps: rates(io.throttle_write_bps_device()),
        read_iops: rates(io.throttle_read_iops_device()),
        write_iops: rates(io.throttle_write_iops_device()),
    })
}

/// In order of name: JSON objects have none.
fn unified(resources: &oci::LinuxResources) -> Result<Vec<(String, String)>> {
    let mut files: Vec<(String, String)> = Vec::new();
    for (name, value) in resources.unified().iter().flatten() {
        // A name of a file in the container's own cgroup directory, nothing else.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !name.bytes().all(plain) || !name.contains('.') || name.starts_with('.') {
            let field = format!("linux.resources.unified.{name}");
            return Err(SpecError::invalid(
                field,
                value,
                "the name must be that of a cgroup v2 file, like memory.high",
            ));
        }
        files.push((name.clone(), value.clone()));
    }
    files.sort_unstable();
    Ok(files)
}
