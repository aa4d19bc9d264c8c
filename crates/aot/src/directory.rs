//! The directory, and what must be true of it and of every file in it before anything is believed.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::{Error, Result};

/// Who else may write.
const OTHERS_WRITE: u32 = 0o022;
/// Only owners may remove or rename what is in such a directory.
const STICKY: u32 = 0o1000;

/// The opened directory. All names below are looked up in it, never by path again.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Walks to an absolute path without following a link, makes what is missing, and checks every step: nobody but the
    /// caller's user and root may be able to put something else in its place.
    pub(crate) fn open(path: &Path) -> Result<Directory> {
        let untrusted = |path: &Path, why: String| Err(Error::Untrusted { path: path.to_owned(), why });
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return untrusted(path, "give an absolute path without ..".to_owned());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = PathBuf::from("/");
        let mut fd = openat(CWD, "/", flags, Mode::empty()).map_err(|e| Error::io("open", &here, e))?;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            here.push(name);
            match mkdirat(&fd, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(Error::io("make directory", &here, e)),
            }
            fd = match openat(&fd, name, flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return untrusted(&here, "it is a symbolic link, or no directory".to_owned());
                }
                Err(e) => return Err(Error::io("open", &here, e)),
            };
            let stat = fstat(&fd).map_err(|e| Error::io("look at", &here, e))?;
            if !is_ours(&stat) {
                return untrusted(&here, format!("user {} owns it; give it to root", stat.st_uid));
            }
            let last = here == path;
            if stat.st_mode & OTHERS_WRITE != 0 && (last || stat.st_mode & STICKY == 0) {
                let why = format!("others may write to it (mode {:o}); chmod go-w", stat.st_mode & 0o7777);
                return untrusted(&here, why);
            }
        }
        Ok(Directory { fd, path: path.to_owned() })
    }

    /// Opens a file for reading if it can be trusted; `None` if it is missing. Anything else of that name is removed:
    /// a link, a file that others own or may write to, or that has a second name.
    pub(crate) fn trusted(&self, name: &str) -> Option<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let why = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => match fstat(&fd) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => "it is no file",
                Ok(stat) if !is_ours(&stat) => "others own it",
                Ok(stat) if stat.st_mode & OTHERS_WRITE != 0 => "others may write to it",
                Ok(stat) if stat.st_nlink != 1 => "it has another name, or none any more",
                Ok(stat) => return Some((File::from(fd), stat)),
                Err(_) => "it cannot be looked at",
            },
            Err(Errno::NOENT) => return None,
            Err(Errno::LOOP) => "it is a symbolic link",
            Err(_) => "it cannot be opened",
        };
        log::warn!("AOT cache: {} is not used and removed: {why}", self.path.join(name).display());
        self.remove(name);
        None
    }

    /// A trusted file's text, if it is not longer than any of ours can be.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let (file, stat) = self.trusted(name)?;
        let mut text = String::new();
        let fits = stat.st_size < 64 << 10;
        (fits && file.take(64 << 10).read_to_string(&mut text).is_ok()).then_some(text)
    }

    /// Makes a file that must not exist.
    pub(crate) fn make(&self, name: &str) -> rustix::io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
    }

    /// Opens a file to lock it, making it if need be.
    pub(crate) fn lock_file(&self, name: &str) -> rustix::io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(&self.fd, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
    }

    /// What has this name now.
    pub(crate) fn stat(&self, name: &str) -> Option<Stat> {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Removes a name; what cannot be removed stays unused.
    pub(crate) fn remove(&self, name: &str) {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => log::warn!("AOT cache: remove {}: {e}", self.path.join(name).display()),
        }
    }

    /// Names of everything in it.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let failed = |e: Errno| Error::io("list", &self.path, e);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Root's, or the caller's own: tools and tests may run as another user.
fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw()
}
