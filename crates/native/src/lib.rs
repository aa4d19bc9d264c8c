//! Native Linux containers: libcontainer in a process of its own, and programs that join a container.
//!
//! The server has many threads and serves every container of the node; libcontainer changes the working directory,
//! forks without `exec` and gives up privileges on the way. So it runs in a fresh process of one thread per call,
//! the *helper*: this executable again, started as `native` by the server's main thread.
//!
//! ```text
//! server                         helper                       container
//!   | -- request + descriptors -->  |                             |
//!   |                               | -- clone3(CLONE_PARENT) --> |  child of the server
//!   | <-------- pid, terminal ----  | (ends)                      |  waits
//!   | ----------------------------- start ----------------------> |  execve
//! ```
//!
//! Server's half: [`Program`], [`create`], [`exec`], [`hooks`], [`Gate`], [`attach_device_rules`]. Helper's half: [`serve`].
//!
//! With `native_runtime` another OCI runtime makes the containers ([`run`], [`discard`]). Its helper stays as the container's
//! parent, the *monitor*, and ends as the container did, so that the server learns of the end as of its own child's.

mod answer;
mod create;
mod credentials;
mod device_directories;
mod devices;
mod error;
mod exec;
mod executable;
mod gate;
mod helper;
mod hooks;
mod inherited;
mod init;
mod join;
mod libcontainer_spec;
mod monitor;
mod profile;
mod program;
mod request;
mod runtime;
mod runtime_spec;
mod serve;
mod stage;
mod terminal;

pub use create::create;
pub use device_directories::device_directories;
pub use devices::attach_device_rules;
pub use error::{Error, Result};
pub use exec::exec;
pub use executable::names_home;
pub use gate::Gate;
pub use helper::{Made, Spawn};
pub use hooks::hooks;
pub use libcontainer_spec::{CgroupMount, Surroundings, rewrite};
pub use program::Program;
pub use request::{
    Bind, Confinement, CreateRequest, ExecRequest, HookKind, HooksRequest, Propagation, RunRequest,
};
pub use runtime::{discard, run};
pub use runtime_spec::rewrite_for_runtime;
pub use serve::serve;
