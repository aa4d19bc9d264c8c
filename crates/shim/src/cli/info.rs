//! `-info`: what this runtime is, for containerd 2.2 and later and for Docker.

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::{Message, MessageField};

/// Name under which containerd knows this runtime.
pub const RUNTIME: &str = "io.containerd.wamr.v1";

/// The encoded `RuntimeInfo`.
///
/// # Errors
/// When it cannot be encoded.
pub fn info() -> Result<Vec<u8>, String> {
    let version = RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: format!("containerd-shim-wamr (shared engine), WAMR {}", zygote::engine_version()),
        ..RuntimeVersion::default()
    };
    let info = RuntimeInfo {
        name: RUNTIME.to_owned(),
        version: MessageField::some(version),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().map_err(|e| format!("encode RuntimeInfo: {e}"))
}

/// The text of `-v`.
pub fn version(program: &str) -> String {
    format!(
        "{program}:\n  Version:  {}\n  Runtime:  {RUNTIME}\n  Engine:   WAMR {}\n",
        env!("CARGO_PKG_VERSION"),
        zygote::engine_version()
    )
}
