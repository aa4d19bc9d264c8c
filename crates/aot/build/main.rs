//! Puts the compiler's fingerprint into the crate: see `src/compiler.rs`.

// A build script reports by panicking.
#![allow(clippy::panic)]

mod fingerprint;

fn main() {
    let compiler = fingerprint::of_the_compiler();
    for path in &compiler.paths {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rustc-env=AOTC_FINGERPRINT={}", compiler.digest);
}
