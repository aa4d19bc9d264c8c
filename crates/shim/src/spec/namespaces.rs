//! `linux.namespaces` and `linux.sysctl`, which only makes sense inside them.

use std::path::PathBuf;

use jail::NamespaceKind;
use oci_spec::runtime::{Linux, LinuxNamespaceType as Type};

use super::SpecError;
use super::error::Result;

/// What the container does not share with the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Made for this container. A kind that is neither here nor in `join` is the host's.
    pub fresh: jail::Namespaces,
    /// Joined by path, as a pod's.
    pub join: Vec<(NamespaceKind, PathBuf)>,
}

impl Namespaces {
    pub(super) fn new(linux: &Linux) -> Result<Namespaces> {
        let mut seen = Vec::new();
        let mut namespaces = Namespaces::default();
        for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
            let kind = namespace.typ();
            let field = |name: &str| format!("linux.namespaces[{i}].{name}");
            if seen.contains(&kind) {
                return Err(SpecError::invalid(field("type"), word(kind), "each type may be given once"));
            }
            seen.push(kind);
            let path = namespace.path().clone().filter(|path| !path.as_os_str().is_empty());
            let fresh = &mut namespaces.fresh;
            let (fresh, join) = match kind {
                Type::Mount => (&mut fresh.mount, None),
                Type::Pid => (&mut fresh.pid, Some(NamespaceKind::Pid)),
                Type::Network => (&mut fresh.network, Some(NamespaceKind::Network)),
                Type::Ipc => (&mut fresh.ipc, Some(NamespaceKind::Ipc)),
                Type::Uts => (&mut fresh.uts, Some(NamespaceKind::Uts)),
                Type::Cgroup => (&mut fresh.cgroup, Some(NamespaceKind::Cgroup)),
                Type::User => {
                    let advice = "run the pod without user namespaces (hostUsers: true)";
                    return Err(SpecError::unsupported(field("type"), word(kind), advice));
                }
                Type::Time => {
                    let advice = "leave it out: a wasm container sees the host's clocks";
                    return Err(SpecError::unsupported(field("type"), word(kind), advice));
                }
            };
            match (path, join) {
                (None, _) => *fresh = true,
                (Some(path), _) if !path.is_absolute() => {
                    return Err(SpecError::invalid(field("path"), path.display(), "it must be absolute"));
                }
                (Some(path), Some(kind)) => namespaces.join.push((kind, path)),
                (Some(path), None) => {
                    let advice = "leave the path out: a wasm container always has mounts of its own";
                    return Err(SpecError::unsupported(field("path"), path.display(), advice));
                }
            }
        }
        if !namespaces.fresh.mount {
            let advice = "add {\"type\": \"mount\"}: a wasm container always has mounts of its own";
            return Err(SpecError::missing("linux.namespaces", advice));
        }
        Ok(namespaces)
    }

    fn has(&self, fresh: bool, kind: NamespaceKind) -> bool {
        fresh || self.join.iter().any(|(other, _)| *other == kind)
    }

    /// Whether the host and domain name are not the host's own.
    pub(super) fn uts(&self) -> bool {
        self.has(self.fresh.uts, NamespaceKind::Uts)
    }

    /// Kernel parameters in order of name. Only those that belong to a namespace of the container are accepted: any
    /// other would change the host.
    pub(super) fn sysctl(&self, linux: &Linux) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for (name, value) in linux.sysctl().iter().flatten() {
            let field = format!("linux.sysctl.{name}");
            // `sysctl(8)` takes both separators.
            let dotted = name.replace('/', ".");
            let (private, advice) = if dotted.starts_with("net.") {
                (
                    self.has(self.fresh.network, NamespaceKind::Network),
                    "it would change the host: give the container a network namespace",
                )
            } else if is_ipc(&dotted) {
                let private = self.has(self.fresh.ipc, NamespaceKind::Ipc);
                (private, "it would change the host: give the container an ipc namespace")
            } else if dotted == "kernel.domainname" {
                (self.uts(), "it would change the host: give the container a uts namespace")
            } else if dotted == "kernel.hostname" {
                (false, "use the hostname field")
            } else {
                (false, "it belongs to no namespace and would change the host; set it on the node")
            };
            if !private {
                return Err(SpecError::unsupported(field, value, advice));
            }
            if name.contains("..") || name.contains('\0') || value.contains('\0') {
                return Err(SpecError::invalid(
                    field,
                    value,
                    "it is not the name or value of a kernel parameter",
                ));
            }
            all.push((dotted, value.clone()));
        }
        all.sort_unstable();
        Ok(all)
    }
}

/// Parameters of the ipc namespace, `ipc_namespaces(7)`.
fn is_ipc(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    NAMES.contains(&name) || name.starts_with("fs.mqueue.")
}

fn word(kind: Type) -> &'static str {
    match kind {
        Type::Mount => "mount",
        Type::Cgroup => "cgroup",
        Type::Uts => "uts",
        Type::Ipc => "ipc",
        Type::User => "user",
        Type::Pid => "pid",
        Type::Network => "network",
        Type::Time => "time",
    }
}
