//! Why and where a guest was stopped.

use std::fmt;

use wamr_sys as sys;

use crate::Instance;
use crate::module::text;

/// Endless recursion has some ten thousand frames, all alike.
const SHOWN_FRAMES: u32 = 32;

/// A guest stopped by the engine. `Display` gives all of it, on several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// What happened, such as "integer divide by zero".
    pub message: String,
    /// Functions of the thread that trapped, innermost first: the name where the module has a name section
    /// or exports the function, else `$f` and its index. At most 32.
    pub call_stack: Vec<String>,
    /// Callers left out of `call_stack`.
    pub omitted: u32,
}

impl Trap {
    pub(crate) fn new(exception: &str, instance: &Instance<'_>) -> Trap {
        let message = exception.strip_prefix("Exception: ").unwrap_or(exception);
        // SAFETY: the execution environment lives as long as the instance.
        let depth = unsafe { sys::glue_trap_depth(instance.exec_env) };
        let call_stack: Vec<String> = (0..depth.min(SHOWN_FRAMES))
            .filter_map(|frame| {
                let mut function = 0;
                let mut name = std::ptr::null();
                // SAFETY: two valid pointers; the name ends with NUL and belongs to the module.
                unsafe {
                    sys::glue_trap_frame(instance.exec_env, frame, &mut function, &mut name)
                        .then(|| if name.is_null() { format!("$f{function}") } else { text(name) })
                }
            })
            .collect();
        Trap {
            message: if message.is_empty() { "unknown trap".to_owned() } else { message.to_owned() },
            omitted: depth.saturating_sub(SHOWN_FRAMES),
            call_stack,
        }
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasm trap: {}", self.message)?;
        for (number, function) in self.call_stack.iter().enumerate() {
            write!(f, "\n  #{number} {function}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n  ... and {} callers", self.omitted)?;
        }
        Ok(())
    }
}
