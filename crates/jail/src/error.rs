//! What can go wrong, in the words of the person who reads the container's status.

use std::io;

use crate::Listen;

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused one step.
    #[error("{step}: {errno}")]
    Kernel {
        /// What was tried, on what.
        step: String,
        /// The kernel's answer.
        #[source]
        errno: io::Error,
    },
    /// The kernel refused to make a file system and said why.
    #[error("mount {kind} file system {source_name:?}: {errno}{detail}")]
    Filesystem {
        /// `overlay`, `tmpfs`, …
        kind: String,
        /// The mount's source as the spec has it.
        source_name: String,
        /// The kernel's answer.
        #[source]
        errno: io::Error,
        /// The kernel's own message, ready to be appended; may be empty.
        detail: String,
    },
    /// A mount option that means nothing for a bind mount.
    #[error("mount option {option:?} is not one of a bind mount (source {source_path:?}): remove it")]
    UnknownBindOption {
        /// The option.
        option: String,
        /// The mount's source.
        source_path: String,
    },
    /// A mount option that is understood but not offered.
    #[error("mount option {0:?} is not supported for wasm containers: remove it")]
    UnsupportedOption(String),
    /// A file system that would show the host instead of the container.
    #[error(
        "a mount of type {0:?} would show the host's own to the container and a wasm guest has no use for it"
    )]
    ShowsHost(String),
    /// A mount of the root that has neither a directory nor a device behind it.
    #[error("root file system: {0}")]
    Rootfs(String),
    /// A kernel parameter that no namespace of the container holds.
    #[error(
        "sysctl {0:?} is not namespaced: it would change the host; only kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*, net.*, kernel.hostname and kernel.domainname can be set"
    )]
    SysctlNotNamespaced(String),
    /// Something that would reach beyond the container for want of a namespace.
    #[error("{what} needs a {namespace} namespace of the container's own: add one to the spec")]
    NamespaceMissing {
        /// The setting.
        what: String,
        /// `network`, `ipc`, `uts`, …
        namespace: &'static str,
    },
    /// A mount's target does not exist and could not be made.
    #[error(
        "mount target {destination:?} does not exist and {blocked:?} cannot be created in the container's root: {errno}"
    )]
    MountTarget {
        /// The target as the spec has it.
        destination: String,
        /// Path of the first component that was refused.
        blocked: String,
        /// Why.
        #[source]
        errno: io::Error,
    },
    /// A label was asked for that this host cannot give.
    #[error("{module} label {label:?}: {reason}")]
    Label {
        /// `AppArmor` or `SELinux`.
        module: &'static str,
        /// The label.
        label: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An address for the guest to serve on cannot be had.
    #[error("listen on {on}: {reason}")]
    Listen {
        /// The address.
        on: Listen,
        /// What is wrong.
        reason: &'static str,
    },
    /// The server sent data and descriptors that do not belong together.
    #[error("confinement and descriptors do not fit: {0}")]
    Mismatch(&'static str),
    /// The filter of system calls could not be built or installed.
    #[error("system call filter: {0}")]
    Filter(String),
}

/// Names the step a system call belongs to. The words are made only when it fails.
pub(crate) trait Step<T> {
    fn step(self, words: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, words: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|errno| Error::Kernel { step: words(), errno: errno.into() })
    }
}
