//! What can go wrong between a container's file system and its module, in the user's words.

use std::io;
use std::path::PathBuf;

use crate::Kind;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no module to run. Every path is as seen inside the container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing exists at the path.
    #[error("{path:?} does not exist in the container")]
    NotFound {
        /// The path asked for.
        path: PathBuf,
    },
    /// Symbolic links that lead in a circle, or too many of them.
    #[error("{path:?} goes through more than 40 symbolic links")]
    Loop {
        /// The path asked for.
        path: PathBuf,
    },
    /// More directories below each other than are opened on a container's behalf.
    #[error("{path:?} is more than {depth} directories deep")]
    TooDeep {
        /// The path asked for.
        path: PathBuf,
        /// The most that is followed.
        depth: usize,
    },
    /// Something else than a file.
    #[error("{path:?} is a {kind}, not a regular file; name the .wasm file to run")]
    NotRegular {
        /// The path asked for.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The kernel refused.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No command at all, or one that can not name a file.
    #[error("the container's command {name:?} cannot name a file: {why}")]
    BadName {
        /// First argument of the process.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A command that is found nowhere.
    #[error("no module for the container's command {name:?}; looked at: {}", join(.tried))]
    NoModule {
        /// First argument of the process.
        name: String,
        /// Every path looked at and why it was not taken.
        tried: Vec<Error>,
    },
    /// A file that is no core wasm module.
    #[error("{path:?} {}", .kind.refusal())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        kind: Kind,
    },
    /// A module larger than the configuration allows.
    #[error("{path:?} has {size} bytes; the limit (max_module_size) is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A module that was written to while it was being read.
    #[error("{path:?} changed while it was being read; start the container again once it is complete")]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Error {
        Error::Io { action, path: path.into(), source: source.into() }
    }

    /// Whether the process or the host has run out of something.
    pub(crate) fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let Error::Io { source, .. } = self else { return false };
        let errno = Errno::from_io_error(source);
        errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOMEM].contains(&errno))
    }
}

fn join(tried: &[Error]) -> String {
    tried.iter().map(Error::to_string).collect::<Vec<_>>().join("; ")
}
