//! containerd shim v2 that runs WebAssembly containers on a shared WAMR engine.
fn main() {}
