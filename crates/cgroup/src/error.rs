//! What can go wrong, in the user's words.

use std::io;
use std::path::PathBuf;

use crate::{Controller, Version};

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on a cgroup: what failed, on what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host has no usable hierarchy.
    #[error("no cgroup hierarchy is mounted: mount cgroup2 on /sys/fs/cgroup")]
    NoHierarchy,
    /// `cgroupsPath` does not name a place for a container.
    #[error("cgroupsPath {path:?}: {reason}")]
    Path {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// systemd did not do what it was asked for a container's scope.
    #[error("cannot {action} the systemd unit {unit}: {reason}")]
    Unit {
        /// What was asked.
        action: &'static str,
        /// The scope's name.
        unit: String,
        /// Why not, in systemd's words.
        reason: String,
    },
    /// No directory of this cgroup exists.
    #[error("cgroup {} does not exist", .0.display())]
    Missing(PathBuf),
    /// The cgroup a new container was to get has processes.
    #[error("cgroup {} is in use by process {pid}: end it, or give the container another cgroupsPath", .directory.display())]
    AlreadyInUse {
        /// The directory.
        directory: PathBuf,
        /// One of the processes.
        pid: i32,
    },
    /// A limit needs a controller that this cgroup does not have.
    #[error("cannot set {limit}: cgroup {} has no {controller} controller{reason}", .directory.display())]
    NoController {
        /// The limit.
        limit: &'static str,
        /// The missing controller.
        controller: Controller,
        /// The cgroup.
        directory: PathBuf,
        /// Why, if known; begins with `: `.
        reason: String,
    },
    /// An operation needs a controller that this cgroup does not have.
    #[error("cannot {action} a container: the {controller} cgroup controller is not mounted or not enabled")]
    Without {
        /// What was to be done.
        action: &'static str,
        /// The missing controller.
        controller: Controller,
    },
    /// A limit's value makes no sense.
    #[error("cannot set {limit} to {value}: {reason}")]
    Invalid {
        /// The limit.
        limit: &'static str,
        /// The value asked for.
        value: String,
        /// Why it is refused.
        reason: String,
    },
    /// A limit this cgroup version does not have.
    #[error("cannot set {limit}: {reason} on a host with cgroup {version}")]
    Unsupported {
        /// The limit.
        limit: &'static str,
        /// The version in force.
        version: Version,
        /// What is different there.
        reason: &'static str,
    },
    /// The kernel has no such file.
    #[error("cannot set {limit} to {value}: this kernel has no {}", .file.display())]
    NoFile {
        /// The limit.
        limit: &'static str,
        /// The value asked for.
        value: String,
        /// The file that would hold it.
        file: PathBuf,
    },
    /// The kernel refused a value.
    #[error("cannot set {limit} to {value} in {}: {source}", .file.display())]
    Refused {
        /// The limit.
        limit: &'static str,
        /// The value that was written.
        value: String,
        /// The file it was written to.
        file: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// `check_before_update`: the limit would kill at once.
    #[error("cannot set memory.limit to {limit}: {usage} bytes are in use")]
    BelowUsage {
        /// The limit asked for, in bytes.
        limit: i64,
        /// Bytes in use.
        usage: u64,
    },
    /// Not all processes stopped in time, so all were let go again.
    #[error("cgroup {} did not freeze within {milliseconds} ms: a process is stuck in the kernel", .directory.display())]
    Freeze {
        /// The cgroup.
        directory: PathBuf,
        /// How long was waited.
        milliseconds: u128,
    },
    /// The caller itself is in the cgroup: it would freeze or kill itself.
    #[error("cgroup {} holds this very process: it is not a container's", .0.display())]
    Own(PathBuf),
    /// Processes did not die in time.
    #[error("processes {pids:?} in cgroup {} survived SIGKILL for {milliseconds} ms", .directory.display())]
    Survived {
        /// The cgroup.
        directory: PathBuf,
        /// Those left.
        pids: Vec<i32>,
        /// How long was waited.
        milliseconds: u128,
    },
    /// A cgroup could not be removed in time.
    #[error("cgroup {} cannot be removed: processes {pids:?} are in it", .directory.display())]
    Busy {
        /// The cgroup.
        directory: PathBuf,
        /// Those in it; empty if they are just ending.
        pids: Vec<i32>,
    },
    /// Any other system call.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// Whether a directory or file of the cgroup is not there, because somebody else removed it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Missing(_) => true,
            Self::Io { source, .. } => crate::file::is_gone(source),
            _ => false,
        }
    }

    /// Whether the kernel found the value itself wrong. For the few pairs of files in which one value's
    /// validity depends on the other's.
    pub(crate) fn is_invalid_argument(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()))
    }
}
