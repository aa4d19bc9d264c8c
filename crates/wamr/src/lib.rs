//! Safe API over WAMR for one guest per process.
//!
//! The life of a guest, and the process each step is made for:
//!
//! ```text
//! zygote     signals::exit_on_termination, Engine::init       once
//!   fork
//! builder    Module::load, Instance::new, image::write        no guest code runs, then the process ends
//! container  image::map_code, image::map                      or Module::load, Instance::new
//!            Instance::set_max_memory_pages, set_wasi, run    then the process ends
//! warm start image::map, set_wasi, run_until_ready,           in one process, which ends then;
//!            image::write; image::map, set_wasi, resume       in every container
//! ```
//!
//! Everything before the fork may as well happen in the container's process. No type here is `Send`:
//! WAMR's state belongs to the thread that called [`Engine::init`], and a fork keeps that thread. The fork
//! may be a raw `clone3` without the C library's knowledge.
//!
//! A guest's own threads (wasi-threads) are native threads of the container's process. [`Instance::run`]
//! returns when the main one ends, whatever the others do: the caller is expected to end the process then,
//! as a C program's return from `main` does.
//!
//! WAMR prints nothing: descriptors 1 and 2 belong to the guest.

mod code;
mod engine;
mod error;
pub mod image;
mod instance;
mod module;
mod network;
mod pages;
mod run;
pub mod signals;
mod source;
mod trap;
mod warm;
mod wasi;

/// Which addresses a guest's sockets may be used with.
pub use ::network::Policy;
pub use engine::{AOT_IDENTITY, Engine};
pub use error::Error;
pub use instance::{Instance, InstanceOptions, MemoryCap};
pub use module::{MemoryLimits, Module};
pub use run::{Entry, Outcome};
pub use source::ModuleSource;
pub use trap::Trap;
pub use wasi::{Preopen, Wasi};

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Bytes of a WebAssembly page.
pub const PAGE_SIZE: u64 = 64 * 1024;
