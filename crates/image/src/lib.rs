//! From a container's file system to the module to run.
//!
//! Everything here runs in the **server**, on files that a hostile image or volume may hold: paths are walked
//! without ever asking the kernel to follow a link ([`Tree`]), nothing but regular files is opened, a file's kind
//! is told by its first bytes and never by its name ([`Kind`]), and the digest a template is found by can not be
//! made to stand for other bytes ([`Modules`]).
//!
//! The order of use: [`Tree::new`], [`Entrypoint::parse`], [`Entrypoint::find`], [`Modules::identify`].

#![forbid(unsafe_code)]

mod classify;
mod entrypoint;
mod error;
mod module;
mod resolve;
#[cfg(test)]
mod testing;
mod tree;

pub use classify::Kind;
pub use entrypoint::{Entrypoint, Found};
pub use error::{Error, Result};
pub use module::{Digest, Module, Modules};
pub use tree::{Mount, Origin, Tree};
