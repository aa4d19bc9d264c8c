//! Pods through the Container Runtime Interface of a real containerd, made as a kubelet makes them.
//!
//! A [`Node`] is a private containerd with its CRI plugin, in a network of its own, with CNI's bridge and an image registry
//! on loopback. A [`Scene`] is what one test does on it: when it ends, all its pods are removed and nothing may be left
//! of them. What is sent is CRI's own messages, filled in by [`PodSpec`] and [`ContainerSpec`] and open to changes.

mod container;
mod images;
pub mod kubelet;
mod log;
mod node;
mod plugin;
mod pod;
mod registry;
mod scene;
mod stream;
mod traces;
mod websocket;

pub use container::{Container, ContainerSpec, mount};
pub use images::{PAUSE, busybox, compile, guests, pause};
pub use log::{Line, Log};
pub use node::Node;
pub use plugin::{Handler, Plugin};
pub use pod::{Pod, PodSpec};
pub use scene::Scene;
pub use stream::Stream;
pub use traces::Traces;

pub use k8s_cri::v1 as api;

/// The runtime handler of this project.
pub const WAMR: &str = "wamr";
/// The same with `native_runtime`: native containers are made by the release's runc.
pub const WAMR_WITH_RUNC: &str = "wamr-with-runc";
/// The same with `native_pause`: the pause container is what its image holds.
pub const WAMR_WITH_PAUSE: &str = "wamr-with-pause";
/// The runtime handler of the containerd release itself.
pub const RUNC: &str = "runc";
