//! The cgroups of one bed, in every hierarchy of the host: `stack` for containerd and whatever it starts,
//! `containers` for the containers, `sandboxes` for what holds a pod's namespaces. So every process can be found, accounted for and ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Child of a bed's cgroup that holds containerd, shims, servers.
pub const STACK: &str = "stack";
/// Child of a bed's cgroup that holds the containers'.
pub const CONTAINERS: &str = "containers";
/// Child of a bed's cgroup that holds those of pause containers, or what is there in their place.
pub const SANDBOXES: &str = "sandboxes";

/// A bed's cgroups.
#[derive(Debug)]
pub struct Cgroups {
    name: String,
    roots: Vec<PathBuf>,
}

/// Charges of a memory cgroup and all below it, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Charged {
    /// All of it.
    pub total: u64,
    /// Of which the kernel's own: slab, stacks, page tables, per-CPU data.
    pub kernel: u64,
    /// Of which files in memory: tmpfs, memfd. Our templates are among them.
    pub shared: u64,
}

impl Cgroups {
    /// Makes them.
    pub fn make(name: &str) -> Result<Cgroups> {
        let cgroups = Cgroups { name: name.to_owned(), roots: hierarchies()? };
        for root in &cgroups.roots {
            for directory in ["", STACK, CONTAINERS, SANDBOXES] {
                let directory = root.join(name).join(directory);
                fs::create_dir_all(&directory)
                    .with_context(|| format!("make the cgroup {}", directory.display()))?;
                prepare(&directory)?;
            }
        }
        Ok(cgroups)
    }

    /// `child`, as the parent in a `cgroupsPath`.
    pub fn path_of(&self, child: &str) -> String {
        format!("/{}/{child}", self.name)
    }

    /// The `cgroup.procs` files by which a process enters `child`.
    pub fn procs(&self, child: &str) -> Vec<PathBuf> {
        self.roots.iter().map(|root| root.join(&self.name).join(child).join("cgroup.procs")).collect()
    }

    /// Processes in `child` and below it.
    pub fn processes(&self, child: &str) -> Vec<i32> {
        let mut found = Vec::new();
        for root in &self.roots {
            for directory in tree(&root.join(&self.name).join(child)) {
                let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Cgroups below `child`.
    pub fn children(&self, child: &str) -> Vec<PathBuf> {
        let below = |root: &PathBuf| {
            let directory = root.join(&self.name).join(child);
            tree(&directory).into_iter().filter(|found| *found != directory).collect::<Vec<_>>()
        };
        self.roots.iter().flat_map(below).collect()
    }

    /// What `child` and all below it are charged with.
    pub fn charged(&self, child: &str) -> Result<Charged> {
        let stat = self.read(child, "memory.stat").context("the host has no memory controller")?;
        let of = |name: &str| field(&stat, name).with_context(|| format!("memory.stat has no {name} line"));
        let number = |file| Ok::<u64, anyhow::Error>(self.read(child, file)?.trim().parse()?);
        if let Ok(total) = number("memory.usage_in_bytes") {
            let kernel = number("memory.kmem.usage_in_bytes")?;
            return Ok(Charged { total, kernel, shared: of("total_shmem")? });
        }
        Ok(Charged { total: number("memory.current")?, kernel: of("kernel")?, shared: of("shmem")? })
    }

    /// Processor time that everything in the bed took since it was made.
    pub fn cpu(&self) -> Result<Duration> {
        if let Ok(nanoseconds) = self.read("", "cpuacct.usage") {
            return Ok(Duration::from_nanos(nanoseconds.trim().parse()?));
        }
        let microseconds =
            field(&self.read("", "cpu.stat")?, "usage_usec").context("cpu.stat has no usage_usec")?;
        Ok(Duration::from_micros(microseconds))
    }

    /// Removes them; fails while they hold a process.
    pub fn remove(&self) -> io::Result<()> {
        for root in &self.roots {
            for directory in tree(&root.join(&self.name)) {
                match fs::remove_dir(&directory) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn read(&self, child: &str, file: &str) -> io::Result<String> {
        let files = self.roots.iter().map(|root| root.join(&self.name).join(child).join(file));
        match files.into_iter().find(|path| path.exists()) {
            Some(path) => fs::read_to_string(path),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Mount points of all cgroup hierarchies.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let is_cgroup = |line: &str| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("cgroup"));
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter(|line| is_cgroup(line))
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        bail!("no cgroup hierarchy is mounted");
    }
    Ok(found)
}

/// A cpuset of v1 takes no process until it is filled; v2 passes no controller on unless told to.
fn prepare(directory: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(file);
        if fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty())
            && let Ok(inherited) = fs::read_to_string(directory.join("..").join(file))
        {
            fs::write(&own, inherited.trim()).with_context(|| format!("fill {}", own.display()))?;
        }
    }
    if !directory.ends_with(STACK) {
        let controllers = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
        for controller in controllers.split_whitespace() {
            // Some controllers cannot be passed on everywhere; those that matter are asked for by name later.
            let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

/// A directory and all below it, deepest first.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found.push(directory.to_owned());
    found
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
