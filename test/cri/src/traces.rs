//! What pods leave in the system.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use e2e::Process;

use crate::Node;

/// Processes, cgroups, mounts, network namespaces, addresses, sockets and files, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces(BTreeSet<String>);

impl Traces {
    /// What is in the cgroup `scene`, and whatever carries one of the words, ids for the most part.
    pub(crate) fn of(node: &Node, scene: &str, words: &[String]) -> Traces {
        let mut found = BTreeSet::new();
        let named = |text: &str| words.iter().any(|word| text.contains(word.as_str()));
        for process in Process::all() {
            if process.is_alive() && named(&process.arguments().join(" ")) {
                found.insert(format!("process {process:?} {:?}", process.arguments()));
            }
        }
        let cgroups = &node.bed.cgroups;
        found.extend(cgroups.processes(scene).into_iter().map(|pid| format!("process {pid} in the cgroup")));
        found.extend(cgroups.below(scene).iter().map(|path| format!("cgroup {}", path.display())));
        for file in ["/proc/self/mountinfo", "/proc/net/unix"] {
            let text = fs::read_to_string(file).unwrap_or_default();
            found.extend(text.lines().filter(|line| named(line)).map(|line| format!("in {file}: {line}")));
        }
        for folder in
            [node.bed.state(), node.bed.root(), "/var/lib/cni".into(), "/run/containerd-shim-wamr".into()]
        {
            walk(&folder, &mut |path, name| {
                if named(name) {
                    found.insert(format!("file {}", path.display()));
                }
            });
        }
        // Each is named after an address; whose it is stands in it.
        walk(&node.bed.folder().join("addresses"), &mut |path, _| {
            if fs::read_to_string(path).is_ok_and(|text| named(&text)) {
                found.insert(format!("address {}", path.display()));
            }
        });
        Traces(found)
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Files and folders below one, without what images hold.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        visit(&entry.path(), &name);
        let inside_an_image = name == "rootfs" || name.starts_with("io.containerd.snapshotter");
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !inside_an_image {
            walk(&entry.path(), visit);
        }
    }
}
