//! What the server asks for: plain data that borrows from the message it arrived in.

use jail::{Confinement, NamespaceKind};
use serde::{Deserialize, Serialize};

/// Fork one container process. Descriptors travel beside it in the order of
/// [`ForkDescriptors`](crate::ForkDescriptors).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForkRequest<'a> {
    /// What confines the process.
    #[serde(borrow)]
    pub confinement: Confinement<'a>,
    /// What runs in it.
    #[serde(borrow)]
    pub guest: Guest<'a>,
}

/// Which request it is, how many descriptors of each kind follow the fixed ones, and what the forker itself has to do with them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct DescriptorMap {
    /// The request's number among those to this zygote.
    pub number: u32,
    /// A module file is among them.
    pub module: bool,
    /// An image file to map is among them.
    pub image: bool,
    /// An image with the compiled code of the one to map is among them.
    pub code: bool,
    /// A file or pipe to write an image to is among them.
    pub output: bool,
    /// A detached root mount is among them.
    pub root: bool,
    /// Number of detached mounts.
    pub mounts: u16,
    /// Namespaces to join, one descriptor each.
    pub join: Vec<NamespaceKind>,
    /// Number of v1 `cgroup.procs` files.
    pub cgroup_procs: u16,
    /// A cgroup v2 directory for `CLONE_INTO_CGROUP` is the last one.
    pub cgroup_v2: bool,
}

/// A namespace holder or a wasm guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Guest<'a> {
    /// Runs a module.
    #[serde(borrow)]
    Wasm(Wasm<'a>),
    /// Loads a module and writes the image that containers of it map, then ends. Runs no guest.
    Template(Template),
    /// Runs a module until it says that it is ready, writes the image that copies of it go on from, then ends.
    #[serde(borrow)]
    Ready(Wasm<'a>),
    /// Holds the namespaces of a pod until it is told to end; runs no guest at all.
    Pause,
}

/// One module run under WASI preview 1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wasm<'a> {
    /// Arguments; the first is the program's name.
    pub args: Vec<&'a str>,
    /// Environment, each `NAME=value`.
    #[serde(borrow)]
    pub env: Vec<&'a str>,
    /// Directories the guest may use.
    #[serde(borrow)]
    pub preopens: Vec<Preopen<'a>>,
    /// Where to enter.
    #[serde(borrow)]
    pub entry: Entry<'a>,
    /// Operand stack of the interpreter in bytes. An image comes with its own.
    pub stack_size: u32,
    /// Cap on linear memory, in pages of 64 KiB.
    pub max_memory_pages: Option<u32>,
    /// What its sockets may be used with: what all of these allow.
    pub sockets: Vec<network::Policy>,
    /// The image holds compiled code, which is to be run. Without an image, or with one of an interpreted module, it is false.
    pub compiled: bool,
    /// The image is that of a guest at its ready point, which goes on from there.
    pub warm: bool,
}

/// What is baked into an image besides the module.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Template {
    /// As [`Wasm::stack_size`].
    pub stack_size: u32,
    /// The module's file is AOT code that our own compiler made of it, not the module itself.
    pub compiled: bool,
}

/// A directory handed to the guest.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Preopen<'a> {
    /// Name the guest sees.
    pub guest: &'a str,
    /// Path in the container's mount namespace.
    pub host: &'a str,
    /// Whether writing is refused by WASI too (the mount is the wall behind it).
    pub read_only: bool,
}

/// Where a module is entered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Entry<'a> {
    /// `_start`, as WASI commands have it.
    Start,
    /// A function exported under this name that takes no arguments.
    Export(&'a str),
}
