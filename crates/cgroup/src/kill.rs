//! Ending all processes of a cgroup.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::{Cgroup, Controller, Error, Result, Version, file, freeze, wait};

/// How long killed processes may take to be gone. One that is writing to a slow disk, or gives back many
/// gigabytes, takes its time.
const LIMIT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Kills every process in the cgroup and below it, and waits until none runs, ten seconds at most. They
    /// may still be zombies then: reaping is their parent's. A cgroup that is empty or does not exist is
    /// fine.
    ///
    /// # Errors
    /// [`Error::Survived`], [`Error::Own`], [`Error::Io`].
    pub fn kill(&self) -> Result<()> {
        let Some(first) = self.first() else { return Ok(()) };
        let pids = self.pids()?;
        if pids.is_empty() {
            return Ok(());
        }
        // A wrong record must not make the server freeze itself: it could never thaw.
        if pids.contains(&std::process::id().cast_signed()) {
            return Err(Error::Own(first.to_owned()));
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
        Err(Error::Survived {
            directory: first.to_owned(),
            pids: self.pids()?,
            milliseconds: LIMIT.as_millis(),
        })
    }

    /// While frozen, no process forks and none ends, so no id read here can belong to another process by the
    /// time it is signalled; the signals take effect on thawing. Again until nobody is left: for what could
    /// not be frozen.
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
                Err(gone) if gone.is_gone() => Some(Ok(())),
                Err(e) => Some(Err(e)),
                Ok(()) if pids.is_empty() => Some(Ok(())),
                Ok(()) => wait::until(Duration::from_millis(50), || {
                    self.is_empty().is_ok_and(|empty| empty).then_some(Ok(()))
                }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::{Bed, Child};
    use crate::{Limits, Path};

    /// Work for a child: forks as fast as it can, and so do its children.
    fn fork_for_ever() {
        loop {
            // SAFETY: parent and child both go on here, with system calls only.
            unsafe { libc::fork() };
        }
    }

    fn nothing_is_left(cgroup: &Cgroup, mut child: Child) {
        wait::until(Duration::from_secs(10), || (cgroup.pids().unwrap().len() > 1).then_some(()))
            .expect("a fork");
        cgroup.kill().unwrap();
        assert_eq!(cgroup.pids().unwrap(), []);
        assert_eq!(child.wait_signal(), Some(libc::SIGKILL));
        cgroup.kill().unwrap();
    }

    #[test]
    fn nothing_survives_a_kill_however_fast_it_forks() {
        let bed = Bed::new();
        let cgroup = bed.create("c", &Limits { pids: Some(50), ..Limits::default() });
        nothing_is_left(&cgroup, Child::enter(&cgroup, fork_for_ever));
        cgroup.remove().unwrap();
        cgroup.kill().unwrap();
    }

    #[test]
    fn nothing_survives_a_kill_on_the_v2_tree() {
        let Some(unified) = Bed::unified() else { return };
        // That tree may have no pids controller: the number of forks is bounded by this host's own cgroup.
        let bed = Bed::new();
        let bounds = bed.create("c", &Limits { pids: Some(50), ..Limits::default() });
        let cgroup = unified.create("c", &Limits::default());
        let procs = file::open_for_write(&cgroup.first().unwrap().join("cgroup.procs")).unwrap();
        let child = Child::enter(&bounds, || {
            let _ = rustix::io::write(&procs, b"0");
            fork_for_ever();
        });
        nothing_is_left(&cgroup, child);
        cgroup.remove().unwrap();
        bounds.remove().unwrap();
    }

    #[test]
    fn processes_below_are_killed_too() {
        for bed in [Some(Bed::new()), Bed::unified()].into_iter().flatten() {
            let outer = bed.create("outer", &Limits::default());
            let inner = bed.create("outer/inner", &Limits::default());
            let mut child = Child::enter(&inner, crate::testbed::sleep);
            outer.kill().unwrap();
            assert_eq!(child.wait_signal(), Some(libc::SIGKILL));
            outer.remove().unwrap();
        }
    }

    #[test]
    fn the_callers_own_cgroup_is_refused() {
        let tree = crate::testbed::Tree::new(&[("c/cgroup.procs", &format!("{}\n", std::process::id()))]);
        let cgroup = Cgroup::open(&tree.host(), &Path::parse("/c").unwrap()).unwrap();
        assert!(matches!(cgroup.kill(), Err(Error::Own(_))));
    }
}
