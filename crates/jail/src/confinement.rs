//! What is to be done to one process before a guest may run in it, as plain data.
//!
//! The server fills this in from the validated OCI spec; it crosses to the zygote as bytes and is decoded
//! there without copying. Descriptors travel beside it, in [`Descriptors`].

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// Everything but descriptors. All paths are absolute paths inside the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement<'a> {
    /// Namespaces to make anew. Those to join by descriptor are in [`Descriptors::join`].
    pub fresh: Namespaces,
    /// Host name for a fresh uts namespace.
    pub hostname: Option<&'a str>,
    /// Domain name for a fresh uts namespace.
    pub domainname: Option<&'a str>,
    /// Kernel parameters, `net.ipv4.ip_forward` form, for fresh namespaces: (name, value).
    #[serde(borrow)]
    pub sysctl: Vec<(&'a str, &'a str)>,
    /// Whether the root file system is made read-only once all mounts are attached.
    pub root_readonly: bool,
    /// Mounts in the order of the spec; descriptor `i` of [`Descriptors::mounts`] belongs to entry `i`.
    pub mounts: Vec<Attach<'a>>,
    /// Credentials.
    pub user: User,
    /// Resource limits: (`RLIMIT_*` number, soft, hard).
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Value for `oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Working directory, made if it is missing.
    pub cwd: &'a str,
    /// AppArmor profile to change to.
    pub apparmor: Option<&'a str>,
    /// SELinux process label.
    pub selinux: Option<&'a str>,
    /// Controlling terminal: make descriptor 0 one in a new session.
    pub terminal: bool,
    /// Sockets to bind in the process's network namespace before it gives up its privileges.
    pub listen: Vec<Listen>,
    /// Bind them also where no interface has the address (`IP_FREEBIND`).
    pub listen_anywhere: bool,
}

/// A socket for the guest to serve on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Address and port; port 0 takes any that is free.
    pub address: SocketAddr,
}

/// The protocols a guest can serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// Connections, which wait to be accepted.
    Tcp,
    /// Datagrams.
    Udp,
}

/// As users write it: `tcp://0.0.0.0:80`.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// Namespaces that are made for this process alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Mount namespace. False only for an exec, which joins its container's.
    pub mount: bool,
    /// Process ids.
    pub pid: bool,
    /// Network; a fresh one gets its loopback interface brought up.
    pub network: bool,
    /// System V IPC and POSIX message queues.
    pub ipc: bool,
    /// Host and domain name.
    pub uts: bool,
    /// Control groups.
    pub cgroup: bool,
}

/// Where one mount goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach<'a> {
    /// Absolute path inside the container; symbolic links are followed without ever leaving the root.
    pub destination: &'a str,
    /// Whether the mount's own root is a directory (else a file), so that a missing target can be made alike.
    pub directory: bool,
}

/// Credentials of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask; `0o022` when the spec has none.
    pub umask: Option<u32>,
}

/// The kinds of namespace that can be joined by descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// Mount namespace (exec only).
    Mount,
    /// Process ids; joined by the forking process, because it takes effect on children.
    Pid,
    /// Network.
    Network,
    /// IPC.
    Ipc,
    /// Host name.
    Uts,
    /// Control groups.
    Cgroup,
}

/// The descriptors that go with a [`Confinement`].
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Detached mount that becomes the root; `None` for an exec, which joins a mount namespace.
    pub root: Option<OwnedFd>,
    /// Detached mounts, one per [`Confinement::mounts`].
    pub mounts: Vec<OwnedFd>,
    /// Namespaces to join.
    pub join: Vec<(NamespaceKind, OwnedFd)>,
    /// `cgroup.procs` files to enter by writing `0` (cgroup v1); empty on v2, where the fork does it.
    pub cgroup_procs: Vec<OwnedFd>,
}
