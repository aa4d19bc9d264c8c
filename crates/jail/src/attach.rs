//! Detached mounts become a container's file system: the root, the mounts in it, the working directory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid};
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::confinement::{Attach, Confinement, Descriptors, NamespaceKind};
use crate::detached::set_read_only;
use crate::minimal_root::{ATTACH_AT, pivot_into};
use crate::{Error, error::Step, path_in_root};

/// Enters the container's file system: its own, freshly attached, or for an exec its running one.
///
/// Without a root or a mount namespace to join, the process stays in the zygote's empty root: what the
/// holder of a pod's namespaces wants.
pub(crate) fn file_system(
    confinement: &Confinement<'_>,
    root: Option<&OwnedFd>,
    descriptors: &Descriptors,
) -> Result<(), Error> {
    if confinement.mounts.len() != descriptors.mounts.len() {
        return Err(Error::Mismatch("not one descriptor for each mount"));
    }
    let joined = descriptors.join.iter().find(|(kind, _)| *kind == NamespaceKind::Mount);
    match (root, joined) {
        (Some(_), Some(_)) => Err(Error::Mismatch("both a root and a mount namespace to join")),
        // It would replace the root of the zygote.
        (Some(_), None) if !confinement.fresh.mount => {
            Err(Error::Mismatch("a root without a fresh mount namespace"))
        }
        (None, _) if !confinement.mounts.is_empty() => Err(Error::Mismatch("mounts without a root")),
        (Some(root), None) => own_root(confinement, root.as_fd(), &descriptors.mounts),
        (None, Some((_, namespace))) => {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
                .step(|| "join the container's mount namespace".into())
        }
        (None, None) => Ok(()),
    }
}

fn own_root(confinement: &Confinement<'_>, root: BorrowedFd<'_>, mounts: &[OwnedFd]) -> Result<(), Error> {
    move_mount(root, c"", CWD, ATTACH_AT, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(|| "attach the container's root".into())?;
    for (attach, mount) in confinement.mounts.iter().zip(mounts) {
        one(root, attach, mount)?;
    }
    make_cwd(root, confinement)?;
    if confinement.root_readonly {
        set_read_only(root).step(|| "make the container's root read-only".into())?;
    }
    pivot_into(root, "the container's root")
}

fn one(root: BorrowedFd<'_>, attach: &Attach<'_>, mount: &OwnedFd) -> Result<(), Error> {
    let target = target(root, attach.destination, attach.directory)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", &target.fd, c"", flags).step(|| {
        let (is, want) = if attach.directory { ("not ", "a") } else { ("", "no") };
        format!(
            "mount at {:?} (is the target {is}a directory? the source is {want} directory)",
            attach.destination
        )
    })
}

fn target(root: BorrowedFd<'_>, path: &str, directory: bool) -> Result<path_in_root::Target, Error> {
    if !path.starts_with('/') {
        return Err(Error::MountTarget {
            destination: path.to_owned(),
            blocked: path.to_owned(),
            errno: io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"),
        });
    }
    path_in_root::open_or_make(root, Path::new(path), directory).map_err(|(blocked, errno)| {
        Error::MountTarget {
            destination: path.to_owned(),
            blocked: blocked.display().to_string(),
            errno: errno.into(),
        }
    })
}

/// A missing working directory is made, and belongs to the user who is to work there.
fn make_cwd(root: BorrowedFd<'_>, confinement: &Confinement<'_>) -> Result<(), Error> {
    let cwd = confinement.cwd;
    let target = target(root, cwd, true)?;
    if target.made {
        let (uid, gid) = (Uid::from_raw(confinement.user.uid), Gid::from_raw(confinement.user.gid));
        rustix::fs::chownat(&target.fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .step(|| format!("give the working directory {cwd:?} to user {}", confinement.user.uid))?;
    }
    Ok(())
}

/// Changes to the working directory. Resolved inside the root and without `/proc`'s magic links, which could
/// lead to a directory of the host (CVE-2024-21626).
pub(crate) fn change_to_cwd(cwd: &str) -> rustix::io::Result<()> {
    let root = crate::detached::name_only(Path::new("/"))?;
    rustix::process::fchdir(path_in_root::open(root.as_fd(), Path::new(cwd))?)
}
