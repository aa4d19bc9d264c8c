//! From a root file system to the wasm module to run.
