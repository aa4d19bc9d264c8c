//! What can go wrong, in the server's words.

use std::io;

/// Why a native container or process could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The helper could not be started or spoken to.
    #[error("{doing}: {source}")]
    Helper {
        /// What was tried.
        doing: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The helper said why not.
    #[error("{0}")]
    Refused(String),
    /// The helper ended without an answer, or gave none in time.
    #[error("{0}")]
    Silent(String),
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn helper<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::Helper { doing, source: source.into() }
    }
}

/// All of an error's causes in one line. Those whose text the one before has already are left out.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = next.source();
    }
    words
}
