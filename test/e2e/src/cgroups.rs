//! A cgroup for one bed, in every hierarchy the host has, below which all its containers live.

use std::fs;
use std::path::{Path, PathBuf};

use crate::wait_for;

/// The bed's cgroup. Removed by `test/bed/end.sh`.
#[derive(Debug)]
pub struct Cgroups {
    name: String,
    roots: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes it.
    pub fn new(name: &str) -> Cgroups {
        let cgroups = Cgroups { name: name.to_owned(), roots: hierarchies() };
        cgroups.add("");
        cgroups
    }

    /// Makes a cgroup below it and returns its path as a spec names it. Empty: the bed's own.
    pub fn add(&self, child: &str) -> String {
        for root in &self.roots {
            let parent = root.join(&self.name);
            for directory in [&parent, &parent.join(child)] {
                fs::create_dir_all(directory).expect("make a cgroup");
                inherit_cpuset(directory);
                delegate(directory);
            }
        }
        format!("/{}/{child}", self.name).trim_end_matches('/').to_owned()
    }

    /// Directories of all cgroups below the child, deepest first.
    pub fn below(&self, child: &str) -> Vec<PathBuf> {
        fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    collect(&entry.path(), into);
                    into.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        self.roots.iter().for_each(|root| collect(&root.join(&self.name).join(child), &mut found));
        found
    }

    /// Directories of the child itself, one per hierarchy, as far as they exist.
    pub fn directories(&self, child: &str) -> Vec<PathBuf> {
        let directories = self.roots.iter().map(|root| root.join(&self.name).join(child));
        directories.filter(|directory| directory.is_dir()).collect()
    }

    /// Takes the child away from under its processes, which go to the other child.
    pub fn remove_behind_its_back(&self, child: &str, to: &str) {
        self.add(to);
        for directory in self.directories(child) {
            let other =
                directory.ancestors().nth(child.split('/').count()).expect("a child is below").join(to);
            let processes = fs::read_to_string(directory.join("cgroup.procs")).expect("read cgroup.procs");
            for process in processes.lines() {
                fs::write(other.join("cgroup.procs"), process).expect("move a process");
            }
            wait_for("a cgroup to be removed", || fs::remove_dir(&directory).ok());
        }
    }

    /// Limits the number of processes and threads in the child: a number, or `max`.
    pub fn limit_processes(&self, child: &str, most: &str) {
        let (path, _) = self.file(child, "pids.max", "pids.max");
        fs::write(&path, most).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
    }

    /// Puts a process with its threads under that limit.
    pub fn put(&self, child: &str, pid: i32) {
        let (path, _) = self.file(child, "pids.max", "pids.max");
        fs::write(path.with_file_name("cgroup.procs"), pid.to_string()).expect("move a process");
    }

    /// Processes in the cgroups below the child.
    pub fn processes(&self, child: &str) -> Vec<i32> {
        let mut found: Vec<i32> = Vec::new();
        for directory in self.below(child) {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Limits the memory of everything below the child, in bytes.
    pub fn limit_memory(&self, child: &str, bytes: u64) {
        let (path, v2) = self.file(child, "memory.limit_in_bytes", "memory.max");
        fs::write(&path, bytes.to_string()).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        assert!(v2 || path.exists());
    }

    /// The memory limit of a container's cgroup in bytes, if it has one.
    pub fn memory_limit(&self, child: &str) -> Option<u64> {
        let (path, _) = self.file(child, "memory.limit_in_bytes", "memory.max");
        fs::read_to_string(path).ok()?.trim().parse().ok().filter(|bytes| *bytes < 1 << 50)
    }

    /// Memory in use by the child's cgroup, in bytes.
    pub fn memory_used(&self, child: &str) -> Option<u64> {
        let (path, _) = self.file(child, "memory.usage_in_bytes", "memory.current");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// How many of the child's processes the kernel has killed for want of memory.
    pub fn oom_kills(&self, child: &str) -> usize {
        let (path, _) = self.file(child, "memory.oom_control", "memory.events");
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|kills| kills.parse().ok()).unwrap_or_else(|| panic!("{}: {text}", path.display()))
    }

    fn file(&self, child: &str, v1: &str, v2: &str) -> (PathBuf, bool) {
        let directories = || self.roots.iter().map(|root| root.join(&self.name).join(child));
        let find =
            |name: &str| directories().map(|directory| directory.join(name)).find(|path| path.exists());
        match find(v1) {
            Some(path) => (path, false),
            None => (find(v2).expect("the host has a memory controller"), true),
        }
    }
}

/// Mount points of all cgroup hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup").then(|| before.split(' ').nth(4).map(PathBuf::from))?
        })
        .collect();
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "this host has no cgroups mounted");
    found
}

/// v1: a cpuset takes no process until it has processors and memory nodes.
fn inherit_cpuset(directory: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let (own, parent) = (directory.join(file), directory.join("..").join(file));
        let Ok(text) = fs::read_to_string(&own) else { continue };
        if text.trim().is_empty()
            && let Ok(inherited) = fs::read_to_string(parent)
        {
            fs::write(own, inherited.trim()).expect("fill a cpuset");
        }
    }
}

/// v2: passes all controllers on.
fn delegate(directory: &Path) {
    let available = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}
