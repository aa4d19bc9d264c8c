//! Sockets that are bound for the guest in its own network namespace.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};

use jail::{Listen, NamespaceKind, Namespaces, Protocol};

use crate::harness::{Case, Scratch, tests, word};

tests![
    a_port_below_1024_is_bound_for_a_user_without_powers,
    it_is_bound_in_the_namespace_that_is_joined,
    an_address_in_use_is_named,
    an_address_that_no_interface_has_is_named,
    ipv6_takes_ipv4_along_unless_that_is_listed_too,
    datagrams_are_received,
];

fn listen(protocol: Protocol, address: &str) -> Listen {
    Listen { protocol, address: address.parse().unwrap() }
}

fn tcp(address: &str) -> Listen {
    listen(Protocol::Tcp, address)
}

/// In a network namespace of its own.
fn case(scratch: &Scratch, listen: &[Listen]) -> Case<'static> {
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.fresh.network = true;
    case.confinement.listen = listen.to_vec();
    case
}

/// The descriptors the process was left with beside its standard ones, by their local addresses.
fn sockets() -> Vec<(SocketAddr, OwnedFd)> {
    let sockets = (3..64).filter_map(|fd| {
        // SAFETY: a number; the copy is owned by nobody else.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100) };
        // SAFETY: as above, and it is open.
        let socket = (copy >= 0).then(|| unsafe { TcpListener::from_raw_fd(copy) })?;
        Some((socket.local_addr().ok()?, socket.into()))
    });
    sockets.collect()
}

/// Connects to each address and says which of the listeners got it, by the order of ports.
fn served(addresses: &[&str]) -> String {
    let sockets = sockets();
    let tried = addresses.iter().map(|address| {
        let mut client = match TcpStream::connect(address) {
            Ok(client) => client,
            Err(e) => return format!("{address}: {e}"),
        };
        client.write_all(b"x").unwrap();
        let from = client.local_addr().unwrap();
        let got = sockets.iter().position(|(_, fd)| {
            let listener = TcpListener::from(fd.try_clone().unwrap());
            listener.set_nonblocking(true).unwrap();
            listener.accept().is_ok_and(|(_, peer)| peer.port() == from.port())
        });
        format!("{address}: {}", got.map_or("nobody".into(), |i| sockets[i].0.to_string()))
    });
    tried.collect::<Vec<_>>().join(", ")
}

fn a_port_below_1024_is_bound_for_a_user_without_powers() {
    let scratch = Scratch::new();
    let said = case(&scratch, &[tcp("127.0.0.1:80"), tcp("0.0.0.0:81")])
        .run(|| {
            format!(
                "{} own: {}",
                served(&["127.0.0.1:80", "127.0.0.1:81"]),
                word(TcpListener::bind("127.0.0.1:82"))
            )
        })
        .said();
    assert_eq!(said, "127.0.0.1:80: 127.0.0.1:80, 127.0.0.1:81: 0.0.0.0:81 own: EACCES");
}

/// Addresses in state LISTEN in a process's network namespace.
fn listening(pid: i32) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == "0A").map(|row| row[1].to_owned()).collect()
}

fn it_is_bound_in_the_namespace_that_is_joined() {
    let scratch = Scratch::new();
    let own = std::process::id() as i32;
    let before = listening(own);
    let mut seen = Vec::new();
    case(&scratch, &[])
        .run_watched(String::new, |pod| {
            let network = fs::File::open(format!("/proc/{pod}/ns/net")).unwrap();
            let mut member = case(&scratch, &[tcp("0.0.0.0:80")]);
            member.confinement.fresh = Namespaces { network: false, ..member.confinement.fresh };
            member.descriptors.join.push((NamespaceKind::Network, network.into()));
            member.run_watched(String::new, |_| seen = listening(pod)).said();
            assert_eq!(listening(pod), [] as [&str; 0], "it ends with the process");
        })
        .said();
    assert_eq!(seen, ["00000000:0050"]);
    assert_eq!(before, listening(own), "the host's own has nothing of it");
}

fn an_address_in_use_is_named() {
    let scratch = Scratch::new();
    let error = case(&scratch, &[tcp("0.0.0.0:8080"), tcp("127.0.0.1:8080")]).run(String::new).error();
    assert!(error.contains("tcp://127.0.0.1:8080") && error.contains("another process"), "{error}");
}

fn an_address_that_no_interface_has_is_named() {
    let scratch = Scratch::new();
    let error = case(&scratch, &[tcp("192.0.2.1:80")]).run(String::new).error();
    assert!(error.contains("tcp://192.0.2.1:80") && error.contains("no interface"), "{error}");
}

fn ipv6_takes_ipv4_along_unless_that_is_listed_too() {
    let scratch = Scratch::new();
    let tried = ["127.0.0.1:80", "[::1]:80"];
    let alone = case(&scratch, &[tcp("[::]:80")]).run(|| served(&tried)).said();
    assert_eq!(alone, "127.0.0.1:80: [::]:80, [::1]:80: [::]:80");
    let both = case(&scratch, &[tcp("[::]:80"), tcp("0.0.0.0:80")]).run(|| served(&tried)).said();
    assert_eq!(both, "127.0.0.1:80: 0.0.0.0:80, [::1]:80: [::]:80");
}

fn datagrams_are_received() {
    let scratch = Scratch::new();
    let said = case(&scratch, &[listen(Protocol::Udp, "127.0.0.1:53")]).run(|| {
        let (address, socket) = sockets().pop().unwrap();
        let socket = UdpSocket::from(socket);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap();
        let mut buffer = [0; 10];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    });
    assert_eq!(said.said(), "hello");
}
