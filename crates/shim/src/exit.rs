//! How and when a process ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::well_known_types::timestamp::Timestamp;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// A point in time as protobuf counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: i32,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255; 128 + n when signal n ended it.
    pub status: u32,
    /// When it was noticed.
    pub at: Instant,
}

impl Instant {
    /// The present.
    pub fn now() -> Instant {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Instant { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
    }

    /// In containerd's form.
    pub fn timestamp(self) -> Timestamp {
        Timestamp { seconds: self.seconds, nanos: self.nanos, ..Timestamp::default() }
    }
}

impl Exit {
    /// What is reported when nobody could see the end, as after a crash of the server.
    pub fn unseen() -> Exit {
        Exit { status: 137, at: Instant::now() }
    }

    /// Kills and reaps the child behind a pidfd. Nothing happens if it is dead and reaped already.
    pub fn force(pidfd: BorrowedFd<'_>) {
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
        let _ = Exit::reap_blocking(pidfd);
    }

    /// Reaps the child behind a pidfd, waiting for its end.
    ///
    /// # Errors
    /// `ECHILD` when it is not our child or was reaped before.
    pub fn reap_blocking(pidfd: BorrowedFd<'_>) -> io::Result<Exit> {
        let options = WaitIdOptions::EXITED;
        let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), options))?;
        let status = status.ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))?;
        let code = status.exit_status().unwrap_or_default();
        let signal = status.terminating_signal().map(|signal| 128 + signal);
        Ok(Exit { status: signal.unwrap_or(code) as u32, at: Instant::now() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use std::process::Command;

    fn status_of(script: &str) -> u32 {
        #[expect(clippy::zombie_processes, reason = "reaped through its pidfd, which is what is tested")]
        let child = Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let exit = Exit::reap_blocking(pidfd.as_fd()).unwrap();
        assert!(Exit::reap_blocking(pidfd.as_fd()).is_err(), "reaped twice");
        exit.status
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        assert_eq!(status_of("exit 0"), 0);
        assert_eq!(status_of("exit 255"), 255);
        assert_eq!(status_of("kill -KILL $$"), 137);
    }
}
