//! What is measured: a runtime with a workload that says one line and sleeps.

use std::path::PathBuf;

use crate::options::Options;

/// A runtime with its workload.
#[derive(Debug)]
pub struct Stack {
    /// Short name, also in file names.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// containerd's name of the runtime.
    pub runtime: &'static str,
    /// What its promises are about: the others are there for comparison.
    pub ours: bool,
    /// The image: files and where they go.
    pub files: Vec<(PathBuf, &'static str)>,
    /// Arguments of the container process.
    pub args: Vec<&'static str>,
}

/// All of them, the yardstick last.
pub fn stacks(options: &Options) -> [Stack; 2] {
    [
        Stack {
            name: "wamr",
            label: "wamr: hello in C",
            runtime: "io.containerd.wamr.v1",
            ours: true,
            files: vec![(options.guest.clone(), "hello.wasm")],
            args: vec!["/hello.wasm"],
        },
        Stack {
            name: "runc",
            label: "runc: busybox sh",
            runtime: "io.containerd.runc.v2",
            ours: false,
            files: vec![(options.busybox.clone(), "bin/busybox")],
            args: vec!["/bin/busybox", "sh", "-c", "echo hello; exec /bin/busybox sleep 86400"],
        },
    ]
}
