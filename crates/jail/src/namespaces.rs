//! Namespaces of one container: made by the fork, joined by descriptor, and what is set in a fresh one.

use std::io;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::confinement::{Confinement, Descriptors, NamespaceKind};
use crate::{Error, error::Step};

/// Flags for `clone3(2)`. The cgroup namespace is not among them: its root is the cgroup of the process that
/// makes it, so the child has to be in its own cgroup first.
#[must_use]
pub fn clone_flags(confinement: &Confinement<'_>) -> u64 {
    let fresh = confinement.fresh;
    [
        (fresh.mount, libc::CLONE_NEWNS),
        (fresh.pid, libc::CLONE_NEWPID),
        (fresh.network, libc::CLONE_NEWNET),
        (fresh.ipc, libc::CLONE_NEWIPC),
        (fresh.uts, libc::CLONE_NEWUTS),
    ]
    .iter()
    .filter(|(wanted, _)| *wanted)
    .fold(0, |flags, (_, flag)| flags | *flag as u64)
}

/// Joins all but the mount namespace, which changes what paths mean and so comes last, in `attach`.
pub(crate) fn join(descriptors: &Descriptors) -> Result<(), Error> {
    for (kind, namespace) in &descriptors.join {
        let (kind, name) = match kind {
            NamespaceKind::Mount => continue,
            NamespaceKind::Pid => {
                return Err(Error::Mismatch("a pid namespace has to be joined before the fork"));
            }
            NamespaceKind::Network => (LinkNameSpaceType::Network, "network"),
            NamespaceKind::Ipc => (LinkNameSpaceType::InterProcessCommunication, "ipc"),
            NamespaceKind::Uts => (LinkNameSpaceType::HostNameAndNISDomainName, "uts"),
            NamespaceKind::Cgroup => (LinkNameSpaceType::ControlGroup, "cgroup"),
        };
        move_into_link_name_space(namespace.as_fd(), Some(kind))
            .step(|| format!("join the {name} namespace"))?;
    }
    Ok(())
}

/// Gives the process a view of cgroups that starts at its own.
pub(crate) fn unshare_cgroup() -> Result<(), Error> {
    // SAFETY: only the cgroup namespace is parted; descriptors stay as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWCGROUP) }.step(|| "make a cgroup namespace".into())
}

/// Sets the names of a fresh uts namespace.
pub(crate) fn set_names(confinement: &Confinement<'_>) -> Result<(), Error> {
    let own = |what: &str, name: &str| {
        // In a shared one this would rename the pod, or the host.
        confinement
            .fresh
            .uts
            .then_some(())
            .ok_or_else(|| Error::NamespaceMissing { what: format!("{what} {name:?}"), namespace: "uts" })
    };
    if let Some(name) = confinement.hostname {
        own("host name", name)?;
        rustix::system::sethostname(name.as_bytes()).step(|| format!("set the host name {name:?}"))?;
    }
    if let Some(name) = confinement.domainname {
        own("domain name", name)?;
        rustix::system::setdomainname(name.as_bytes()).step(|| format!("set the domain name {name:?}"))?;
    }
    Ok(())
}

/// Brings up `lo`, which a fresh network namespace has but leaves down (netdevice(7)).
pub(crate) fn raise_loopback() -> Result<(), Error> {
    loopback_up().step(|| "bring up the loopback interface".into())
}

fn loopback_up() -> io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: takes three numbers; the result is checked before use.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows of.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
