//! `wamrctl`, as a person uses it.

use std::time::Duration;

use serde_json::Value;

use crate::components::shim_folder;
use crate::program::{Output, run_within};
use crate::{Bed, guest};

/// Compiling takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs it where the bed's shims are.
///
/// # Panics
/// When it was not built, or does not end.
pub fn wamrctl(bed: &Bed, args: &[&str]) -> Output {
    let program = shim_folder().join("wamrctl");
    assert!(program.exists(), "{} is missing: run deploy/build.sh test-release", program.display());
    let mut command = bed.beside(&program);
    command.env("CONTAINERD_ADDRESS", bed.socket()).args(args);
    run_within(PATIENCE, &mut command, b"")
}

/// What it prints with `--json`, one value a line, and its exit code.
///
/// # Panics
/// As [`wamrctl`], and when it prints something else.
pub fn wamrctl_json(bed: &Bed, args: &[&str]) -> (Vec<Value>, i32) {
    let output = wamrctl(bed, &[&["--json"], args].concat());
    let values = output.text().lines().map(serde_json::from_str).collect::<Result<_, _>>();
    (values.unwrap_or_else(|e| panic!("{e}: {output:?}")), output.code)
}

/// The digest of a guest's module, as tools write it.
pub fn guest_digest(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(guest(name));
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
