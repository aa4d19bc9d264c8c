//! Entering the guest, and what came of it.

use wamr_sys as sys;

use crate::engine::repair_cached_thread_id;
use crate::module::text;
use crate::{Error, Instance, Result, Trap};

/// Where to enter a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// `_start`, as WASI commands have it.
    Start,
    /// An exported function that takes no arguments. A reactor's `_initialize` runs before it. A single
    /// `i32` result is the exit code; other results are ignored.
    Export(&'a str),
}

impl Entry<'_> {
    fn name(&self) -> &str {
        match self {
            Entry::Start => "_start",
            Entry::Export(name) => name,
        }
    }
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It returned (0, or see [`Entry::Export`]) or called `proc_exit`. As for any Linux process only the
    /// low eight bits of the code count: 0 to 255.
    Exited(u32),
    /// It was stopped.
    Trapped(Trap),
}

/// WAMR's exception text after `proc_exit`.
const PROC_EXIT: &str = "wasi proc exit";

impl Instance<'_> {
    /// Whether [`Instance::run`] can enter there. Runs nothing.
    ///
    /// # Errors
    /// [`Error::NoEntry`] or [`Error::EntryType`].
    pub fn check_entry(&self, entry: &Entry<'_>) -> Result<()> {
        self.entry_function(entry).map(|_| ())
    }

    /// Runs the module's start function if it has one (once), then the entry, until the main thread ends.
    ///
    /// # Errors
    /// Those of [`Instance::check_entry`], before any guest code ran.
    pub fn run(&mut self, entry: &Entry<'_>) -> Result<Outcome> {
        let function = self.entry_function(entry)?;
        repair_cached_thread_id();
        // SAFETY: the instance exists.
        unsafe { sys::wasm_runtime_clear_exception(self.raw) };

        if !self.initialised {
            self.initialised = true;
            if let Some(outcome) = self.initialise(entry) {
                return Ok(outcome);
            }
        }
        let result_types = self.result_types(function);
        // A result has four cells of 32 bits at most (v128).
        let mut results = vec![0u32; 4 * result_types.len().max(1)];
        if let Some(outcome) = self.call(function, &mut results) {
            return Ok(outcome);
        }
        Ok(returned(&result_types, results.first().copied()))
    }

    pub(crate) fn result_types(&self, function: sys::wasm_function_inst_t) -> Vec<u8> {
        // SAFETY: `function` is of this instance; the types are written to as many elements as there are.
        unsafe {
            let count = sys::wasm_func_get_result_count(function, self.raw);
            let mut types = vec![0u8; count as usize];
            sys::wasm_func_get_result_types(function, self.raw, types.as_mut_ptr());
            types
        }
    }

    pub(crate) fn entry_function(&self, entry: &Entry<'_>) -> Result<sys::wasm_function_inst_t> {
        let name = entry.name();
        let function = self.function(name).ok_or_else(|| Error::NoEntry(name.to_owned()))?;
        // SAFETY: `function` is of this instance.
        let (arguments, results) = unsafe {
            (
                sys::wasm_func_get_param_count(function, self.raw),
                sys::wasm_func_get_result_count(function, self.raw),
            )
        };
        if arguments != 0 {
            return Err(Error::EntryType(name.to_owned(), "it takes arguments"));
        }
        if matches!(entry, Entry::Start) && results != 0 {
            return Err(Error::EntryType(name.to_owned(), "it returns a value"));
        }
        Ok(function)
    }

    /// `Some` if the guest ended while it was initialising.
    fn initialise(&self, entry: &Entry<'_>) -> Option<Outcome> {
        // SAFETY: the instance and its execution environment exist.
        if !unsafe { sys::glue_run_start_function(self.raw, self.exec_env) } {
            return Some(self.ended());
        }
        let initialize = self.initialize_function(entry)?;
        self.call(initialize, &mut [0])
    }

    /// What is called before `entry`.
    pub(crate) fn initialize_function(&self, entry: &Entry<'_>) -> Option<sys::wasm_function_inst_t> {
        if *entry == Entry::Start || *entry == Entry::Export("_initialize") {
            return None;
        }
        let initialize = self.function("_initialize")?;
        // SAFETY: `initialize` is of this instance.
        let arguments = unsafe {
            sys::wasm_func_get_param_count(initialize, self.raw)
                + sys::wasm_func_get_result_count(initialize, self.raw)
        };
        (arguments == 0).then_some(initialize)
    }

    /// `Some` if the guest ended in the call, `None` if the call returned.
    fn call(&self, function: sys::wasm_function_inst_t, results: &mut [u32]) -> Option<Outcome> {
        // SAFETY: the function takes no arguments and is of this instance, whose execution environment
        // this is; `results` has room for what it returns.
        let returned =
            unsafe { sys::wasm_runtime_call_wasm(self.exec_env, function, 0, results.as_mut_ptr()) };
        (!returned).then(|| self.ended())
    }

    /// How a guest ended that did not return.
    pub(crate) fn ended(&self) -> Outcome {
        // SAFETY: the instance exists, and WAMR's text ends with NUL.
        let exception = unsafe { text(sys::wasm_runtime_get_exception(self.raw)) };
        if exception.contains(PROC_EXIT) {
            // SAFETY: the instance exists.
            return Outcome::Exited(unsafe { sys::glue_wasi_exit_code(self.raw) } & 0xff);
        }
        Outcome::Trapped(Trap::new(&exception, self))
    }
}

/// What an entry with results of these types returned, of which `first` is the first cell.
pub(crate) fn returned(result_types: &[u8], first: Option<u32>) -> Outcome {
    let is_code = matches!(result_types, [kind] if u32::from(*kind) == sys::wasm_valkind_enum_WASM_I32);
    Outcome::Exited(if is_code { first.unwrap_or(0) & 0xff } else { 0 })
}
