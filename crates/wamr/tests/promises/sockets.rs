//! Sockets: those a guest is given to serve on, through WASI preview 1 as the C library has it, and those it opens.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use wamr::Policy;

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

/// Opens sockets of its own by the functions of WAMR's extension, and prints the outcome of each of its arguments.
const OPENS: &str = r#"
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))
struct address { uint32_t kind; union { struct { uint8_t n[4]; uint16_t port; } v4; struct { uint16_t n[8]; uint16_t port; } v6; }; };
struct info { struct address address; int32_t type; };
struct hints { int32_t type, family; uint8_t enabled; };
int sock_open(int pool, int family, int type, int *fd) IMPORT(sock_open);
int sock_bind(int fd, struct address *address) IMPORT(sock_bind);
int sock_connect(int fd, struct address *address) IMPORT(sock_connect);
int sock_listen(int fd, int backlog) IMPORT(sock_listen);
int sock_send_to(int fd, void *data, int count, int flags, struct address *to, int *sent) IMPORT(sock_send_to);
int sock_addr_local(int fd, struct address *address) IMPORT(sock_addr_local);
int sock_get_send_buf_size(int fd, uint32_t *size) IMPORT(sock_get_send_buf_size);
int sock_get_recv_buf_size(int fd, uint32_t *size) IMPORT(sock_get_recv_buf_size);
int sock_addr_resolve(const char *host, const char *service, struct hints *hints, struct info *info, int room, int *count) IMPORT(sock_addr_resolve);

static struct address to(const char *text) { /* 1.2.3.4:5, or the last two bytes of ::ffff:127.0.h.l behind a letter */
    struct address address = { 0 };
    int n[5];
    if (*text == 'm') {
        address.kind = 1, address.v6.n[5] = 0xffff, address.v6.n[6] = 127 << 8, address.v6.n[7] = 1;
        address.v6.port = atoi(text + 1);
    } else {
        sscanf(text, "%d.%d.%d.%d:%d", &n[0], &n[1], &n[2], &n[3], &n[4]);
        for (int i = 0; i < 4; i++) address.v4.n[i] = n[i];
        address.v4.port = n[4];
    }
    return address;
}
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *what = argv[i], *arg = strchr(what, '=');
        int fd = -1, sent, error = -1;
        struct address address = { 0 };
        struct { char *start; int length; } data = { "hello", 5 };
        *arg++ = 0;
        if (*arg) address = to(arg);
        if (!strcmp(what, "connect")) error = sock_open(-1, address.kind, 1, &fd) ?: sock_connect(fd, &address);
        if (!strcmp(what, "bind")) error = sock_open(-1, address.kind, 1, &fd) ?: sock_bind(fd, &address) ?: sock_listen(fd, 1);
        if (!strcmp(what, "listen")) error = sock_open(-1, 0, 1, &fd) ?: sock_listen(fd, 1);
        if (!strcmp(what, "send")) error = sock_open(-1, address.kind, 0, &fd) ?: sock_send_to(fd, &data, 1, 0, &address, &sent);
        if (!strcmp(what, "sizes")) {
            uint32_t size[3] = { 7, 0, 7 };
            error = sock_open(-1, 0, 1, &fd) ?: sock_get_send_buf_size(fd, &size[1]) ?: sock_get_recv_buf_size(fd, &size[1]);
            if (size[0] != 7 || !size[1] || size[2] != 7) error = 999;
        }
        if (!strcmp(what, "resolve")) {
            struct hints hints = { 0 };
            struct info info[4] = { 0 };
            int count = -1;
            error = sock_addr_resolve(argv[i] + 8, "80", &hints, info, 1, &count);
            printf("%d of %d.%d.%d.%d:%d ", count, info[0].address.v4.n[0], info[0].address.v4.n[1], info[0].address.v4.n[2],
                   info[0].address.v4.n[3], info[0].address.v4.port);
            if (info[1].address.v4.port) error = 999;
            error = error ?: sock_addr_resolve(argv[i] + 8, "80", &hints, info, 0, &count);
        }
        printf("%s: %d\n", what, error);
    }
    return 0;
}
"#;

/// WASI's numbers.
const ACCES: &str = "2";
const REFUSED: &str = "14";

/// What became of each; `None` without a C compiler.
fn opens(policies: &[Policy], what: &[&str]) -> Option<Vec<String>> {
    let wasm = c(OPENS)?;
    let args: Vec<&str> = ["opens"].into_iter().chain(what.iter().copied()).collect();
    let ended = Guest { args: &args, sockets: policies, ..Guest::new(&wasm) }.run();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    Some(ended.stdout.lines().map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect())
}

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

#[test]
fn all_policies_have_to_allow_an_address() {
    let (_listener, address) = listening();
    let port = address.port();
    let (there, mapped, any) =
        (format!("connect={address}"), format!("connect=m{port}"), format!("connect=0.0.0.0:{port}"));
    let to = format!("send={address}");
    let what: &[&str] = &[&there, &mapped, &any, "bind=127.0.0.1:0", "listen=", &to, "sizes="];
    let ok = "0";
    for (policies, expected) in [
        (&[][..], [ok, ok, ok, ok, ok, ok, ok]),
        (&[Policy::All, Policy::All], [ok, ok, ok, ok, ok, ok, ok]),
        (&[policy("none")], [ACCES, ACCES, ACCES, ACCES, ACCES, ACCES, ok]),
        (&[Policy::All, policy("none")], [ACCES, ACCES, ACCES, ACCES, ACCES, ACCES, ok]),
        (&[policy("127.0.0.0/8")], [ok, ok, ok, ACCES, ACCES, ok, ok]),
        (&[policy("10.0.0.0/8")], [ACCES, ACCES, ACCES, ACCES, ACCES, ACCES, ok]),
        (&[policy("bind:127.0.0.0/8")], [ACCES, ACCES, ACCES, ok, ACCES, ACCES, ok]),
        (&[policy("* bind:*"), policy("*:1 bind:0.0.0.0")], [ACCES, ACCES, ACCES, ACCES, ok, ACCES, ok]),
    ] {
        let Some(outcome) = opens(policies, what) else { return };
        assert_eq!(outcome, expected, "{policies:?}");
    }
    // What the kernel says arrives as well. (Nobody serves there.)
    assert_eq!(opens(&[], &["connect=127.0.0.1:1"]).unwrap(), [REFUSED]);
}

#[test]
fn addresses_are_told_as_far_as_there_is_room() {
    // One address, for streams and for datagrams.
    let Some(outcome) = opens(&[policy("none")], &["resolve=127.1.2.3", "resolve=no name"]) else { return };
    assert_eq!(outcome.len(), 2);
    let wasm = c(OPENS).unwrap();
    let ended = Guest { args: &["opens", "resolve=127.1.2.3", "resolve=no name"], ..Guest::new(&wasm) }.run();
    assert_eq!(ended.stdout, "2 of 127.1.2.3:80 resolve: 0\n0 of 0.0.0.0:0 resolve: 0\n");
}
