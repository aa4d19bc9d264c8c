//! Stopping and resuming all processes of a cgroup.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{Cgroup, Controller, Error, Result, Version, file, wait};

/// How long a process may take to stop: it has to leave whatever system call it is in.
const LIMIT: Duration = Duration::from_secs(2);

impl Cgroup {
    /// Stops all processes, and those they fork meanwhile. Waits until all have stopped, two seconds at most;
    /// then lets them go again and fails. Does nothing if they are stopped already.
    ///
    /// # Errors
    /// [`Error::Freeze`], [`Error::Without`] on v1 without a freezer, [`Error::Io`].
    pub fn freeze(&self) -> Result<()> {
        let directory = self.freezer("freeze")?;
        let frozen = match self.version() {
            Version::V1 => {
                let state = directory.join("freezer.state");
                write(&state, "FROZEN")?;
                wait::until(LIMIT, || {
                    // FREEZING until the last has stopped. Reading the state is what moves it on.
                    let text = file::read(&state).unwrap_or_default();
                    (text.trim() == "FROZEN").then_some(())
                })
                .is_some()
            }
            Version::V2 => {
                write(&directory.join("cgroup.freeze"), "1")?;
                wait_for_event(directory, "frozen", 1, LIMIT)?
            }
        };
        if frozen {
            return Ok(());
        }
        let stuck = Error::Freeze { directory: directory.to_owned(), milliseconds: LIMIT.as_millis() };
        self.thaw().and(Err(stuck))
    }

    /// Resumes what [`Cgroup::freeze`] stopped.
    ///
    /// # Errors
    /// [`Error::Without`] on v1 without a freezer, [`Error::Io`].
    pub fn thaw(&self) -> Result<()> {
        let directory = self.freezer("thaw")?;
        match self.version() {
            Version::V1 => write(&directory.join("freezer.state"), "THAWED"),
            Version::V2 => write(&directory.join("cgroup.freeze"), "0"),
        }
    }

    fn freezer(&self, action: &'static str) -> Result<&Path> {
        self.directory(Controller::Freezer).ok_or(Error::Without { action, controller: Controller::Freezer })
    }
}

fn write(path: &Path, value: &str) -> Result<()> {
    file::write(path, value).map_err(|e| Error::io("write", path, e))
}

/// v2: waits until a key of `cgroup.events` has a value. The kernel signals each change, so nothing is asked
/// twice. False if the time is over; a removed cgroup is empty and still.
pub(crate) fn wait_for_event(directory: &Path, key: &str, value: u64, limit: Duration) -> Result<bool> {
    let path = directory.join("cgroup.events");
    let failed = |errno: Errno| Error::io("watch", &path, errno);
    let events = match rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(events) => events,
        Err(errno) if file::is_gone(&errno.into()) => return Ok(true),
        Err(errno) => return Err(failed(errno)),
    };
    let deadline = Instant::now() + limit;
    loop {
        // Reading also re-arms the signal, so a change between here and the poll is not lost.
        let mut text = [0; 256];
        let length = match rustix::io::pread(&events, &mut text, 0) {
            Ok(length) => length,
            Err(errno) if file::is_gone(&errno.into()) => return Ok(true),
            Err(errno) => return Err(failed(errno)),
        };
        let text = String::from_utf8_lossy(text.get(..length).unwrap_or_default());
        if file::keyed(&text, key) == Some(value) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut poll = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
        match rustix::event::poll(&mut poll, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::testbed::{Bed, Child, Counter};

    fn advances(counter: &Counter) -> bool {
        let before = counter.get();
        std::thread::sleep(Duration::from_millis(30));
        counter.get() > before
    }

    fn frozen_processes_stand_still_until_thawed(bed: &Bed) {
        let cgroup = bed.create("c", &Limits::default());
        cgroup.freeze().unwrap();
        cgroup.thaw().unwrap();
        let counter = Counter::new();
        let mut child = Child::enter(&cgroup, || counter.count());
        assert!(advances(&counter));
        cgroup.freeze().unwrap();
        cgroup.freeze().unwrap();
        assert!(!advances(&counter));
        cgroup.thaw().unwrap();
        assert!(advances(&counter));
        // A frozen container can be killed.
        cgroup.freeze().unwrap();
        cgroup.kill().unwrap();
        assert_eq!(child.wait_signal(), Some(libc::SIGKILL));
        cgroup.remove().unwrap();
    }

    #[test]
    fn frozen_processes_stand_still_until_thawed_on_this_host() {
        frozen_processes_stand_still_until_thawed(&Bed::new());
    }

    #[test]
    fn frozen_processes_stand_still_until_thawed_on_the_v2_tree() {
        if let Some(bed) = Bed::unified() {
            frozen_processes_stand_still_until_thawed(&bed);
        }
    }
}
