//! Kernel parameters of a container's own namespaces.

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::confinement::{Confinement, Descriptors, NamespaceKind};
use crate::{Error, error::Step};

/// Sets the parameters of the spec, through the host's `/proc`: what a file below `sys` refers to is decided
/// by the namespaces of the process that opens it.
///
/// # Errors
/// [`Error::SysctlNotNamespaced`], [`Error::NamespaceMissing`], and the kernel's refusal of a value.
pub(crate) fn set_all(
    confinement: &Confinement<'_>,
    descriptors: &Descriptors,
    proc_dir: BorrowedFd<'_>,
) -> Result<(), Error> {
    let joins = |kind| descriptors.join.iter().any(|(joined, _)| *joined == kind);
    for (name, value) in &confinement.sysctl {
        let path = path(name);
        let namespace = namespace_of(&path).ok_or_else(|| Error::SysctlNotNamespaced((*name).to_owned()))?;
        let own = match namespace {
            "network" => confinement.fresh.network || joins(NamespaceKind::Network),
            "ipc" => confinement.fresh.ipc || joins(NamespaceKind::Ipc),
            _ => confinement.fresh.uts || joins(NamespaceKind::Uts),
        };
        if !own {
            return Err(Error::NamespaceMissing { what: format!("sysctl {name:?}"), namespace });
        }
        write(proc_dir, &path, value).step(|| format!("set sysctl {name:?} to {value:?}"))?;
    }
    Ok(())
}

fn write(proc_dir: BorrowedFd<'_>, path: &str, value: &str) -> rustix::io::Result<()> {
    let path = format!("sys/{path}");
    // No name may lead out of `sys`: not by "..", not by a link.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat2(proc_dir, &path, flags, Mode::empty(), resolve)?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

/// The path of a parameter below `/proc/sys`. As in sysctl.d(5), the first separator decides: with a dot
/// first, dots separate and a slash stands for a dot (`net.ipv4.conf.eth0/1.forwarding`).
fn path(name: &str) -> String {
    if name.find(['.', '/']).is_none_or(|at| name.as_bytes().get(at) == Some(&b'/')) {
        return name.to_owned();
    }
    name.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect()
}

/// The kind of namespace that holds a parameter, if any does.
fn namespace_of(path: &str) -> Option<&'static str> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    match path.split_once('/')? {
        ("net", _) => Some("network"),
        ("fs", rest) if rest.starts_with("mqueue/") => Some("ipc"),
        ("kernel", "hostname" | "domainname") => Some("uts"),
        ("kernel", "sem") => Some("ipc"),
        ("kernel", name) if name.starts_with("shm") || name.starts_with("msg") => Some("ipc"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_that_a_namespace_holds_are_accepted() {
        for (name, namespace) in [
            ("net.ipv4.ip_forward", Some("network")),
            ("net/ipv4/ip_forward", Some("network")),
            ("kernel.shmmax", Some("ipc")),
            ("kernel.msgmnb", Some("ipc")),
            ("kernel.sem", Some("ipc")),
            ("fs.mqueue.msg_max", Some("ipc")),
            ("kernel.domainname", Some("uts")),
            ("kernel.panic", None),
            ("kernel.semaphore", None),
            ("vm.overcommit_memory", None),
            ("net", None),
            ("net/../kernel/panic", None),
            ("net.//.kernel.panic", None),
            ("", None),
        ] {
            assert_eq!(namespace_of(&path(name)), namespace, "{name:?}");
        }
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    }
}
