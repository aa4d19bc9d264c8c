//! Sockets: those a guest is given to serve on, through WASI preview 1 as the C library has it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::harness::{Child, Guest, c, spawn};

/// Serves in turn what the letters of its first argument say, one connection each.
const SERVES: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(what) if (!(what)) { printf("%s: %s\n", #what, strerror(errno)); exit(1); }

static int listener;

static int next(void) {
    int fd = accept(listener, 0, 0);
    CHECK(fd >= 0);
    return fd;
}
int main(int argc, char **argv) {
    char text[100] = "";
    CHECK(getenv("LISTEN_FDS") && getenv("LISTEN_FDS_FIRST_FD") && !getenv("LISTEN_PID"));
    listener = atoi(getenv("LISTEN_FDS_FIRST_FD")) + atoi(getenv("LISTEN_FDS")) - 1;
    puts("serving");
    fflush(stdout);
    for (char *what = argv[1]; *what; what++) {
        int fd;
        struct pollfd ready[2];
        switch (*what) {
        case 'e': /* echo, by read and write */
            fd = next();
            CHECK(read(fd, text, sizeof text) == 5);
            CHECK(write(fd, text, 5) == 5);
            break;
        case 'p': /* look, then take; MSG_PEEK leaves the data */
            fd = next();
            CHECK(recv(fd, text, sizeof text, MSG_PEEK) == 5);
            CHECK(recv(fd, text, sizeof text, 0) == 5);
            CHECK(send(fd, text, 5, 0) == 5);
            break;
        case 'w': /* waits for all ten bytes */
            fd = next();
            CHECK(recv(fd, text, 10, MSG_WAITALL) == 10);
            CHECK(send(fd, text, 10, 0) == 10);
            break;
        case 'h': /* the client says all it has, sees our end, and is answered afterwards */
            fd = next();
            CHECK(recv(fd, text, sizeof text, 0) == 5);
            CHECK(shutdown(fd, SHUT_RD) == 0);
            CHECK(send(fd, "after", 5, 0) == 5);
            CHECK(shutdown(fd, SHUT_WR) == 0);
            break;
        case 'n': /* does not wait */
            CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
            while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) < 0) {
                CHECK(errno == EAGAIN);
                ready[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
                CHECK(poll(ready, 1, -1) == 1);
            }
            while (recv(fd, text, sizeof text, 0) < 0) {
                CHECK(errno == EAGAIN);
                ready[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
                ready[1] = (struct pollfd){ .fd = fd, .events = POLLIN };
                CHECK(poll(ready, 2, -1) == 1);
                CHECK(!ready[0].revents && ready[1].revents & POLLIN);
            }
            CHECK(send(fd, text, 5, 0) == 5);
            CHECK(fcntl(listener, F_SETFL, 0) == 0);
            break;
        case 'u': /* a datagram */
            CHECK(recv(listener, text, sizeof text, 0) == 5);
            return 0;
        default:
            return 2;
        }
        CHECK(close(fd) == 0);
    }
    return 0;
}
"#;

/// A guest with the listener, serving; `None` without a C compiler.
fn serving(what: &str, listeners: impl FnOnce() -> Vec<OwnedFd>) -> Option<Child> {
    let wasm = c(SERVES)?;
    let listeners = listeners();
    let env = ["LISTEN_FDS=99", "LISTEN_PID=1", "LISTEN_FDNAMES=x"];
    let args = ["serves", what];
    let child = spawn(|| {
        let guest = Guest { args: &args, env: &env, ..Guest::new(&wasm) };
        guest.serve_here(listeners)
    });
    child.wait_for_output();
    Some(child)
}

fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_guest_serves_on_the_last_of_its_listeners() {
    let (first, second) = (listening(), listening());
    let address = second.1;
    let Some(guest) = serving("ep", || vec![first.0.into(), second.0.into()]) else { return };
    for _ in 0..2 {
        let mut client = connect(address);
        client.write_all(b"hello").unwrap();
        assert_eq!(rest(&mut client), "hello");
    }
    let ended = guest.wait();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "serving\n"));
}

#[test]
fn receiving_waits_for_all_when_it_is_told_to() {
    let (listener, address) = listening();
    let Some(guest) = serving("w", || vec![listener.into()]) else { return };
    let mut client = connect(address);
    client.write_all(b"hello").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    client.write_all(b"world").unwrap();
    assert_eq!(rest(&mut client), "helloworld");
    assert_eq!(guest.wait().code, 0);
}

#[test]
fn each_direction_of_a_connection_is_shut_down_alone() {
    let (listener, address) = listening();
    let Some(guest) = serving("h", || vec![listener.into()]) else { return };
    let mut client = connect(address);
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), "after");
    assert_eq!(guest.wait().code, 0);
}

#[test]
fn a_guest_that_does_not_want_to_wait_does_not() {
    let (listener, address) = listening();
    let Some(guest) = serving("nn", || vec![listener.into()]) else { return };
    for _ in 0..2 {
        let mut client = connect(address);
        std::thread::sleep(Duration::from_millis(50));
        client.write_all(b"hello").unwrap();
        assert_eq!(rest(&mut client), "hello");
    }
    let ended = guest.wait();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "serving\n"));
}

#[test]
fn a_guest_is_given_datagrams() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let Some(guest) = serving("u", || vec![socket.into()]) else { return };
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap();
    let ended = guest.wait();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "serving\n"));
}
