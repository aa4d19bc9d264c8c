//! Paths inside a container's root, resolved so that nothing in the root can lead out of it.
//!
//! The root's content is an image's: every symbolic link in it may be hostile, and with a volume shared
//! between containers it may change while it is looked at. So the kernel resolves each path
//! (`openat2(2)`, `RESOLVE_IN_ROOT`), and what is missing is made next to a descriptor, never by path.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one path (path_resolution(7)).
const LINK_LIMIT: usize = 40;
/// A rename or mount elsewhere can make `openat2` ask for another try; a few are plenty.
const TRIES: usize = 16;

/// Names what `path` is inside `root`; the descriptor can be mounted on or changed into, not read.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    open_as(root, path, OFlags::PATH)
}

fn open_as(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries > 0 => {}
            done => return done,
        }
    }
}

/// What [`open_or_make`] found.
pub(crate) struct Target {
    pub fd: OwnedFd,
    /// Whether the last component was missing.
    pub made: bool,
}

/// Like [`open`], but makes missing directories (0755) and, unless `directory`, a missing last component as
/// an empty file (0644), all owned by the calling process. The target of a dangling link is made where the
/// link points to, inside `root`. The modes are right under a umask of 022 or less.
///
/// # Errors
/// The path of the component that was refused, with the kernel's reason.
pub(crate) fn open_or_make(
    root: BorrowedFd<'_>,
    path: &Path,
    directory: bool,
) -> Result<Target, (PathBuf, Errno)> {
    match open(root, path) {
        Ok(fd) => return Ok(Target { fd, made: false }),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err((path.to_owned(), errno)),
    }
    let mut links = 0;
    let mut made = false;
    // `done` exists inside the root; `rest` is still to be walked, last component first.
    let mut done = PathBuf::from("/");
    let mut rest: Vec<PathBuf> = components(path);
    while let Some(name) = rest.pop() {
        let here = done.join(&name);
        let refused = |errno| (here.clone(), errno);
        let parent = open_as(root, &done, OFlags::PATH | OFlags::DIRECTORY).map_err(refused)?;
        if name == Path::new("..") {
            done = here;
            continue;
        }
        let entry = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, &name, entry, Mode::empty()) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd).map_err(refused)?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    done = here;
                    continue;
                }
                links += 1;
                if links > LINK_LIMIT {
                    return Err(refused(Errno::LOOP));
                }
                let link = rustix::fs::readlinkat(&fd, c"", Vec::new()).map_err(refused)?;
                let link = PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes()));
                if link.is_absolute() {
                    done = PathBuf::from("/");
                }
                rest.extend(components(&link));
            }
            Err(Errno::NOENT) => {
                make(&parent, &name, directory || !rest.is_empty()).map_err(refused)?;
                made = rest.is_empty();
                done = here;
            }
            Err(errno) => return Err(refused(errno)),
        }
    }
    match open(root, &done) {
        Ok(fd) => Ok(Target { fd, made }),
        Err(errno) => Err((done, errno)),
    }
}

fn make(parent: &OwnedFd, name: &Path, directory: bool) -> rustix::io::Result<()> {
    if directory {
        return rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// The components that move, last first.
fn components(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| PathBuf::from(c.as_os_str()))
        .collect()
}
