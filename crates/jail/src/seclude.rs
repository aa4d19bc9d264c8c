//! Confinement of a helper that only computes, such as the compiler: it reads bytes that a stranger wrote, and
//! answers with bytes.

use std::os::fd::RawFd;

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::confinement::User;
use crate::{Error, Filter, MinimalRoot, credentials, error::Step, rlimits};

/// `nobody`, whom no file belongs to.
const NOBODY: u32 = 65534;

/// Leaves the calling process, which must have one thread, with descriptors 0 to 2 and the processor: an empty file
/// system, no network, no capabilities, nobody's user id, a filter that opens and executes nothing. It ends with the
/// thread that started it. `rlimits` as in [`Confinement`](crate::Confinement).
///
/// # Errors
/// The first step that failed. The process is then half confined: it must end.
pub fn seclude(rlimits: &[(u32, u64, u64)]) -> Result<(), Error> {
    let parts = UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: descriptors stay as they are.
    unsafe { unshare_unsafe(parts) }.step(|| "part from the host's network".into())?;
    drop(MinimalRoot::enter()?);
    // Below the present limits, so there is nothing to be warned of.
    rlimits::set_rlimits(rlimits, &mut Vec::new())?;
    close_from(3).step(|| "close inherited descriptors".into())?;
    credentials::become_user(&User { uid: NOBODY, gid: NOBODY, groups: Vec::new(), umask: None })?;
    Filter::computing()?.install()
}

fn close_from(first: RawFd) -> std::io::Result<()> {
    // SAFETY: the caller's only thread owns no descriptor above 2 that it still uses.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
