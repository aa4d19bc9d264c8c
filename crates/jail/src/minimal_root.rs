//! The zygote's mount namespace: an empty directory and nothing else.
//!
//! Copying a mount namespace costs time and memory per mount in it, so a child forked from here starts at
//! the same speed on a host with thirty mounts and on one with five thousand. And nothing of the host is
//! there to be found by a guest that broke out of the rest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FsWord, Mode, PROC_SUPER_MAGIC, mkdirat};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::detached::{NewFilesystem, clone_of, set_read_only};
use crate::error::Step;
use crate::mount_options::{Attributes, MountOptions, attribute};
use crate::{Error, credentials};

/// Where a container's root is attached, in the zygote's root.
pub(crate) const ATTACH_AT: &str = "/root";

/// Proof that the calling process lives in the minimal mount namespace. Owned by the zygote.
#[derive(Debug)]
pub struct MinimalRoot {
    proc_dir: OwnedFd,
}

impl MinimalRoot {
    /// Moves the calling process, the zygote, into the minimal mount namespace, and empties its capability
    /// bounding set for its children. No host path can be opened any more; only call it once everything of
    /// the host's is open. The process must have one thread.
    ///
    /// # Errors
    /// [`Error::Kernel`] with the step; the process is then of no further use.
    pub fn enter() -> Result<Self, Error> {
        // SAFETY: the file descriptor table stays shared with nobody it was not shared with before.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.step(|| "make the zygote's mount namespace".into())?;
        let everything = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", everything).step(|| "part the zygote's mounts from the host's".into())?;

        // Children have to write files below /proc that concern themselves (`self/…`, `sys/…`).
        let proc_dir = clone_of(CWD, Path::new("/proc"), false).step(|| "keep the host's /proc".into())?;
        let kind = rustix::fs::fstatfs(&proc_dir).step(|| "look at the host's /proc".into())?;
        if kind.f_type as FsWord != PROC_SUPER_MAGIC {
            let errno = std::io::Error::other("it is not a proc file system");
            return Err(Error::Kernel { step: "keep the host's /proc".into(), errno });
        }

        let root = empty_root()?;
        // Any directory will do; this one was just seen to exist.
        move_mount(&root, c"", CWD, c"/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .step(|| "attach the zygote's root".into())?;
        pivot_into(root.as_fd(), "the zygote's root")?;
        // Not a matter of mounts, but of the same moment: the zygote execs nothing from here on.
        credentials::empty_bounding_set()?;
        Ok(Self { proc_dir })
    }

    /// The host's `/proc`. Close-on-exec; only to be named, it cannot be read itself.
    #[must_use]
    pub fn proc_dir(&self) -> BorrowedFd<'_> {
        self.proc_dir.as_fd()
    }
}

fn empty_root() -> Result<OwnedFd, Error> {
    let words = || "make the zygote's root".to_owned();
    let mut tmpfs = NewFilesystem::open("tmpfs", "wamr-zygote")?;
    tmpfs.set("mode", Some("755"))?;
    tmpfs.set("nr_inodes", Some("2"))?;
    let set = attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let options = MountOptions { top: Attributes { set, clear: 0 }, ..MountOptions::default() };
    let root = tmpfs.mount(&options)?;
    mkdirat(&root, ATTACH_AT.trim_start_matches('/'), Mode::from_raw_mode(0o755)).step(words)?;
    set_read_only(root.as_fd()).step(words)?;
    Ok(root)
}

/// Makes the attached mount `root` the root of the mount namespace and gives up the old one, without a
/// directory to keep the old one in: both lie at `.` for a moment (pivot_root(2), "pivot_root(".", ".")").
pub(crate) fn pivot_into(root: BorrowedFd<'_>, what: &str) -> Result<(), Error> {
    rustix::process::fchdir(root).step(|| format!("change to {what}"))?;
    rustix::process::pivot_root(c".", c".").step(|| format!("pivot to {what}"))?;
    unmount(c".", UnmountFlags::DETACH).step(|| format!("leave what was there before {what}"))?;
    rustix::process::chdir(c"/").step(|| format!("change to {what}"))
}
