//! What a container may use, in the kernel's units and independent of the cgroup version.

/// Resource limits of one container. `None` leaves the kernel's default (on update: the present value) alone.
///
/// Names and units are those of the OCI runtime specification's `linux.resources`, which are cgroup v1's;
/// on v2 they are converted as the specification's cgroup v2 section says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Memory,
    /// Processor time and placement.
    pub cpu: Cpu,
    /// Largest number of processes and threads; -1 for no limit.
    pub pids: Option<i64>,
    /// Huge page limits: page size as the kernel names it (`2MB`) and bytes.
    pub hugepages: Vec<(String, u64)>,
    /// Block I/O weights and throttles.
    pub block_io: BlockIo,
    /// v2 files and the text to write into each (`linux.resources.unified`), applied last, in order.
    pub unified: Vec<(String, String)>,
}

/// Memory limits in bytes; -1 means unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Hard limit: v1 `memory.limit_in_bytes`, v2 `memory.max`.
    pub limit: Option<i64>,
    /// Soft limit: v1 `memory.soft_limit_in_bytes`, v2 `memory.low`.
    pub reservation: Option<i64>,
    /// Memory **plus** swap, as v1's `memory.memsw.limit_in_bytes`; on v2 `memory.swap.max` gets the difference.
    pub swap: Option<i64>,
    /// v1 `memory.swappiness`, 0 to 100; v2 has none.
    pub swappiness: Option<u64>,
    /// v1 `memory.oom_control`: true stops the kernel from killing; refused on v2.
    pub disable_oom_killer: Option<bool>,
    /// Refuse a limit below present use instead of letting the kernel kill (`checkBeforeUpdate`).
    pub check_before_update: bool,
}

/// Processor limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Relative weight, v1 `cpu.shares` (2 to 262144); v2 `cpu.weight`.
    pub shares: Option<u64>,
    /// Microseconds of processor time per period; -1 for no limit.
    pub quota: Option<i64>,
    /// Length of a period in microseconds.
    pub period: Option<u64>,
    /// Microseconds that may be saved up beyond the quota.
    pub burst: Option<u64>,
    /// v1 `cpu.rt_runtime_us`.
    pub realtime_runtime: Option<i64>,
    /// v1 `cpu.rt_period_us`.
    pub realtime_period: Option<u64>,
    /// 1 puts the group into the idle class (`cpu.idle`).
    pub idle: Option<i64>,
    /// Processors, as a list (`0-3,8`).
    pub cpus: Option<String>,
    /// Memory nodes, as a list.
    pub mems: Option<String>,
}

/// Block I/O limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Weight of tasks inside the group against its children (v1 only).
    pub leaf_weight: Option<u16>,
    /// Weight per device.
    pub weight_device: Vec<DeviceRate>,
    /// Bytes read per second and device.
    pub read_bps: Vec<DeviceRate>,
    /// Bytes written per second and device.
    pub write_bps: Vec<DeviceRate>,
    /// Reads per second and device.
    pub read_iops: Vec<DeviceRate>,
    /// Writes per second and device.
    pub write_iops: Vec<DeviceRate>,
}

/// One number for one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRate {
    /// Device number, major part.
    pub major: i64,
    /// Device number, minor part.
    pub minor: i64,
    /// The rate or weight.
    pub rate: u64,
}
