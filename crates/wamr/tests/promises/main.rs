//! What this crate promises, each promise as a test with a guest of its own. Every guest runs in a process
//! of its own, because the engine, its signal handlers and its descriptors are the process's.

// Helpers of tests are tests too; clippy.toml's exemption covers only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod compiled;
mod harness;

mod images;
mod large;
mod load;
mod memory;
mod run;
mod signals;
mod sockets;
mod threads;
mod warm;
mod wasi;
