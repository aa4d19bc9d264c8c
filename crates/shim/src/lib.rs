//! The server behind `containerd-shim-wamr-v1`: ttrpc services, task state, I/O, events.
//!
//! Never calls WAMR and never forks: that is the zygote's. Nothing containerd, an image or a guest can send
//! makes it panic; where a library might, the panic ends one call and not the process.

#![forbid(unsafe_code)]

pub mod aot;
mod blocking;
pub mod cli;
pub mod config;
mod container;
pub mod control;
mod emptied;
mod error;
mod events;
pub mod exit;
mod reconcile;
mod record;
pub mod rendezvous;
pub mod report;
mod runtime_options;
mod sandbox;
mod server;
mod service;
pub mod spec;
mod stdio;

pub use error::{Error, Result};
