//! What can go wrong, in the words of whoever deploys a module.

use std::io;

/// Why a module cannot be loaded or run. A guest that fails while it runs is no error, see
/// [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// [`Engine::init`](crate::Engine::init) was called a second time in this process.
    #[error("the WAMR engine is initialised once per process, and it is already")]
    AlreadyInitialised,
    /// WAMR refused to start.
    #[error(
        "WAMR failed to initialise (out of memory, or /proc is not mounted, or the stack limit is too small)"
    )]
    Init,
    /// The module's file could not be mapped.
    #[error("map the module's file: {0}")]
    Map(#[source] io::Error),
    /// The source has no bytes.
    #[error("the module is empty")]
    Empty,
    /// The source is larger than a module can be.
    #[error("the module has {0} bytes; WAMR loads at most 4 GiB")]
    TooLarge(u64),
    /// The bytes begin with neither wasm's nor AOT's magic number.
    #[error("not a WebAssembly module: it does not begin with \\0asm")]
    NotWasm,
    /// The bytes are a component.
    #[error("this is a WebAssembly component; only core modules (WASI preview 1) are supported")]
    Component,
    /// The bytes are AOT code where a wasm module is expected.
    #[error("this is WAMR AOT code, which is native code; only wasm modules are accepted here")]
    Aot,
    /// The bytes are a wasm module where AOT code is expected.
    #[error("not WAMR AOT code: it does not begin with \\0aot")]
    NotAot,
    /// WAMR could not load the module.
    #[error("the module cannot be loaded: {0}")]
    Load(String),
    /// The module imports what the runtime does not have, each as `module.field`.
    #[error("the module imports what this runtime does not provide: {}", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// WAMR could not instantiate the module.
    #[error("the module cannot be instantiated: {0}")]
    Instantiate(String),
    /// Some of the instance's state is not where an image covers it.
    #[error("no image can be made of this module: it has to be loaded in each process")]
    NoImage,
    /// An image's file could not be written, read or mapped.
    #[error("the image of the module: {0}")]
    Image(#[source] io::Error),
    /// The guest cannot be copied at its ready point.
    #[error("{0}")]
    NotCopied(String),
    /// Compiled code could not be made executable.
    #[error("make compiled code executable: {0}")]
    Code(#[source] io::Error),
    /// An image of another zygote, or no image.
    #[error("the image of the module was made by another zygote")]
    ForeignImage,
    /// The cap on linear memory is less than what the module has already.
    #[error("memory is limited to {limit} pages of 64 KiB, and the module needs {present} to start")]
    MemoryLimit {
        /// The limit asked for, in pages.
        limit: u32,
        /// Present size, in pages.
        present: u32,
    },
    /// The module does not export the function to enter.
    #[error("the module exports no function `{0}`{hint}", hint = if .0 == "_start" { " (is it a library?)" } else { "" })]
    NoEntry(String),
    /// The function to enter has the wrong type.
    #[error("the exported function `{0}` cannot be run: {1}")]
    EntryType(String, &'static str),
    /// A string for the guest cannot be passed on.
    #[error("{what} {text:?} contains a NUL byte")]
    Nul {
        /// What the string is.
        what: &'static str,
        /// The string.
        text: String,
    },
    /// A descriptor given as the guest's stdio cannot be used.
    #[error("descriptor {fd} cannot be the guest's descriptor {guest_fd}: {source}")]
    Stdio {
        /// The descriptor given.
        fd: i32,
        /// 0, 1 or 2.
        guest_fd: usize,
        /// Why not.
        source: io::Error,
    },
    /// A directory for the guest cannot be opened.
    #[error("open directory {host:?} for the guest's {guest:?}: {source}")]
    Preopen {
        /// Path in this process.
        host: String,
        /// Name in the guest.
        guest: String,
        /// Why not.
        source: io::Error,
    },
    /// WAMR refused the WASI context.
    #[error("the WASI context cannot be made: {0}")]
    Wasi(String),
    /// A signal cannot be handled as asked.
    #[error("handle signal {signal}: {source}")]
    Signal {
        /// Its number.
        signal: i32,
        /// Why not.
        source: io::Error,
    },
}
