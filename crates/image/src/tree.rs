//! A container's file system before the container exists: a root and the mounts that will be attached to it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::resolve::{Walk, file_type};
use crate::{Error, Result};

/// Most top-level directories that are handed to a guest one by one; each costs it a descriptor.
const TOP_LEVEL: usize = 128;

/// A mount as it will be attached inside the container.
#[derive(Debug, Clone)]
pub struct Mount<'a> {
    /// Absolute path inside the container, as the spec has it.
    pub destination: &'a str,
    /// The detached mount.
    pub fd: BorrowedFd<'a>,
    /// Whether the mount's own root is a directory.
    pub directory: bool,
}

/// Where a file's bytes live, as far as it matters for knowing them again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Read-only image layers, named by their list: nobody writes to them while containers use them.
    Layers(Arc<str>),
    /// Anything else, by device number: volumes, and a root that was or may be written to.
    Device(u64),
}

/// A container's file system, held by descriptors and never seen in any mount table.
///
/// Built and used by one task of the server while a container is made; it only borrows.
#[derive(Debug)]
pub struct Tree<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) mounts: Vec<Attached<'a>>,
    layers: Option<Arc<str>>,
}

/// A mount under its real name: no `.`, `..` or symbolic link in it.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    pub destination: PathBuf,
    pub fd: BorrowedFd<'a>,
    pub directory: bool,
}

impl<'a> Tree<'a> {
    /// A view of `root` with `mounts` attached in their order, later ones covering earlier ones.
    ///
    /// `layers` is the overlay's `lowerdir` list if every file of the root comes from there, that is, if there is
    /// no upper directory or it is still empty. It makes the digest of a module known across containers. Give
    /// `None` whenever in doubt: it costs time and nothing else.
    ///
    /// # Errors
    /// Those of walking to a destination, except that it need not exist yet.
    pub fn new(root: BorrowedFd<'a>, layers: Option<&str>, mounts: &[Mount<'a>]) -> Result<Tree<'a>> {
        let mut tree = Tree { root, mounts: Vec::with_capacity(mounts.len()), layers: layers.map(Arc::from) };
        for mount in mounts {
            // Links in a destination are followed in what is mounted so far, as they are when it is attached.
            let destination = Walk::new(&tree, Path::new(mount.destination)).real_path()?;
            tree.mounts.push(Attached { destination, fd: mount.fd, directory: mount.directory });
        }
        Ok(tree)
    }

    /// Opens the regular file at an absolute path for reading, following links inside the container only.
    ///
    /// Opening has no side effect and never blocks: what is not a regular file is not opened.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Loop`], [`Error::TooDeep`], [`Error::NotRegular`], [`Error::Io`].
    pub fn open(&self, path: &Path) -> Result<(File, Origin)> {
        let (found, mount) = Walk::new(self, path).existing()?;
        let stat = rustix::fs::fstat(&found).map_err(|e| Error::io("look at", path, e))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let file = reopen(found.as_fd(), OFlags::RDONLY | OFlags::NONBLOCK)
                    .and_then(|file| {
                        rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
                        Ok(file)
                    })
                    .map_err(|e| Error::io("open", path, e))?;
                let origin = match (&self.layers, mount) {
                    (Some(layers), None) => Origin::Layers(layers.clone()),
                    _ => Origin::Device(stat.st_dev),
                };
                return Ok((file.into(), origin));
            }
            FileType::Directory => "directory",
            FileType::Fifo => "FIFO",
            FileType::Socket => "socket",
            FileType::CharacterDevice => "character device",
            FileType::BlockDevice => "block device",
            _ => "special file",
        };
        Err(Error::NotRegular { path: path.into(), kind })
    }

    /// Whether something is at an absolute path, and if so, whether it is a directory.
    ///
    /// # Errors
    /// As [`Tree::open`], without [`Error::NotFound`].
    pub fn directory(&self, path: &Path) -> Result<Option<bool>> {
        match Walk::new(self, path).existing() {
            Ok((found, _)) => Ok(Some(file_type(found.as_fd(), path)? == FileType::Directory)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Directories directly below `/` (`"/etc"`), links to directories among them, in order of name.
    ///
    /// # Errors
    /// [`Error::Io`] when the root can not be listed.
    pub fn top_level_directories(&self) -> Result<Vec<String>> {
        let failed = |e| Error::io("list", "/", e);
        let (root, _) = Walk::new(self, Path::new("/")).existing()?;
        let listing = reopen(root.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        let mut names = BTreeSet::new();
        for entry in Dir::new(listing).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is not UTF-8 can not be given to a guest.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("/{name}");
            let directory = match entry.file_type() {
                FileType::Directory => true,
                FileType::Symlink | FileType::Unknown => {
                    matches!(self.directory(Path::new(&path)), Ok(Some(true)))
                }
                _ => false,
            };
            if directory {
                names.insert(path);
            }
        }
        // Targets of mounts are made when they are attached, so they may be missing above.
        for mount in &self.mounts {
            let mut parts = mount.destination.components().skip(1);
            let (Some(Component::Normal(first)), below) = (parts.next(), parts.next()) else { continue };
            if let (Some(first), true) = (first.to_str(), mount.directory || below.is_some()) {
                names.insert(format!("/{first}"));
            }
        }
        if names.len() > TOP_LEVEL {
            log::warn!("only the first {TOP_LEVEL} of {} top-level directories are handed out", names.len());
        }
        Ok(names.into_iter().take(TOP_LEVEL).collect())
    }
}

/// Opens what an `O_PATH` descriptor stands for. The descriptor pins the object, so what it was found to be
/// before is what gets opened, and a mount that is a single file can be opened too.
fn reopen(fd: BorrowedFd<'_>, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::open(name, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}
