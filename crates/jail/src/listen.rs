//! Sockets that are bound for the guest while the process still has its privileges.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_freebind, set_ipv6_freebind, set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with};

use crate::Error;
use crate::confinement::{Listen, Protocol};

/// Connections that may wait to be accepted; the kernel takes `net.core.somaxconn` if that is less.
const BACKLOG: i32 = 4096;

/// Binds them all in the network namespace the process is in, and listens on those of TCP. With `anywhere`, no interface
/// needs to have the address.
pub(crate) fn bind_all(wanted: &[Listen], anywhere: bool) -> Result<Vec<OwnedFd>, Error> {
    let one = |wanted_one: &Listen| {
        open(wanted_one, needs_v6_only(wanted_one, wanted), anywhere).map_err(|errno| match errno {
            Errno::ADDRINUSE => Error::Listen {
                on: *wanted_one,
                reason: "another process in the container's network namespace uses this address",
            },
            Errno::ADDRNOTAVAIL => Error::Listen {
                on: *wanted_one,
                reason: "no interface of the container's network namespace has this address",
            },
            Errno::AFNOSUPPORT => Error::Listen { on: *wanted_one, reason: "this host does not speak IPv6" },
            errno => Error::Kernel { step: format!("listen on {wanted_one}"), errno: errno.into() },
        })
    };
    wanted.iter().map(one).collect()
}

/// `[::]` takes IPv4 connections as well, unless another entry is there for them.
fn needs_v6_only(this: &Listen, all: &[Listen]) -> bool {
    all.iter().any(|other| {
        other.address.is_ipv4()
            && other.protocol == this.protocol
            && other.address.port() == this.address.port()
    })
}

fn open(wanted: &Listen, v6_only: bool, anywhere: bool) -> Result<OwnedFd, Errno> {
    let family = match wanted.address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, protocol) = match wanted.protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol))?;
    if family == AddressFamily::INET6 {
        set_ipv6_v6only(&socket, v6_only)?;
    }
    if wanted.protocol == Protocol::Tcp {
        // Connections of a predecessor that are still being wound up do not keep the port from its successor.
        set_socket_reuseaddr(&socket, true)?;
    }
    match wanted.address {
        SocketAddr::V4(_) if anywhere => set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) if anywhere => set_ipv6_freebind(&socket, true)?,
        _ => {}
    }
    bind(&socket, &wanted.address)?;
    if wanted.protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}
