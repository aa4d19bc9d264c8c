//! `clone3` without a new stack: a fork that can place its child in namespaces and a cgroup, and whose
//! parent is the caller's parent.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicI32;

/// `struct clone_args` of `linux/sched.h`, up to the `cgroup` field (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// From `linux/sched.h` (Linux 5.7); libc's constant of this name is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The two sides of a fork.
#[derive(Debug)]
pub enum Side {
    /// In the calling process: the child's id as seen here, and its pidfd.
    Parent(i32, OwnedFd),
    /// In the new process.
    Child,
}

/// Forks. The child's parent is the caller's. `namespaces` are `CLONE_NEW*` flags; the child enters `cgroup` (a v2
/// directory) if there is one. The kernel writes the child's id to `note` before the child runs.
///
/// The C library is not told: its cached thread id of the main thread is kept right through
/// `CLONE_CHILD_SETTID`, at the address it registered with the kernel itself (`PR_GET_TID_ADDRESS`).
///
/// # Errors
/// The kernel's.
///
/// # Safety
/// The calling process must have a single thread. Else the child would hold locks that nobody releases.
pub unsafe fn fork_sibling(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    note: Option<&AtomicI32>,
) -> io::Result<Side> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces | (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd) as u64,
        ..CloneArgs::default()
    };
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
    }
    if let Some(note) = note {
        args.flags |= libc::CLONE_PARENT_SETTID as u64;
        args.parent_tid = note.as_ptr() as u64;
    }
    let mut tid_address: u64 = 0;
    // SAFETY: the kernel writes one pointer-sized value to the address given, which outlives the call.
    if unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut tid_address) } == 0 && tid_address != 0 {
        args.flags |= (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as u64;
        args.child_tid = tid_address;
    }
    // SAFETY: `args`, `pidfd` and `note` outlive the call; no new stack is given, so both sides go on on copies of
    // this one; the caller vouches for a single thread.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        // SAFETY: the kernel stored a new descriptor there, and nobody else knows of it.
        pid => Ok(Side::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}
