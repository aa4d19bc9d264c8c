//! Compiled modules: what is compiled how, and where the code is kept.
//!
//! AOT code is native code that a container's process runs. So the cache answers for it: everything is in one directory
//! that only root can write to, a file is found by a [`Key`] that says what it was made from and for, and it is handed
//! out only if its bytes are those that were put in. Whatever does not match is removed, and compiled again.
//!
//! Runs in the **server** and in tools; several processes may use one directory at the same time. Knows nothing of the
//! compiler, nor of containerd.

#![forbid(unsafe_code)]

mod cache;
mod claim;
mod compiler;
mod directory;
mod entry;
mod error;
mod failure;
mod key;
mod target;
mod tier;
mod trim;

pub use cache::{Cache, Code, Draft};
pub use claim::Claim;
pub use compiler::{COMPILER, identity};
pub use entry::{Entry, State};
pub use error::{Error, Result};
pub use key::Key;
pub use target::Target;
pub use tier::Tier;
