//! Memory of the host, of the stack's processes by what they are for, and of its cgroups. All in bytes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::cgroups::{CONTAINERS, Charged, SANDBOXES, STACK};

/// What a process of the stack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// containerd itself.
    Containerd,
    /// Shims; for us the one server.
    Shims,
    /// Our zygote, with its templates.
    Zygote,
    /// Pause containers, or what is there in their place.
    Sandboxes,
    /// Processes in the containers' cgroups.
    Guests,
}

/// Memory of the processes of one role.
#[derive(Debug, Clone, Copy, Default)]
pub struct Use {
    /// How many there are.
    pub processes: u64,
    /// Proportional set size: a page that n processes map counts 1/n for each.
    pub pss: u64,
    /// Pages that are no file's: heap and stacks. What is shared with a parent counts for both.
    pub anonymous: u64,
}

/// /proc/meminfo.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host {
    /// `MemAvailable`.
    pub available: u64,
    /// `MemFree`.
    pub free: u64,
    /// `Slab`, `KernelStack`, `PageTables` and `Percpu` together.
    pub kernel: u64,
}

/// All of it at one time.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The host.
    pub host: Host,
    /// The processes.
    pub roles: BTreeMap<Role, Use>,
    /// PSS of all processes that are none of the stack's: what else moves on this machine.
    pub others: u64,
    /// Charged to the containers' cgroups.
    pub containers: Charged,
    /// Charged to the sandboxes' cgroups.
    pub sandboxes: Charged,
    /// Charged to the cgroup of containerd and the shims.
    pub stack: Charged,
}

impl Sample {
    /// Takes it when caches have been dropped and what was freed has arrived.
    pub async fn settled(bed: &Bed) -> Result<Sample> {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(700)).await;
            rustix::fs::sync();
            fs::write("/proc/sys/vm/drop_caches", "3").context("drop the host's caches")?;
        }
        // Slabs are freed after a grace period of RCU.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Sample::take(bed)
    }

    /// Takes it now.
    pub fn take(bed: &Bed) -> Result<Sample> {
        // First what reading the rest could disturb.
        let host = Host::read()?;
        let charged = |child| bed.cgroups.charged(child);
        let (containers, sandboxes, stack) = (charged(CONTAINERS)?, charged(SANDBOXES)?, charged(STACK)?);
        let mut roles: BTreeMap<Role, Use> = BTreeMap::new();
        let processes = processes(bed);
        let is_ours = |pid: &i32| processes.iter().any(|(_, ours)| ours == pid);
        let others =
            everyone().filter(|pid| !is_ours(pid)).filter_map(rollup).filter_map(|r| field(&r, "Pss")).sum();
        for (role, pid) in processes {
            // It may have ended by now.
            let Some(rollup) = rollup(pid) else { continue };
            let kilobytes = |name| field(&rollup, name).unwrap_or_default();
            let sum = roles.entry(role).or_default();
            sum.processes += 1;
            sum.pss += kilobytes("Pss");
            sum.anonymous += kilobytes("Anonymous");
        }
        Ok(Sample { host, roles, others, containers, sandboxes, stack })
    }

    /// Memory of one role.
    pub fn of(&self, role: Role) -> Use {
        self.roles.get(&role).copied().unwrap_or_default()
    }

    /// As JSON, in bytes.
    pub fn json(&self) -> Value {
        let roles = self.roles.iter().map(|(role, sum)| {
            let name = format!("{role:?}").to_lowercase();
            (name, json!({ "processes": sum.processes, "pss": sum.pss, "anonymous": sum.anonymous }))
        });
        let charged = |charged: Charged| json!({ "total": charged.total, "kernel": charged.kernel, "shared": charged.shared });
        json!({
            "mem_available": self.host.available, "mem_free": self.host.free, "kernel": self.host.kernel,
            "other_processes": self.others,
            "processes": roles.collect::<serde_json::Map<_, _>>(),
            "cgroup_containers": charged(self.containers), "cgroup_sandboxes": charged(self.sandboxes),
            "cgroup_stack": charged(self.stack),
        })
    }
}

/// The stack's processes.
pub fn processes(bed: &Bed) -> Vec<(Role, i32)> {
    let (guests, sandboxes) = (bed.cgroups.processes(CONTAINERS), bed.cgroups.processes(SANDBOXES));
    // v1: a container need not have a cgroup in each hierarchy; where it has none, its processes stay in `stack`.
    let elsewhere = |pid: &i32| guests.contains(pid) || sandboxes.contains(pid);
    let stack = bed.cgroups.processes(STACK).into_iter().filter(|pid| !elsewhere(pid));
    let stack: Vec<(Role, i32)> = stack
        .map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let role = match name.trim() {
                _ if pid == bed.containerd() => Role::Containerd,
                "wamr-zygote" => Role::Zygote,
                _ => Role::Shims,
            };
            (role, pid)
        })
        .collect();
    let all = stack.into_iter().chain(sandboxes.into_iter().map(|pid| (Role::Sandboxes, pid)));
    all.chain(guests.into_iter().map(|pid| (Role::Guests, pid))).collect()
}

/// Ids of all processes.
fn everyone() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// None for a process that ended.
fn rollup(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()
}

impl Host {
    fn read() -> Result<Host> {
        let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
        let get = |name| field(&text, name).with_context(|| format!("/proc/meminfo has no {name}"));
        let mut kernel = 0;
        for part in ["Slab", "KernelStack", "PageTables", "Percpu"] {
            kernel += get(part)?;
        }
        Ok(Host { available: get("MemAvailable")?, free: get("MemFree")?, kernel })
    }
}

/// `Name:   123 kB` in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
