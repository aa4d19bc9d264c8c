//! Which sockets, and which of their options, a guest's WASI calls can need.
//!
//! Every option is code of the kernel's network stack that a hostile process could try; so only those that
//! WAMR's socket extension itself sets or asks for are let through.

use crate::syscall_filter::{Arg, Rules, equals};

/// Options that are set and asked for: (level, name).
const OPTIONS: [(i32, i32); 22] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_BROADCAST),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL),
    (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP),
    (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP),
    (libc::IPPROTO_IP, libc::IP_DROP_MEMBERSHIP),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
    (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_LOOP),
    (libc::IPPROTO_IPV6, libc::IPV6_ADD_MEMBERSHIP),
];
/// Options that are only set.
const SET_ONLY: [(i32, i32); 1] = [(libc::IPPROTO_IPV6, libc::IPV6_DROP_MEMBERSHIP)];
/// Options that are only asked for.
const ASK_ONLY: [(i32, i32); 3] = [
    (libc::SOL_SOCKET, libc::SO_TYPE),
    (libc::SOL_SOCKET, libc::SO_ERROR),
    (libc::SOL_SOCKET, libc::SO_ACCEPTCONN),
];
/// `SOCK_TYPE_MASK` of `linux/net.h`: the type without SOCK_CLOEXEC and SOCK_NONBLOCK.
const TYPE_MASK: u64 = 0xf;

/// TCP and UDP over both address families; not other protocols of the same type, each of which the kernel
/// would load a module for (SCTP, MPTCP, UDP-Lite).
pub(crate) fn socket() -> Rules {
    let mut rules = Rules::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in
            [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
        {
            for protocol in [0, protocol] {
                rules.push(vec![
                    equals(0, family as u64),
                    Arg { index: 1, mask: TYPE_MASK, value: kind as u64, wide: false },
                    equals(2, protocol as u64),
                ]);
            }
        }
    }
    rules
}

pub(crate) fn setsockopt() -> Rules {
    option_rules(OPTIONS.iter().chain(&SET_ONLY))
}

pub(crate) fn getsockopt() -> Rules {
    option_rules(OPTIONS.iter().chain(&ASK_ONLY))
}

fn option_rules<'a>(options: impl Iterator<Item = &'a (i32, i32)>) -> Rules {
    options.map(|(level, name)| vec![equals(1, *level as u64), equals(2, *name as u64)]).collect()
}
