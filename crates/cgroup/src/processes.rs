//! Which processes are in a cgroup.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::{Cgroup, Error, Result, file};

impl Cgroup {
    /// Process ids of everything in this cgroup and those below it, as the server sees them. Processes of a
    /// pid namespace it does not see are left out. Empty if the cgroup does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn pids(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(directory) = self.first() {
            collect(directory, &mut pids)?;
        }
        Ok(pids)
    }

    /// Whether no process is in it or below it. Also true if it does not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_empty(&self) -> Result<bool> {
        match self.first() {
            Some(directory) => Ok(first_below(directory)?.is_none()),
            None => Ok(true),
        }
    }
}

/// Any process in a directory or below it.
pub(crate) fn first_below(directory: &Path) -> Result<Option<i32>> {
    let mut pids = Vec::new();
    collect(directory, &mut pids)?;
    Ok(pids.first().copied())
}

/// Adds the processes in a directory and below it.
pub(crate) fn collect(directory: &Path, pids: &mut Vec<i32>) -> Result<()> {
    let path = directory.join("cgroup.procs");
    match file::read(&path) {
        // 0 is a process outside our pid namespace.
        Ok(text) => {
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0))
        }
        Err(e) if file::is_gone(&e) => return Ok(()),
        // v2's threaded groups have no such list; their processes are in that of the domain above.
        Err(e) if e.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
        Err(e) => return Err(Error::io("read", path, e)),
    }
    for child in children(directory)? {
        collect(&child, pids)?;
    }
    Ok(())
}

/// The cgroups directly below a directory.
pub(crate) fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if file::is_gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list cgroup", directory, e)),
    };
    let entries = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(entries.map(|entry| entry.path()).collect())
}
