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

mod answer;
mod create;
mod credentials;
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
mod profile;
mod program;
mod request;
mod serve;
mod stage;
mod terminal;

pub use create::create;
pub use devices::attach_device_rules;
pub use error::{Error, Result};
pub use exec::exec;
pub use executable::names_home;
pub use gate::Gate;
pub use helper::{Made, Spawn};
pub use hooks::hooks;
pub use libcontainer_spec::{CgroupMount, Surroundings, rewrite};
pub use program::Program;
pub use request::{Bind, Confinement, CreateRequest, ExecRequest, HookKind, HooksRequest, Propagation};
pub use serve::serve;
