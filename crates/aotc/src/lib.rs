//! WAMR's ahead-of-time compiler: one wasm module in, one AOT file for this very processor out.
//!
//! Empty without the feature `llvm`. It is as exposed to hostile modules as the runtime's loader, and larger: only
//! `wamr-aotc` uses it, in a process that is confined and ends with the module.

#[cfg(feature = "llvm")]
mod compile;

#[cfg(feature = "llvm")]
pub use compile::{Compiler, Error};

/// The build of WAMR that the code is for, as the runtime's own `wamr::AOT_IDENTITY`: only where both agree may the code
/// be used.
#[cfg(feature = "llvm")]
pub const IDENTITY: &str = env!("WAMR_IDENTITY");
