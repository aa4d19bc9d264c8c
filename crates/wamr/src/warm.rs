//! Guests that are started once and go on in many processes.
//!
//! A guest that is slow to start says when it is ready, by asking for the state of a file named `.warm-start` (`glue/warm.c`). In the one
//! process that runs it up to there the call does not return: the process writes an [image](crate::image) with the guest
//! in the middle of that call. It returns in every process that maps the image, and says that the file exists.
//!
//! What such copies share is the guest's linear memory, its globals and its stack. What they do not share, because each
//! process gives its own, are descriptors, arguments, environment, clocks and randomness: a guest that has asked for those
//! before knows the first process's.

use std::ffi::CStr;

use wamr_sys as sys;

use crate::engine::repair_cached_thread_id;
use crate::pages::Pages;
use crate::run::returned;
use crate::{Entry, Error, Instance, Outcome, Result};

impl Instance<'_> {
    /// Runs the start function and the entry until the guest is ready. It can then be written to an image; not even
    /// this process can go on with it otherwise.
    ///
    /// # Errors
    /// Those of [`Instance::check_entry`]; [`Error::NotCopied`] when the guest ended before, or did what cannot be shared.
    pub fn run_until_ready(&mut self, entry: &Entry<'_>) -> Result<()> {
        let function = self.entry_function(entry)?;
        let run = sys::glue_warm_run {
            instance: self.raw,
            exec_env: self.exec_env,
            initialize: self.initialize_function(entry).unwrap_or(std::ptr::null_mut()),
            entry: function,
            result_count: self.result_types(function).len() as u32,
        };
        repair_cached_thread_id();
        // SAFETY: the instance exists and has not run; all functions are its own.
        let outcome = unsafe {
            sys::wasm_runtime_clear_exception(self.raw);
            sys::glue_warm_begin(&run)
        };
        self.initialised = true;
        let why = match outcome {
            sys::glue_warm_outcome_GLUE_WARM_READY => refusal(),
            sys::glue_warm_outcome_GLUE_WARM_NO_MEMORY => Some("there is no memory for its stack".to_owned()),
            sys::glue_warm_outcome_GLUE_WARM_RETURNED => {
                Some("it returned without saying that it is ready".to_owned())
            }
            _ => Some(match self.ended() {
                Outcome::Exited(code) => format!("it exited with {code} without saying that it is ready"),
                Outcome::Trapped(trap) => format!("before it said that it is ready: {trap}"),
            }),
        };
        why.map_or(Ok(()), |why| Err(Error::NotCopied(why)))
    }

    /// Goes on with a guest at its ready point, of an image that was mapped, until its main thread ends. `entry` is where
    /// it was entered.
    ///
    /// # Errors
    /// Those of [`Instance::check_entry`]; [`Error::ForeignImage`] when the image is of a guest that has not run.
    pub fn resume(&mut self, entry: &Entry<'_>) -> Result<Outcome> {
        let result_types = self.result_types(self.entry_function(entry)?);
        repair_cached_thread_id();
        // SAFETY: the image put the guest's stack and registers where they were.
        let outcome = unsafe { sys::glue_warm_resume() };
        match outcome {
            sys::glue_warm_outcome_GLUE_WARM_RETURNED => {
                // SAFETY: room for all results and one more.
                let first = unsafe { *sys::glue_warm_results() };
                Ok(returned(&result_types, Some(first)))
            }
            sys::glue_warm_outcome_GLUE_WARM_FAILED => Ok(self.ended()),
            _ => Err(Error::ForeignImage),
        }
    }
}

fn refusal() -> Option<String> {
    // SAFETY: a string of the engine's that ends with NUL; nobody writes to it now.
    let text = unsafe { CStr::from_ptr(sys::glue_warm_refusal()) };
    (!text.is_empty()).then(|| text.to_string_lossy().into_owned())
}

/// Pages below the guest's stack, which nobody may touch.
pub(crate) fn guard() -> Pages {
    // SAFETY: always sound.
    let guard = unsafe { sys::glue_warm_guard() };
    Pages { start: guard.start as u64, end: guard.end as u64 }
}
