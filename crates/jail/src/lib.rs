//! What confines a wasm process: namespaces, mounts, credentials, seccomp.
//!
//! Two halves that share nothing but descriptors. The first runs in the server, among many threads and in
//! the host's mount namespace, and turns a container's root and volumes into *detached* mounts: descriptors
//! the host's mount table never lists. The second runs in the zygote and its forked child, each of one
//! thread: the zygote leaves the host's mounts behind once ([`MinimalRoot`]), its child attaches the
//! detached mounts in a copy of that small namespace and gives up everything it does not need
//! ([`enter`], [`Filter`]).
//!
//! Needs Linux 5.12 (`mount_setattr`).

// The server's half.
mod detached;
mod device_nodes;
mod mount_options;
mod overlay;
mod rootfs;

// The zygote's and its child's half.
mod attach;
mod clone;
mod credentials;
mod enter;
mod filter_program;
mod labels;
mod listen;
mod minimal_root;
mod namespaces;
mod no_sockets;
mod path_in_root;
mod rlimits;
mod seclude;
mod special_filters;
mod syscall_filter;
mod sysctl;

mod confinement;
mod error;

pub use clone::{Side, fork_sibling};
pub use confinement::{Attach, Confinement, Descriptors, Listen, NamespaceKind, Namespaces, Protocol, User};
pub use detached::{Detached, bind, filesystem};
pub use device_nodes::DeviceNodes;
pub use enter::{Entered, enter};
pub use error::Error;
pub use labels::{set_apparmor_on_exec, set_oom_score_adj, set_selinux_on_exec};
pub use minimal_root::MinimalRoot;
pub use mount_options::{MountOptions, Propagation, parse_options};
pub use namespaces::clone_flags;
pub use no_sockets::forbid_new_sockets;
pub use rlimits::set_rlimits;
pub use rootfs::{RootfsMount, attach_rootfs, rootfs};
pub use seclude::seclude;
pub use syscall_filter::Filter;
