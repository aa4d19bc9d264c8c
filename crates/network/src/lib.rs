//! What a guest may reach, and by which names.
//!
//! [`Policy`] is read by the server and kept by the container's process. The resolver runs in the container's process
//! on behalf of its guest: a static C library has none (it loads NSS modules), and the answers are a stranger's bytes,
//! so it is safe Rust, synchronous, and bounded in time and memory.
//!
//! Knows nothing of WAMR or containerd.

#![forbid(unsafe_code)]

mod error;
mod exchange;
mod files;
mod hosts;
mod message;
mod policy;
mod resolv_conf;
mod resolve;
mod services;

pub use error::Error;
pub use policy::{Policy, Use};
pub use resolv_conf::ResolvConf;
pub use resolve::{Family, Names, Request};
