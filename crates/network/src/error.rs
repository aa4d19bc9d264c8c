//! Why a name has no address.

/// What a resolver cannot do. A name that does not exist is no error: it has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a name of the domain name system.
    #[error("it is not a host name: letters, digits, '-' and '_', at most 63 in a row and 253 in all")]
    NotAName,
    /// No port is known by this name.
    #[error("no port is known for this service")]
    NoSuchService,
    /// The policy allows none of the name servers.
    #[error("the pod's policy allows none of its name servers")]
    Forbidden,
    /// No name server answered, or all are in trouble.
    #[error("no name server has an answer")]
    TryAgain,
    /// The caller does not want to know any more.
    #[error("interrupted")]
    Stopped,
}
