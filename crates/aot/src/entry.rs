//! The files of one key: `<name>.aot`, the code; `<name>.key`, the sidecar, which says what the code is and what its bytes
//! are; `<name>.failed` instead, where there is no code to be had.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{Stat, Timestamps, futimens};
use sha2::{Digest, Sha256};

use crate::Key;
use crate::directory::Directory;
use crate::key::hex;

pub(crate) const CODE: &str = "aot";
pub(crate) const SIDECAR: &str = "key";
pub(crate) const FAILED: &str = "failed";
/// How exact the time of the last use is kept.
const USE: Duration = Duration::from_secs(60);

/// What tools show of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key's name.
    pub name: String,
    /// What the sidecar says, one property a line; empty if it says nothing.
    pub text: String,
    /// Bytes on disk, of all its files.
    pub size: u64,
    /// When it was last used.
    pub used: SystemTime,
    /// Whether it can be used.
    pub state: State,
}

/// Whether there is code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The bytes are those that were put in.
    Good,
    /// They are not, or parts are missing: it will not be used.
    Damaged,
    /// The compiler could not; its reason.
    Failed(String),
}

pub(crate) fn file_name(name: &str, ending: &str) -> String {
    format!("{name}.{ending}")
}

/// The sidecar's text.
pub(crate) fn sidecar(key: &Key, digest: &[u8; 32], size: u64) -> String {
    format!("{}code sha256:{} {size}\n", key.text(), hex(digest))
}

/// What a sidecar says: the key's text, and digest and size of the code.
pub(crate) struct Said<'a> {
    pub(crate) key: &'a str,
    digest: &'a str,
    size: u64,
}

impl<'a> Said<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Said<'a>> {
        let start = text.rfind("\ncode sha256:")? + 1;
        let (key, code) = (text.get(..start)?, text.get(start..)?);
        let (digest, size) = code.strip_prefix("code sha256:")?.strip_suffix('\n')?.split_once(' ')?;
        Some(Said { key, digest, size: size.parse().ok()? })
    }

    /// Whether these are the bytes.
    pub(crate) fn matches(&self, file: &File, stat: &Stat) -> bool {
        u64::try_from(stat.st_size).is_ok_and(|size| size == self.size)
            && digest(file).is_ok_and(|(digest, size)| size == self.size && hex(&digest) == self.digest)
    }
}

/// SHA-256 and length of all bytes of a file.
pub(crate) fn digest(file: &File) -> std::io::Result<([u8; 32], u64)> {
    let mut reader = file.try_clone()?;
    std::io::Seek::rewind(&mut reader)?;
    let (mut hasher, mut buffer, mut size) = (Sha256::new(), vec![0; 128 << 10], 0);
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), size)),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += read as u64;
    }
}

/// Marks a key as used now; the sidecar's time of change is the time of the last use.
pub(crate) fn mark_used(sidecar: &File, stat: &Stat) {
    if modified(stat).elapsed().is_ok_and(|age| age < USE) {
        return;
    }
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    // A file system that is read-only or full can only forget the order of use.
    let _ = futimens(sidecar.as_fd(), &Timestamps { last_access: now, last_modification: now });
}

pub(crate) fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

impl Entry {
    /// Looks at everything that has this name, bytes included.
    pub(crate) fn read(directory: &Directory, name: &str) -> Option<Entry> {
        let stats: Vec<Stat> =
            [CODE, SIDECAR, FAILED].iter().filter_map(|e| directory.stat(&file_name(name, e))).collect();
        let used = stats.iter().map(modified).max()?;
        let size = stats.iter().map(|stat| u64::try_from(stat.st_size).unwrap_or(0)).sum();
        if let Some(failed) = directory.text(&file_name(name, FAILED)) {
            let (text, reason) = failed.split_once("\n\n").unwrap_or(("", &failed));
            let state = State::Failed(reason.trim_end().to_owned());
            return Some(Entry { name: name.to_owned(), text: text.to_owned(), size, used, state });
        }
        let text = directory.text(&file_name(name, SIDECAR)).unwrap_or_default();
        let code = directory.trusted(&file_name(name, CODE));
        let said = Said::parse(&text);
        let good =
            said.as_ref().zip(code.as_ref()).is_some_and(|(said, (file, stat))| said.matches(file, stat));
        let text = said.map_or(String::new(), |said| said.key.to_owned());
        let state = if good { State::Good } else { State::Damaged };
        Some(Entry { name: name.to_owned(), text, size, used, state })
    }
}
