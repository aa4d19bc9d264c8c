//! `/dev` as far as a wasm guest can use it: one small file system for all containers of a server.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use crate::Error;
use crate::detached::{NewFilesystem, clone_of, set_propagation, set_read_only};
use crate::error::Step;
use crate::mount_options::{Attributes, MountOptions, Propagation, attribute};

/// The nodes libraries open: name, major, minor (Documentation/admin-guide/devices.txt).
const NODES: [(&str, u32, u32); 5] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];
/// Where a spec mounts something more.
const DIRECTORIES: [&str; 3] = ["shm", "pts", "mqueue"];
/// Where Kubernetes mounts the file a guest leaves its last words in.
const TERMINATION_LOG: &str = "termination-log";

/// The content of `/dev`. Lives in the server, may be shared among threads; containers keep their clones
/// when it is dropped.
#[derive(Debug)]
pub struct DeviceNodes(OwnedFd);

impl DeviceNodes {
    /// Makes the file system: read-only, the nodes usable by all, no programs.
    ///
    /// # Errors
    /// [`Error::Filesystem`], [`Error::Kernel`].
    pub fn new() -> Result<Self, Error> {
        let nodes = Self::with(make_node)?;
        set_read_only(nodes.0.as_fd()).step(|| "make /dev for containers read-only".into())?;
        Ok(nodes)
    }

    /// A file system for one container alone, which may be written to: for specs that mount where the shared one
    /// has no target.
    ///
    /// # Errors
    /// As [`DeviceNodes::new`].
    pub fn writable() -> Result<OwnedFd, Error> {
        Self::with(make_node).map(|nodes| nodes.0)
    }

    /// A mount for one container: a clone, which costs no file system of its own.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn detached(&self) -> Result<OwnedFd, Error> {
        match clone_of(self.0.as_fd(), Path::new(""), true) {
            // Before Linux 6.15 what is attached nowhere cannot be cloned.
            Err(Errno::INVAL) => Ok(Self::new()?.0),
            cloned => cloned.step(|| "clone the mount of the device nodes".into()),
        }
    }

    fn with(make_node: impl Fn(&OwnedFd, &str, u32, u32) -> rustix::io::Result<()>) -> Result<Self, Error> {
        let options = MountOptions {
            top: Attributes { set: attribute::NOSUID | attribute::NOEXEC, clear: 0 },
            data: [("mode", "755"), ("size", "64k"), ("nr_inodes", "32")]
                .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
                .into(),
            ..MountOptions::default()
        };
        let mut tmpfs = NewFilesystem::open("tmpfs", "wamr-dev")?;
        for (key, value) in &options.data {
            tmpfs.set(key, value.as_deref())?;
        }
        let dev = tmpfs.mount(&options)?;
        let words = |name: &str| format!("make /dev/{name} for containers");

        for (name, major, minor) in NODES {
            match make_node(&dev, name, major, minor) {
                // Not allowed in a user namespace or by a device cgroup.
                Err(Errno::PERM) => bind_host_node(&dev, name)?,
                made => {
                    made.step(|| words(name))?;
                    // The server's umask took some of the mode away.
                    let mode = Mode::from_raw_mode(0o666);
                    rustix::fs::chmodat(&dev, name, mode, AtFlags::empty()).step(|| words(name))?;
                }
            }
        }
        for name in DIRECTORIES {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755)).step(|| words(name))?;
        }
        empty_file(&dev, TERMINATION_LOG)?;
        Ok(Self(dev))
    }
}

fn make_node(dev: &OwnedFd, name: &str, major: u32, minor: u32) -> rustix::io::Result<()> {
    mknodat(dev, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
}

fn empty_file(dev: &OwnedFd, name: &str) -> Result<(), Error> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666))
        .step(|| format!("make /dev/{name} for containers"))
        .map(drop)
}

/// Shows the host's node; on a tree that is attached nowhere this takes Linux 6.15.
fn bind_host_node(dev: &OwnedFd, name: &str) -> Result<(), Error> {
    empty_file(dev, name)?;
    let words = || format!("bind the host's /dev/{name} (making a node was not permitted)");
    let node = clone_of(CWD, &Path::new("/dev").join(name), false).step(words)?;
    set_propagation(node.as_fd(), Propagation::Private).step(words)?;
    move_mount(&node, c"", dev, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).step(words)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn open(dev: &OwnedFd, name: &str) -> rustix::io::Result<std::fs::File> {
        rustix::fs::openat(dev, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map(Into::into)
    }

    fn works_like_dev(dev: &OwnedFd) {
        let mut eight = [1; 8];
        open(dev, "zero").unwrap().read_exact(&mut eight).unwrap();
        assert_eq!(eight, [0; 8]);
        open(dev, "urandom").unwrap().read_exact(&mut eight).unwrap();
        assert_ne!(eight, [0; 8]);
        assert_eq!(open(dev, "full").unwrap().write(b"x").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(open(dev, "null").unwrap().write(b"x").unwrap(), 1);
        for directory in DIRECTORIES {
            let stat = rustix::fs::statat(dev, directory, AtFlags::empty()).unwrap();
            assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Directory);
        }
    }

    #[test]
    fn every_container_gets_usable_nodes_that_nobody_can_change() {
        let nodes = DeviceNodes::new().unwrap();
        let (one, two) = (nodes.detached().unwrap(), nodes.detached().unwrap());
        drop(nodes);
        works_like_dev(&one);
        works_like_dev(&two);
        let mode = Mode::from_raw_mode(0o755);
        assert_eq!(mkdirat(&one, "more", mode), Err(Errno::ROFS), "one container could write into all");
        let stat = rustix::fs::statat(&one, "null", AtFlags::empty()).unwrap();
        assert_eq!(stat.st_mode & 0o7777, 0o666);
        assert_eq!(stat.st_rdev, makedev(1, 3));
        assert_eq!(stat.st_dev, rustix::fs::fstat(&two).unwrap().st_dev, "one file system for all");
        assert_eq!((stat.st_uid, stat.st_gid), (0, 0));
    }

    #[test]
    fn the_hosts_nodes_serve_where_none_can_be_made() {
        let nodes = DeviceNodes::with(|_, _, _, _| Err(Errno::PERM)).unwrap();
        works_like_dev(&nodes.detached().unwrap());
    }
}
