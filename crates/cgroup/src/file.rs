//! Reading and writing the files of a cgroup.

use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{Error, Result};

/// Opens for writing. Never creates: a missing file is a feature the kernel does not have.
pub(crate) fn open_for_write(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Writes in one call, as cgroupfs wants it: each `write` is one command.
pub(crate) fn write(path: &Path, value: &str) -> Result<(), Errno> {
    let fd = open_for_write(path)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Reads a whole file. cgroupfs files report a size of 0, so nothing is gained by asking for it as the
/// standard library does.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        bytes.reserve(2048);
        let count =
            rustix::io::retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes)))?;
        if count == 0 {
            break;
        }
    }
    String::from_utf8(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Reads a file that may not be there: another kernel, or the cgroup is gone. Anything else wrong with it is
/// as good as absent to those who read numbers.
pub(crate) fn read_if_there(path: &Path) -> Option<String> {
    read(path).ok()
}

/// Reads a file that holds one number; `None` if it is missing or says `max`.
pub(crate) fn read_number(path: &Path) -> Option<u64> {
    read_if_there(path)?.trim().parse().ok()
}

/// Whether a file is not there because its cgroup was removed: by path there is none then, through an open
/// descriptor, or while it is opened, no device.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NODEV].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The number beside a key in text of lines `key number`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Writes a limit. `limit` is the name its user knows it by.
pub(crate) fn set(directory: &Path, name: &str, limit: &'static str, value: &str) -> Result<()> {
    let file = directory.join(name);
    write(&file, value).map_err(|errno| match errno {
        Errno::NOENT => Error::NoFile { limit, value: value.to_owned(), file },
        errno => Error::Refused { limit, value: value.to_owned(), file, source: errno.into() },
    })
}

/// Whether the kernel offers a file.
pub(crate) fn exists(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_matched_as_a_whole() {
        assert_eq!(keyed("oom 3\noom_kill 4\n", "oom_kill"), Some(4));
        assert_eq!(keyed("oom_kill_disable 1\noom_kill 4\n", "oom_kill"), Some(4));
        assert_eq!(keyed("oom_kill x\n", "oom_kill"), None);
    }
}
