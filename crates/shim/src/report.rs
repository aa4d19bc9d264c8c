//! What a server tells of itself and its containers when it is asked to `list` them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A server and all it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Release of the shim.
    pub version: String,
    /// The server's process id.
    pub pid: u32,
    /// The zygote's process id.
    pub zygote: u32,
    /// Socket of the containerd it serves.
    pub containerd: PathBuf,
    /// Namespace of that containerd.
    pub namespace: String,
    /// All containers that are not deleted yet, by id.
    pub containers: Vec<Container>,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id within the namespace.
    pub id: String,
    /// The pod it belongs to, if it does.
    pub sandbox: Option<String>,
    /// `wasm`, `native`, or `sandbox` for the holder of a pod's namespaces.
    pub kind: String,
    /// `created`, `running`, `paused` or `stopped`.
    pub state: String,
    /// Exit status of one that has stopped.
    pub exit: Option<u32>,
    /// Its first process.
    pub pid: i32,
    /// Its execs that are not deleted yet.
    pub execs: usize,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its cgroup, one directory per hierarchy.
    pub cgroup: Vec<PathBuf>,
    /// Of a wasm container.
    pub module: Option<Module>,
}

/// What a wasm container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// SHA-256 of the module's bytes, as `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Where it is in the container.
    pub path: PathBuf,
    /// `interpreter`, or the tier of its compiled code.
    pub tier: String,
    /// Whether it maps a template that other containers of the module share.
    pub template: bool,
    /// Whether it was started warm: its template is of the guest at its ready point.
    pub warm: bool,
}
