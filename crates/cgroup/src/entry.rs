//! How a new process gets into a cgroup.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::group::Directory;
use crate::{Cgroup, Error, Result, Version, file};

/// What a new process needs to enter a cgroup. The server opens it and hands it to the process that forks.
#[derive(Debug)]
pub enum Entry {
    /// v2: the cgroup's directory, for `clone3` with `CLONE_INTO_CGROUP`, which costs no migration and leaves
    /// no moment outside; or for a write of `0` to `cgroup.procs` in it.
    Directory(OwnedFd),
    /// v1: `cgroup.procs` of each hierarchy, open for writing. The new process, as long as it has a single
    /// thread, writes `0` into each, in this order.
    Procs(Vec<OwnedFd>),
}

impl Cgroup {
    /// Opens the way in.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn entry(&self) -> Result<Entry> {
        if let (Version::V2, Some(path)) = (self.version(), self.first()) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(path, flags, Mode::empty())
                .map_err(|e| Error::io("open cgroup", path, e))?;
            return Ok(Entry::Directory(directory));
        }
        let open = |directory: &std::path::Path| {
            let path = directory.join("cgroup.procs");
            file::open_for_write(&path).map_err(|errno| (errno, path))
        };
        let enter = |directory: &Directory| {
            let opened = open(&directory.path);
            let opened = match (opened, directory.above()) {
                (Err((Errno::NOENT, _)), Some(above)) if directory.deferred => open(above),
                (opened, _) => opened,
            };
            opened.map_err(|(errno, path)| Error::io("open", path, errno))
        };
        self.entered().map(enter).collect::<Result<_>>().map(Entry::Procs)
    }
}
