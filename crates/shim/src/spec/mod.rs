//! From an OCI runtime spec to what is to be done, once, in the server's Create.
//!
//! Nothing behind this module sees the spec again, and nothing in the spec is dropped in silence: each field is
//! **honoured**, or **satisfied** because a wasm guest cannot reach what it is about, or **rejected** by an error
//! that names it. `docs/oci-spec.md` has the list, and a test here holds the two together. Fields that the
//! specification does not know are ignored, as it demands ("Extensibility").

mod annotations;
mod error;
mod listen;
mod mounts;
mod namespaces;
mod native;
mod plan;
mod preopens;
mod process;
mod resources;

#[cfg(test)]
mod tests;

pub use annotations::{ContainerType, Kubernetes, PREFIX};
pub use error::SpecError;
pub use mounts::{Mount, Source};
pub use namespaces::Namespaces;
pub use native::{Maker, NativeProcess, NativeSpec};
pub use plan::{Plan, Root};
pub use preopens::preopens;
pub use process::Process;
pub use resources::{MEMORY_OVERHEAD, MOST_PAGES, limits_from_json, memory_pages};
