//! The warm process wasm containers are forked from, and the protocol between it and the server.
//!
//! The server (multi-threaded, host mount namespace) starts one zygote and asks it to fork. The zygote is
//! single-threaded, lives in a mount namespace that holds next to nothing, and has WAMR initialised, so a
//! forked child inherits a ready engine copy-on-write. Children are forked with `CLONE_PARENT`: their
//! parent is the server, which reaps them by pidfd.
//!
//! ```text
//! server                          zygote                    container process
//!   | -- ForkRequest + fds ----->  |                              |
//!   |                              | -- clone3(CLONE_PARENT) ---> |
//!   | <-- Forked + pidfd --------  |                              | confine, map or load
//!   | <------------------------- Ready | Failed ----------------- |
//!   | -------------------------- start byte --------------------> | run
//! ```
//!
//! What is mapped is an image, made once per module by another child, a *builder*: confined like a container, it
//! loads and instantiates, writes its state into a file that the server gave it, and ends ([`Guest::Template`]).
//! Neither the server nor the zygote looks into that file.
//!
//! `server half`: [`Zygote`], [`Forked`]. `zygote half`: [`serve`].

mod builder;
mod code;
mod container;
mod frame;
mod gate;
mod last_child;
mod memory;
mod request;
mod serve;
mod server_half;
mod signal;

pub use gate::{Gate, MemoryCap, Ready};
pub use memory::give_free_memory_back;
pub use request::{Entry, ForkRequest, Guest, Preopen, Template, Wasm};
pub use serve::serve;
pub use server_half::{ForkDescriptors, Forked, Zygote};
pub use signal::{is_over, signal};

/// What can go wrong between server and zygote, in the server's words.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The zygote could not be started.
    #[error("start the zygote: {0}")]
    Spawn(std::io::Error),
    /// The zygote's socket failed or closed; the zygote is gone.
    #[error("the zygote does not answer ({0}); it is started again for the next container")]
    Gone(std::io::Error),
    /// A message could not be sent, received or decoded.
    #[error("zygote protocol: {0}")]
    Protocol(String),
    /// `clone3` failed.
    #[error("fork a container process: {0}")]
    Fork(std::io::Error),
    /// The container process said why it cannot run the guest.
    #[error("{0}")]
    Container(String),
    /// The container process ended or stayed silent before it was ready.
    #[error("{0}")]
    NotReady(String),
}

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Version of the WAMR engine in this build.
pub fn engine_version() -> String {
    wamr::Engine::version()
}

/// Names the very build of WAMR that compiled code has to be made for.
pub const AOT_IDENTITY: &str = wamr::AOT_IDENTITY;
