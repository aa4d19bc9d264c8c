//! Resource limits.

use std::io;

use crate::{Error, error::Step};

/// Sets each limit of this process, (`RLIMIT_*` number, soft, hard), in the spec's order. A hard limit above the present one, which a server without
/// CAP_SYS_RESOURCE cannot grant, is cut to it and reported: a lower limit confines more, not less.
///
/// # Errors
/// [`Error::Kernel`] for anything but a missing capability.
pub fn set_rlimits(rlimits: &[(u32, u64, u64)], warnings: &mut Vec<String>) -> Result<(), Error> {
    for (resource, soft, hard) in rlimits.iter().copied() {
        let words = || format!("set resource limit {resource} to {soft}/{hard}");
        match prlimit(resource, Some((soft, hard))) {
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                let (_, ceiling) = prlimit(resource, None).step(words)?;
                prlimit(resource, Some((soft.min(ceiling), hard.min(ceiling)))).step(words)?;
                warnings.push(format!(
                    "resource limit {resource}: {soft}/{hard} is above the server's own hard limit, {ceiling} is used"
                ));
            }
            done => drop(done.step(words)?),
        }
    }
    Ok(())
}

/// Sets and returns the previous (soft, hard) of this process.
fn prlimit(resource: u32, limit: Option<(u64, u64)>) -> io::Result<(u64, u64)> {
    let new = limit.map(|(soft, hard)| libc::rlimit64 { rlim_cur: soft, rlim_max: hard });
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or a live limit, `old` is live and writable; process 0 is the caller.
    match unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, &raw mut old) } {
        0 => Ok((old.rlim_cur, old.rlim_max)),
        _ => Err(io::Error::last_os_error()),
    }
}
