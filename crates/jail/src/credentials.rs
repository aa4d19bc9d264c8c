//! Who the process is, and the powers it gives up for good.

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets, Gid, Uid};

use crate::confinement::User;
use crate::{Error, error::Step};

/// Becomes `user` without any capability and without a way to gain one. The order matters: what needs a
/// capability comes before the user is changed, what a change of user resets comes after it.
pub(crate) fn become_user(user: &User) -> Result<(), Error> {
    // Root means nothing any more, and neither execve nor setuid will ever bring capabilities back.
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits).step(|| "lock the secure bits".into())?;

    set_groups(&user.groups).step(|| format!("set the supplementary groups {:?}", user.groups))?;
    let gid = Gid::from_raw(user.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step(|| format!("become group {}", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).step(|| format!("become user {}", user.uid))?;
    rustix::process::umask(Mode::from_raw_mode(user.umask.unwrap_or(0o022)));

    // Empties the ambient set with it: that is never more than the permitted and inheritable ones hold.
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).step(|| "give up all capabilities".into())?;
    rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs".into())?;
    // Processes of the same user, in other containers of the pod, can neither trace this one nor read it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .step(|| "make the process undumpable".into())?;
    // A change of user resets this one (PR_SET_PDEATHSIG(2const)).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step(|| "end with the server".into())
}

/// Leaves the zygote's session; with `terminal`, descriptor 0 becomes the new session's terminal.
pub(crate) fn new_session(terminal: bool) -> Result<(), Error> {
    match rustix::process::setsid() {
        // Already the leader of a process group, so of nobody else's.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(e) => return Err(e).step(|| "start a session".into()),
    }
    if terminal {
        // SAFETY: descriptor 0 is open, the request takes a number.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            return Err(io::Error::last_os_error())
                .step(|| "make descriptor 0 the controlling terminal".into());
        }
    }
    Ok(())
}

/// Drops capabilities from the bounding set, one number after the other until the kernel knows no more. Done
/// once in the zygote, whose own capabilities it does not touch: children inherit the empty set.
pub(crate) fn empty_bounding_set() -> Result<(), Error> {
    for capability in 0..64 {
        // SAFETY: takes a number; refused with EINVAL beyond the last capability.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            let errno = io::Error::last_os_error();
            if errno.raw_os_error() == Some(libc::EINVAL) && capability > 0 {
                return Ok(());
            }
            return Err(errno).step(|| format!("drop capability {capability} from the bounding set"));
        }
    }
    Ok(())
}

/// The system call itself: the C library's would signal threads the child does not have.
fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: a live array of `gid_t` and its length.
    match unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
