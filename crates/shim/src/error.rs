//! What containerd is told when a call fails.

/// Why a call failed. The kind decides the gRPC code (in [`crate::service::status`], nowhere else); the text
/// is for the person who reads `kubectl describe` or `ctr`'s output.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for something that makes no sense or that this runtime will not do.
    #[error("{0}")]
    Invalid(String),
    /// No such container or process, or it has ended already.
    #[error("{0}")]
    NotFound(String),
    /// The id is taken.
    #[error("{0}")]
    Exists(String),
    /// Right call, wrong moment.
    #[error("{0}")]
    State(String),
    /// Not offered.
    #[error("{0}")]
    Unimplemented(String),
    /// A resource of the host ran out.
    #[error("{0}")]
    Exhausted(String),
    /// It should have worked.
    #[error("{0}")]
    Internal(String),
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An input or output error: running out of something is told apart from the rest.
    pub fn io(doing: impl std::fmt::Display, error: &std::io::Error) -> Error {
        let text = format!("{doing}: {error}");
        match rustix::io::Errno::from_io_error(error) {
            Some(
                rustix::io::Errno::NOSPC
                | rustix::io::Errno::MFILE
                | rustix::io::Errno::NFILE
                | rustix::io::Errno::NOMEM
                | rustix::io::Errno::AGAIN
                | rustix::io::Errno::DQUOT,
            ) => Error::Exhausted(text),
            _ => Error::Internal(text),
        }
    }
}
