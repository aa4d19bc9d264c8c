//! Work that blocks, away from the threads that serve calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Runs what may block where it may. A panic there is this call's error and nobody else's.
///
/// On a host that grants no more threads it runs on the caller's, which serves nobody else meanwhile: what deletes and
/// kills must work then, above all.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    // The pool panics when it gets no thread, and keeps the work to do it some day: whoever takes it first does it.
    let work = Arc::new(Mutex::new(Some(work)));
    let offered = Arc::clone(&work);
    let spawned = catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(move || run(&offered))));
    let done = match spawned {
        Ok(running) => running.await.map_err(|e| e.to_string()),
        Err(_) => catch_unwind(AssertUnwindSafe(|| run(&work))).map_err(|_| "a panic".to_owned()),
    };
    match done {
        Ok(Some(result)) => result,
        Ok(None) => Err(Error::Internal("a bug in the shim: work was done twice".to_owned())),
        Err(why) => Err(Error::Internal(format!("a bug in the shim: {why}"))),
    }
}

fn run<T>(work: &Mutex<Option<impl FnOnce() -> Result<T>>>) -> Option<Result<T>> {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    work.map(|work| work())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn work_is_done_and_its_panic_is_an_error() {
        assert_eq!(wait(blocking(|| Ok(7))).unwrap(), 7);
        let error = wait(blocking(|| -> Result<()> { panic!("on purpose") })).unwrap_err();
        assert!(error.to_string().starts_with("a bug in the shim"), "{error}");
    }

    #[test]
    fn what_one_has_taken_no_other_does() {
        let work = Mutex::new(Some(|| Ok(1)));
        assert!(run(&work).unwrap().is_ok());
        assert!(run(&work).is_none());
    }
}
