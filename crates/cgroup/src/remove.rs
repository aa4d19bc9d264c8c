//! Removing a cgroup.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::{Cgroup, Error, Result, processes, wait};

/// How long a directory may stay busy after its last process was seen ending.
const LIMIT: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Removes its directories and those below them, in every hierarchy; not those above, which other containers may be
    /// about to use. What does not exist is fine. A busy one is tried again for two seconds; the others are removed
    /// nevertheless.
    ///
    /// # Errors
    /// [`Error::Busy`] with the processes that are in the way, [`Error::Io`]: of the first directory that failed.
    pub fn remove(&self) -> Result<()> {
        let failures: Vec<Error> = self.directories().filter_map(|directory| remove(directory).err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }
}

fn remove(directory: &Path) -> Result<()> {
    let busy = || {
        let mut pids = Vec::new();
        processes::collect(directory, &mut pids)?;
        Err(Error::Busy { directory: directory.to_owned(), pids })
    };
    wait::until(LIMIT, || match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Some(Ok(())),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {
            // Only now is it worth looking: nearly no container has cgroups of its own.
            let children = processes::children(directory).unwrap_or_default();
            children.iter().try_for_each(|child| remove(child)).err().map(Err)
        }
        Err(errno) => Some(Err(Error::io("remove cgroup", directory, errno))),
    })
    .unwrap_or_else(busy)
}
