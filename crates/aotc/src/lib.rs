//! WAMR's ahead-of-time compiler: one wasm module in, one AOT file for this very processor out.
//!
//! A large module's functions are compiled in several processes ([`Compiler`]), which are forks of this one and as confined,
//! and the objects that come of it are put together (`merge`).
//!
//! Empty without the feature `llvm`, but for what needs no LLVM. It is as exposed to hostile modules as the runtime's
//! loader, and larger: only `wamr-aotc` uses it, in a process that is confined and ends with the module.

#[cfg(any(feature = "llvm", test))]
mod elf;
#[cfg(any(feature = "llvm", test))]
mod merge;
#[cfg(any(feature = "llvm", test))]
mod parts;
#[cfg(any(feature = "llvm", test))]
mod workers;

#[cfg(feature = "llvm")]
mod compile;
#[cfg(feature = "llvm")]
mod ffi;

#[cfg(feature = "llvm")]
pub use compile::{Compiler, Error};

/// The build of WAMR that the code is for, as the runtime's own `wamr::AOT_IDENTITY`: only where both agree, and on
/// [`aot::COMPILER`], may the code be used.
#[cfg(feature = "llvm")]
pub const IDENTITY: &str = env!("WAMR_IDENTITY");
