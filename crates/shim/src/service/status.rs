//! From our errors to gRPC codes: the one place.

use ttrpc::proto::Code;

use crate::error::Error;

/// What goes over the wire.
pub fn status(error: &Error) -> ttrpc::Error {
    let code = match error {
        Error::Invalid(_) => Code::INVALID_ARGUMENT,
        Error::NotFound(_) => Code::NOT_FOUND,
        Error::Exists(_) => Code::ALREADY_EXISTS,
        Error::State(_) => Code::FAILED_PRECONDITION,
        Error::Unimplemented(_) => Code::UNIMPLEMENTED,
        Error::Exhausted(_) => Code::RESOURCE_EXHAUSTED,
        Error::Internal(_) => Code::INTERNAL,
    };
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, error.to_string()))
}
