//! Any signal to a process by its pidfd, real-time ones included.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Sends signal `number`, 1 to 64. Runs in the server.
///
/// # Errors
/// Those of `pidfd_send_signal(2)`: `ESRCH` once the process has ended, `EINVAL` for a number that is no signal.
pub fn signal(process: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: an open descriptor and a null pointer, which the call takes for "as kill(2) does".
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), number, no_info, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the process behind a pidfd has ended: it is readable from then on.
pub fn is_over(process: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&now)), Ok(0))
}
