//! What confines a wasm process: namespaces, mounts, credentials, seccomp.

mod confinement;

pub use confinement::{Attach, Confinement, Descriptors, NamespaceKind, Namespaces, User};
