//! A container's numbers in containerd's messages: the type of the cgroup version in force, because CRI refuses to
//! list any container's statistics once one of them has the other type.

mod v1;
mod v2;

use protobuf::MessageFull;
use protobuf::well_known_types::any::Any;

use crate::error::{Error, Result};

/// The answer to `Stats`.
///
/// # Errors
/// When it cannot be encoded.
pub fn message(stats: &cgroup::Stats) -> Result<Any> {
    match stats {
        cgroup::Stats::V1(stats) => pack(&v1::metrics(stats)),
        cgroup::Stats::V2(stats) => pack(&v2::metrics(stats)),
    }
}

/// Under the bare name of the message, as containerd's typeurl has it.
fn pack<M: MessageFull>(message: &M) -> Result<Any> {
    let value = message.write_to_bytes().map_err(|e| Error::Internal(format!("encode metrics: {e}")))?;
    Ok(Any { type_url: M::descriptor().full_name().to_owned(), value, ..Any::default() })
}
