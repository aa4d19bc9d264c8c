//! What the server asks of a helper. Travels as JSON: the types of the OCI spec need a format that names fields.

use std::path::PathBuf;

use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

/// Everything that a helper can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Create(CreateRequest),
    Exec(Box<ExecRequest>),
    Hooks(HooksRequest),
    Run(RunRequest),
}

/// Make a container whose first process waits to be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateRequest {
    /// Container id.
    pub id: String,
    /// Directory of our own with `config.json`, a spec as [`crate::rewrite`] leaves it. libcontainer keeps its state in it.
    pub directory: PathBuf,
    /// The root file system.
    pub root: PathBuf,
    /// Working directory of the process; made if it is not there.
    pub cwd: PathBuf,
    /// Bind mounts the spec refers to.
    pub binds: Vec<Bind>,
    /// Whether the process gets a terminal instead of three streams.
    pub terminal: bool,
    /// For the process; raised to what the kernel allows.
    pub oom_score_adj: i32,
    /// User that the streams are given to.
    pub uid: u32,
    /// Directories of its devices, relative to `/dev`.
    pub device_directories: Vec<PathBuf>,
    /// Whether the spec itself names a home directory. If not, the container's `/etc/passwd` does.
    pub home_given: bool,
}

/// Have another OCI runtime make a container, and stay its parent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRequest {
    /// Container id.
    pub id: String,
    /// The runtime's program.
    pub runtime: PathBuf,
    /// Directory of our own with `config.json`, a spec as [`crate::rewrite_for_runtime`] leaves it. The runtime keeps its state in it.
    pub directory: PathBuf,
    /// Whether the process gets a terminal instead of three streams.
    pub terminal: bool,
}

/// A host path, bound where libcontainer finds it with the right propagation, which it does not set itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Where the spec refers to it.
    pub at: PathBuf,
    /// With everything mounted below it.
    pub recursive: bool,
    /// What it shares with the host.
    pub propagation: Propagation,
}

/// Whether later mounts below a bind mount are seen on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// The host's in the container.
    Slave,
    /// Both ways.
    Shared,
}

/// Run a program in a container that exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The process, as the spec has it.
    pub process: Process,
    /// What stands around it.
    pub confinement: Confinement,
    /// `config.json` whose `linux.seccomp` is installed.
    pub config: PathBuf,
    /// Used if the process names none.
    pub oom_score_adj: i32,
}

/// How far an exec is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confinement {
    /// As its process says, within its container.
    Process,
    /// Without any capability or way to gain one, and never without a filter: beside a wasm guest.
    Wasm,
}

/// Run hooks of the runtime's namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HooksRequest {
    /// Container id.
    pub id: String,
    /// The container's [`CreateRequest::directory`].
    pub directory: PathBuf,
    /// Which.
    pub kind: HookKind,
}

/// Points in a container's life that hooks are run at by the server, not by libcontainer's create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookKind {
    /// After Start.
    PostStart,
    /// After Delete.
    PostStop,
}
