//! Removing a cgroup.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::{Cgroup, Error, Host, Result, processes, wait};

/// How long directories may stay busy after the last process was seen ending.
const LIMIT: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Removes its directories and those below them, in every hierarchy; not those above, which other
    /// containers may be about to use. What does not exist is fine. Busy ones are tried again, for two
    /// seconds in all; the others are removed nevertheless. A unit of systemd is stopped first, which ends what
    /// still runs in it.
    ///
    /// # Errors
    /// The first of: [`Error::Unit`], [`Error::Busy`] with the processes in the way, [`Error::Io`].
    pub fn remove(&self) -> Result<()> {
        let stopped = self.stop_unit();
        let deadline = Instant::now() + LIMIT;
        let failures: Vec<Error> =
            self.directories().filter_map(|directory| remove(directory, deadline).err()).collect();
        stopped.and(failures.into_iter().next().map_or(Ok(()), Err))
    }
}

impl Host {
    /// Removes those cgroups directly below a path whose names are `left`, in every hierarchy a container joins, unless a
    /// process is in one or it has a cgroup below: what a maker that died could not remove itself.
    pub fn sweep(&self, above: &crate::Path, left: impl Fn(&str) -> bool) {
        let above = above.relative();
        for hierarchy in self.joined() {
            // Whatever cannot be listed or removed now is there the next time.
            for directory in processes::children(&hierarchy.root.join(&above)).unwrap_or_default() {
                if directory.file_name().is_some_and(|name| left(&name.to_string_lossy())) {
                    let _ = rustix::fs::rmdir(&directory);
                }
            }
        }
    }
}

fn remove(directory: &Path, deadline: Instant) -> Result<()> {
    let busy = || {
        let mut pids = Vec::new();
        processes::collect(directory, &mut pids)?;
        Err(Error::Busy { directory: directory.to_owned(), pids })
    };
    let left = deadline.saturating_duration_since(Instant::now());
    wait::until(left, || match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Some(Ok(())),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {
            // Only now is it worth looking: nearly no container has cgroups of its own.
            let children = processes::children(directory).unwrap_or_default();
            children.iter().try_for_each(|child| remove(child, deadline)).err().map(Err)
        }
        Err(errno) => Some(Err(Error::io("remove cgroup", directory, errno))),
    })
    .unwrap_or_else(busy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::testbed::{Bed, Child, sleep};

    #[test]
    fn groups_below_are_removed_with_it() {
        for bed in [Some(Bed::new()), Bed::unified()].into_iter().flatten() {
            let cgroup = bed.create("c", &Limits::default());
            bed.create("c/a/b", &Limits::default());
            bed.create("c/d", &Limits::default());
            cgroup.remove().unwrap();
            assert!(cgroup.directories().all(|directory| !directory.exists()));
        }
    }

    #[test]
    fn a_sweep_takes_what_is_left_and_empty_and_nothing_else() {
        for bed in [Some(Bed::new()), Bed::unified()].into_iter().flatten() {
            let [left, busy, others] = ["a/left-1", "a/left-2", "a/other"].map(|path| {
                let cgroup = bed.create(path, &Limits::default());
                assert!(cgroup.directories().all(Path::exists));
                cgroup
            });
            let child = Child::enter(&busy, sleep);
            bed.host.sweep(&bed.path("a"), |name| name.starts_with("left-"));
            assert!(left.directories().all(|directory| !directory.exists()));
            assert!(busy.directories().chain(others.directories()).all(Path::exists));
            drop(child);
            bed.host.sweep(&bed.path("a"), |name| name.starts_with("left-"));
            assert!(busy.directories().all(|directory| !directory.exists()));
            bed.host.sweep(&bed.path("nothing/here"), |_| true);
        }
    }

    #[test]
    fn a_busy_one_is_waited_for_and_then_reported_with_its_processes() {
        let bed = Bed::new();
        let cgroup = bed.create("c", &Limits::default());
        let child = Child::enter(&cgroup, sleep);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let error = cgroup.remove().unwrap_err();
                assert!(matches!(&error, Error::Busy { pids, .. } if *pids == [child.pid]), "{error}");
            });
        });
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(child);
        });
        cgroup.remove().unwrap();
        ending.join().unwrap();
    }
}
