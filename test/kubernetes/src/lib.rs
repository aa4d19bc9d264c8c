//! A real Kubernetes: what the tests in `tests/kubernetes` stand on.
//!
//! A [`Cluster`] is etcd, the control plane, kube-proxy, a kubelet and containerd, in namespaces of its own ([`Node`]) and below a cgroup of its own. Each test works in a Kubernetes namespace of its own ([`Space`]), through the
//! API ([`Api`]) where the answer is looked at, and through kubectl where it is about what a person does.

mod api;
mod cluster;
mod config;
mod images;
mod node;
mod pod;
mod space;
mod wait;

pub use api::Api;
pub use cluster::Cluster;
pub use images::{BOTH, BUSYBOX, GUESTS};
pub use node::Node;
pub use pod::{Pod, PodStatus, wasm};
pub use space::Space;
pub use wait::{PATIENCE, eventually, wait_for};
