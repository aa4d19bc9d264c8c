//! What the helper prepares before libcontainer: bind mounts with the right propagation, streams with the right owner.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, Uid, fchown, fstat, major, minor, statx};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::request::{Bind, Propagation};

/// Binds host paths in a mount namespace of this process's own, at the places the spec refers to.
///
/// libcontainer clones what lies at a bind's source and keeps the propagation that it finds, whatever the spec says.
/// So the source it finds is a clone that has the right one. Nothing of it is seen on the host.
pub(crate) fn binds(directory: &Path, binds: &[Bind]) -> Result<(), String> {
    if binds.is_empty() {
        return Ok(());
    }
    // SAFETY: descriptors stay as they are; this process has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|e| format!("make a mount namespace: {e}"))?;
    // While the host's mounts still are what they are: a clone of a private mount could only be private.
    let clones = binds.iter().map(clone).collect::<Result<Vec<_>, _>>()?;
    keep_to_ourselves(directory)?;
    for (bind, clone) in binds.iter().zip(clones) {
        attach(bind, &clone)?;
    }
    Ok(())
}

fn clone(bind: &Bind) -> Result<OwnedFd, String> {
    let words = |e: rustix::io::Errno| format!("bind {}: {e}", bind.source.display());
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, bind.recursive);
    let clone = open_tree(CWD, &bind.source, flags).map_err(words)?;
    Ok(clone)
}

fn attach(bind: &Bind, clone: &OwnedFd) -> Result<(), String> {
    let words = |e: std::io::Error| format!("bind {}: {e}", bind.source.display());
    let stat = fstat(clone).map_err(|e| words(e.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => fs::create_dir(&bind.at),
        _ => File::create_new(&bind.at).map(drop),
    }
    .map_err(words)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(clone, c"", CWD, &bind.at, flags).map_err(|e| words(e.into()))?;
    let propagation = match bind.propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        Propagation::Shared => MountPropagationFlags::SHARED,
    };
    mount_change(&bind.at, propagation | MountPropagationFlags::REC).map_err(|e| words(e.into()))
}

/// Nothing that is mounted below `directory` appears on the host.
fn keep_to_ourselves(directory: &Path) -> Result<(), String> {
    for path in directory.ancestors() {
        let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS);
        let stat = stat.map_err(|e| format!("look at {}: {e}", path.display()))?;
        if stat.stx_attributes.bits() & MOUNT_ROOT != 0 {
            return mount_change(path, MountPropagationFlags::PRIVATE)
                .map_err(|e| format!("make {} private: {e}", path.display()));
        }
    }
    Err(format!("{} is on no mount", directory.display()))
}

/// `STATX_ATTR_MOUNT_ROOT` of `linux/stat.h`.
const MOUNT_ROOT: u64 = 0x2000;

/// Gives a process's streams to its user, as `runc` does: through `/dev/stdout` they are opened anew, and then their
/// owner counts.
pub(crate) fn give_streams(streams: &[&OwnedFd], uid: u32) {
    for stream in streams {
        let Ok(stat) = fstat(stream) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
        if !null && stat.st_uid != uid {
            // A read-only or foreign file system may refuse; writing to the open stream works all the same.
            let _ = fchown(stream.as_fd(), Some(Uid::from_raw(uid)), None);
        }
    }
}
