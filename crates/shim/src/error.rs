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
        if is_shortage(error) { Error::Exhausted(text) } else { Error::Internal(text) }
    }

    /// What a library says, in its words: of the given kind, unless the host ran out of something.
    pub fn of(error: impl std::error::Error + 'static, kind: fn(String) -> Error) -> Error {
        Error::because(error.to_string(), &error, kind)
    }

    /// The same with other words.
    pub fn because(
        text: String,
        error: &(dyn std::error::Error + 'static),
        kind: fn(String) -> Error,
    ) -> Error {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.downcast_ref::<std::io::Error>().is_some_and(is_shortage) {
                return Error::Exhausted(text);
            }
            cause = error.source();
        }
        kind(text)
    }
}

fn is_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_shortage_of_the_host_is_told_from_a_fault_of_the_request() {
        let wrapped = |errno| image::Error::Io {
            action: "open",
            path: "/a".into(),
            source: io::Error::from_raw_os_error(errno),
        };
        let short = Error::of(wrapped(libc::EMFILE), Error::Invalid);
        assert!(matches!(&short, Error::Exhausted(text) if text.contains("/a")), "{short:?}");
        assert!(matches!(Error::of(wrapped(libc::EACCES), Error::Invalid), Error::Invalid(_)));
    }
}
