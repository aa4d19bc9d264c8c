//! Real containerd, real containers: what the end-to-end tests stand on.
//!
//! A [`Bed`] is a private containerd with a folder and a cgroup of its own. In it, each test has a [`Namespace`] of its
//! own, and so a shim server of its own. A [`Container`] is made through containerd's API, where exact answers
//! matter, or by [`Ctr`], where it is about what a person does.

mod bed;
mod cgroups;
mod client;
mod components;
mod container;
mod ctr;
pub mod direct;
mod exec;
mod guests;
mod image;
mod leftovers;
mod namespace;
mod network;
mod processes;
mod program;
mod relay;
mod spec;
mod stdio;
mod storm;
mod tar;
pub mod tool;
mod wait;

pub use bed::{Bed, Setup, base_config};
pub use cgroups::Cgroups;
pub use client::{Client, Events};
pub use components::{
    RUNTIME, Release, aot_compiler, bed_script, busybox_bytes, shim_binary, shim_folder, target_folder,
    test_folder,
};
pub use container::{Container, Finished, Task};
pub use ctr::Ctr;
pub use exec::{Exec, ExecTask};
pub use guests::guest;
pub use image::{Blob, Contents, Image, Layer};
pub use leftovers::Traces;
pub use namespace::Namespace;
pub use network::Network;
pub use processes::{Process, Server};
pub use program::{Output, run, run_within};
pub use relay::Relay;
pub use spec::Spec;
pub use stdio::Reader;
pub use storm::{sleep_a_little, storm};
pub use wait::{PATIENCE, eventually, full, wait_for, wait_within};
