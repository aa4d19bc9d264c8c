//! Waiting for a cluster, which takes its time: its parts ask each other every few seconds.

use std::time::Duration;

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Asks until the answer is there.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    e2e::wait_within(PATIENCE, Duration::from_millis(100), what, ask)
}

/// Asks until it is true.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    wait_for(what, || ask().then_some(()));
}
