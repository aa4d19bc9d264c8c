//! Builds WAMR from its pinned C source and binds its C API: declarations only. The safe API is the
//! crate `wamr`, the only user of this one.
//!
//! `glue/` holds the C code that the public API of WAMR lacks; the build compiles it into WAMR's own
//! library, with WAMR's own settings. What is built in stands in `build.rs`.

#[allow(missing_docs, non_camel_case_types, non_upper_case_globals, non_snake_case, clippy::all)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

/// Names this very build of WAMR: version, AOT format, and a digest of source and settings. AOT files are for one of
/// these.
pub const IDENTITY: &str = env!("WAMR_IDENTITY");
