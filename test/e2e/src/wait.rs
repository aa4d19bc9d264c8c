//! Waiting for things to become true, on a machine that may be busy.

use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Far more than needed: no test measures time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long forms of tests are asked for, as `make test-load` does.
pub fn full() -> bool {
    std::env::var_os("WAMR_TEST_FULL").is_some()
}

/// Asks until the answer is there.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, Duration::from_millis(20), what, ask)
}

/// Asks every `pause` until the answer is there.
///
/// # Panics
/// After `patience`, naming what was waited for.
pub fn wait_within<T>(
    patience: Duration,
    pause: Duration,
    what: &str,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited {patience:?} in vain for {what}");
        std::thread::sleep(pause);
    }
}

/// Asks until it is true.
///
/// # Panics
/// After [`PATIENCE`], naming what was waited for.
pub fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    wait_for(what, || ask().then_some(()));
}
