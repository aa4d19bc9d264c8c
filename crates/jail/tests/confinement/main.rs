//! What a confined process can and cannot do, tried by processes that really are confined.
//!
//! Needs root. Every test runs in a process of one thread, one test after the other: they fork, and a fork
//! of a process with several threads may find locks that nobody will release. After each test the host must
//! look as before: same mounts, same open descriptors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod descriptors;
mod harness;
mod helpers;
mod host;
mod listen;
mod mounts;
mod namespaces;
mod powers;
mod roots;
mod system_calls;

fn main() {
    let tests: Vec<harness::Test> = [
        roots::TESTS,
        mounts::TESTS,
        namespaces::TESTS,
        powers::TESTS,
        descriptors::TESTS,
        listen::TESTS,
        system_calls::TESTS,
        helpers::TESTS,
        host::TESTS,
    ]
    .concat();
    harness::run(&tests);
}
