//! Bounded waiting for the kernel.

use std::time::{Duration, Instant};

/// Calls `done` until it gives something or the time is over, sleeping longer each time: most things here
/// take a fraction of a millisecond, and what takes longer must not keep a processor busy.
pub(crate) fn until<T>(limit: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_micros(50);
    loop {
        if let Some(result) = done() {
            return Some(result);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}
