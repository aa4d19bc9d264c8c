//! What confines a wasm process: namespaces, mounts, credentials, seccomp.
