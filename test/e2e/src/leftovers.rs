//! What the containers of a namespace leave in the system, to compare before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{Namespace, Process};

/// Processes, cgroups, mounts, sockets, FIFOs and folders, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// All there is of a namespace now, the shim's server included.
    pub fn of(namespace: &Namespace) -> Traces {
        let mut found = BTreeSet::new();
        for server in namespace.servers() {
            found.insert(describe(&server.process));
            found.extend(server.process.descendants().iter().map(describe));
        }
        Traces::around(namespace, &mut found);
        for place in namespace.places() {
            if place.exists() {
                found.insert(format!("server's folder {}", place.display()));
            }
            found.extend(lines_with("/proc/net/unix", &place).map(|line| format!("socket {line}")));
        }
        Traces(found)
    }

    /// The same without the server and what is the server's own.
    pub fn of_containers(namespace: &Namespace) -> Traces {
        let mut found = BTreeSet::new();
        for server in namespace.servers() {
            let zygotes = server.zygotes();
            let guests = server.process.children().into_iter().filter(|process| !zygotes.contains(process));
            found.extend(guests.map(|process| describe(&process)));
        }
        Traces::around(namespace, &mut found);
        Traces(found)
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn around(namespace: &Namespace, found: &mut BTreeSet<String>) {
        let Namespace { bed, name, .. } = namespace;
        let confined = bed.cgroups.processes(name).into_iter().filter_map(Process::of);
        found.extend(confined.map(|process| describe(&process)));
        found.extend(bed.cgroups.below(name).iter().map(|path| format!("cgroup {}", path.display())));
        let infix = format!("/{name}/");
        let mounts = lines_with("/proc/self/mountinfo", bed.folder()).filter(|line| line.contains(&infix));
        found.extend(mounts.map(|line| format!("mount {line}")));
        for folder in [bed.state(), bed.root()] {
            let tasks = folder.join("io.containerd.runtime.v2.task").join(name);
            let bundles = fs::read_dir(tasks).into_iter().flatten().flatten();
            found.extend(bundles.map(|entry| format!("bundle {}", entry.path().display())));
        }
        let fifos = fs::read_dir(bed.fifos().join(name)).into_iter().flatten().flatten();
        found.extend(fifos.map(|entry| format!("FIFO {}", entry.path().display())));
    }
}

fn describe(process: &Process) -> String {
    format!("process {} {} of {}", process.pid, process.comm, process.parent)
}

fn lines_with(file: &str, path: &Path) -> impl Iterator<Item = String> {
    let prefix = path.display().to_string();
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.contains(&prefix)).map(str::to_owned).collect::<Vec<_>>().into_iter()
}
