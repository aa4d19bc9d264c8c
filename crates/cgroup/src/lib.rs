//! Control groups v1 and v2: make, limit, freeze, kill, measure, watch for OOM.
//!
//! Everything here is a file in cgroupfs, written and read by the server. Calls are synchronous and may block
//! for as long as each says; the server makes them on blocking threads. Nothing here knows of containerd or
//! OCI types.
//!
//! ```no_run
//! use cgroup::{Cgroup, Host, Limits, Path};
//!
//! let host = Host::detect()?; // once per process
//! let cgroup = Cgroup::create(&host, &Path::parse("/default/c1")?, &Limits::default())?;
//! let entry = cgroup.entry()?; // handed to whatever forks the container's first process
//! cgroup.kill()?;
//! cgroup.remove()?;
//! # drop(entry);
//! # Ok::<(), cgroup::Error>(())
//! ```
//!
//! # Which hierarchies a container joins
//! v2 has one. Of v1's, those that hold a limit, a number that is read, or the freezer: freezer, memory, cpu,
//! cpuacct, cpuset, pids, blkio and, where mounted, hugetlb. Each costs a container 50 to 105 microseconds of
//! kernel time for its directory, the process's entry and the removal (Linux 6.18), 490 for the seven. So the
//! rest is left out:
//! - `devices`: a wasm guest has no way to open a device node, and its `/dev` is made by us;
//! - `net_cls`, `net_prio`, `perf_event`, `rdma`, `misc`: no limit or number of ours lives there;
//! - `name=systemd`: the container stays in the server's own unit, as the server itself does;
//! - a v2 tree beside v1 controllers (hybrid): `cgroup.kill` would add 75 microseconds to every container, and
//!   the freezer makes killing just as reliable.
#![cfg_attr(not(test), forbid(unsafe_code))]

mod apply;
mod controller;
mod cpuset;
mod delegate;
mod entry;
mod error;
mod file;
mod freeze;
mod group;
mod host;
mod kill;
mod limits;
mod oom;
mod path;
mod processes;
mod quick_moves;
mod remove;
mod stats;
mod systemd;
#[cfg(test)]
mod testbed;
mod wait;

pub use controller::{Controller, Controllers};
pub use entry::Entry;
pub use error::{Error, Result};
pub use group::{Cgroup, Planned};
pub use host::{Host, Version};
pub use limits::{BlockIo, Cpu, DeviceRate, Limits, Memory};
pub use oom::OomWatcher;
pub use path::Path;
pub use quick_moves::QuickMoves;
pub use stats::{
    BlockIoV1, CpuV1, FlatKeyed, Hugetlb, IoDevice, IoV1, IoV2, MemoryCounter, MemoryV1, MemoryV2,
    OomControl, Pids, Pressure, PressureAverages, Stats, StatsV1, StatsV2, Throttling,
};
pub use systemd::Unit;
