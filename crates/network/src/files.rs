//! Small text files of a container, whatever its image put in their place.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// More than any of these files has; the rest is not looked at.
const MOST: u64 = 256 << 10;

/// The text of a regular file; empty when it cannot be read. Never waits, as for the writer of a FIFO.
pub(crate) fn text(path: &Path) -> String {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path);
    let Ok(file) = file else { return String::new() };
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return String::new();
    }
    let mut bytes = Vec::new();
    let _ = file.take(MOST).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
