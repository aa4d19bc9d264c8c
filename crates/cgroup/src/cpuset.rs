//! v1 cpusets begin empty, and nothing can run in an empty one.

use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::{Cgroup, Cpu, Error, Result, file, processes};

/// Makes a cgroup's cpuset if that was put off ([`Cgroup::plan_lean`]), like the one above, and moves its processes there.
///
/// A process that enters the cgroup at this very moment may have opened its way into the one above: it stays there.
pub(crate) fn make_deferred(cgroup: &Cgroup) -> Result<()> {
    let Some(directory) = cgroup.deferred_cpuset() else { return Ok(()) };
    match rustix::fs::mkdir(&directory.path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::io("make cgroup", &directory.path, errno)),
    }
    inherit(directory.root(), &directory.path, &Cpu::default())?;
    let procs = directory.path.join("cgroup.procs");
    // More than once only while processes are added.
    for _ in 0..8 {
        let mut there = Vec::new();
        processes::collect(&directory.path, &mut there)?;
        let elsewhere: Vec<i32> = cgroup.pids()?.into_iter().filter(|pid| !there.contains(pid)).collect();
        if elsewhere.is_empty() {
            break;
        }
        for pid in elsewhere {
            match file::write(&procs, &pid.to_string()) {
                // In the second case it has ended.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::io("write", &procs, errno)),
            }
        }
    }
    Ok(())
}

/// Fills processors and memory nodes of a directory, and of those above it, from the next one above that has
/// some. What is about to be limited anyway is filled above only.
pub(crate) fn inherit(root: &Path, directory: &Path, limits: &Cpu) -> Result<()> {
    for (name, limited) in [("cpuset.cpus", limits.cpus.is_some()), ("cpuset.mems", limits.mems.is_some())] {
        match directory.parent() {
            Some(parent) if limited => drop(value_of(root, parent, name)?),
            _ => drop(value_of(root, directory, name)?),
        }
    }
    Ok(())
}

fn value_of(root: &Path, directory: &Path, name: &'static str) -> Result<String> {
    let path = directory.join(name);
    let present = file::read(&path).map_err(|e| Error::io("read", &path, e))?;
    if !present.trim().is_empty() || directory == root {
        return Ok(present);
    }
    let Some(parent) = directory.parent() else { return Ok(present) };
    let inherited = value_of(root, parent, name)?;
    file::write(&path, inherited.trim()).map_err(|e| Error::io("write", &path, e))?;
    Ok(inherited)
}
