//! What can go wrong with the cache, in the operator's words.

use std::io;
use std::path::{Path, PathBuf};

/// Why the cache cannot be used. A file in it that cannot be used is no error: it is as good as absent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory, or one above it, could be changed by somebody else.
    #[error("the AOT cache {path} cannot be trusted: {why}", path = .path.display())]
    Untrusted {
        /// The directory at fault.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The kernel refused.
    #[error("{doing} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The compiler left something that is no AOT file.
    #[error("the compiler wrote no AOT file: {0}")]
    NotAot(&'static str),
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
        Error::Io { doing, path: path.to_owned(), source: source.into() }
    }
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;
