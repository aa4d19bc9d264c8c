//! Ending all processes of a cgroup.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::{Cgroup, Controller, Error, Result, Version, file, freeze, processes, wait};

/// How long killed processes may take to be gone. One that is writing to a slow disk, or gives back many gigabytes,
/// takes its time.
const LIMIT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Kills every process in the cgroup and below it, and waits until none runs, ten seconds at most. They may still
    /// be zombies then: reaping is their parent's. A cgroup that is empty or does not exist is fine.
    ///
    /// # Errors
    /// [`Error::Survived`], [`Error::Io`].
    pub fn kill(&self) -> Result<()> {
        let Some(first) = self.first() else { return Ok(()) };
        if processes::first_below(first)?.is_none() {
            return Ok(());
        }
        let empty = match self.version() {
            // Atomic against forks, below included. Linux 5.14.
            Version::V2 if file::write(&first.join("cgroup.kill"), "1").is_ok() => {
                freeze::wait_for_event(first, "populated", 0, LIMIT)?
            }
            _ => self.kill_each()?,
        };
        if empty {
            return Ok(());
        }
        Err(Error::Survived { directory: first.to_owned(), pids: self.pids()?, milliseconds: LIMIT.as_millis() })
    }

    /// While frozen, no process forks and none ends, so no id read here can belong to another process by the time it
    /// is signalled; the signals take effect on thawing. Again until nobody is left: for what could not be frozen.
    fn kill_each(&self) -> Result<bool> {
        let emptied = wait::until(LIMIT, || {
            let mut pids = match self.freeze_for_a_moment() {
                Ok(pids) => pids,
                Err(e) => return Some(Err(e)),
            };
            pids.retain(|pid| signal(*pid));
            let thawed = if self.directory(Controller::Freezer).is_some() { self.thaw() } else { Ok(()) };
            match thawed {
                // Removed meanwhile, hence empty.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Some(Ok(())),
                Err(e) => Some(Err(e)),
                Ok(()) if pids.is_empty() => Some(Ok(())),
                Ok(()) => wait::until(Duration::from_millis(50), || self.is_empty().is_ok_and(|empty| empty).then_some(Ok(()))),
            }
        });
        emptied.transpose().map(|emptied| emptied.is_some())
    }

    /// Freezes if that is possible, and gives the processes.
    fn freeze_for_a_moment(&self) -> Result<Vec<i32>> {
        if self.directory(Controller::Freezer).is_some()
            && let Err(e) = self.freeze()
        {
            log::debug!("killing without freezing: {e}");
        }
        self.pids()
    }
}

/// False if the process does not exist any more.
fn signal(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL) != Err(Errno::SRCH))
}
