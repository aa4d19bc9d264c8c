//! The server's log: a file beside its sockets, bounded, kept when the server dies.

use std::fs::{File, OpenOptions, rename};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

use crate::exit::Instant;

/// After so many bytes the file is renamed to `log.old` and begun anew.
const LONGEST: u64 = 1 << 20;

struct LogFile {
    path: PathBuf,
    open: Mutex<Option<(File, u64)>>,
}

/// Sends what is logged in this process to `path`.
pub fn install(path: &Path, level: LevelFilter) {
    let log = LogFile { path: path.to_owned(), open: Mutex::new(None) };
    // Fails only if a logger is installed already.
    if log::set_boxed_logger(Box::new(log)).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for LogFile {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The libraries speak of every connection that ends.
        metadata.target().starts_with("shim") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = Instant::now();
        let line =
            format!("{}.{:03} {:5} {}\n", now.seconds, now.nanos / 1_000_000, record.level(), record.args());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, LONGEST..)) = *open {
            *open = None;
            let _ = rename(&self.path, self.path.with_extension("old"));
        }
        if open.is_none() {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path);
            *open = file
                .ok()
                .and_then(|file| Some((file.metadata().ok()?.len(), file)))
                .map(|(n, file)| (file, n));
        }
        if let Some((file, written)) = open.as_mut() {
            // A full disk costs the line, nothing else.
            if file.write_all(line.as_bytes()).is_ok() {
                *written += line.len() as u64;
            }
        }
    }

    fn flush(&self) {}
}
