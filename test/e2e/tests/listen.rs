//! Promise: a guest serves on the sockets that its annotation `wamr.containerd.io/listen` names, in its own network
//! namespace. Real containerd, real namespaces, real clients inside them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use e2e::{Bed, Container, Namespace, Network, PATIENCE, Task, Traces, eventually};
use serde_json::json;

const HTTP: &str = "/bin/http.wasm";
const LISTEN: &str = "wamr.containerd.io/listen";

fn network(bed: &Bed, name: &str) -> Network {
    Network::new(&bed.folder().join(name))
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.parse().unwrap();
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
}

fn body(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body.to_owned()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    ask(&mut stream, path);
    body(&mut stream)
}

/// Started, and its guest is in its loop.
fn serving(container: Container<'_>) -> Task {
    let task = container.start();
    task.stdout().wait_until_it_says("serving");
    task
}

fn leaves_nothing(namespace: &Namespace) {
    eventually("the containers to be gone", || Traces::of_containers(namespace).is_empty());
}

#[test]
fn a_guest_serves_in_the_network_namespace_it_joins_and_nowhere_else() {
    let bed = Bed::shared();
    let namespace = bed.namespace("serves");
    let image = namespace.import_guests(&["http"]);
    let pods = [network(&bed, "serves-a"), network(&bed, "serves-b")];
    // The same port twice, below 1024, as a user without powers.
    let guests = [0, 1].map(|i| {
        let container = namespace.container(&image, &format!("web-{i}"), &[HTTP]).network(&pods[i]);
        serving(container.annotation(LISTEN, "tcp://0.0.0.0:80 tcp://[::1]:8080").user(1000, 1000))
    });
    for pod in &pods {
        assert_eq!(pod.enter(|| get("127.0.0.1:80", "/")), "hello from wasm\n");
        assert_eq!(pod.enter(|| get("[::1]:8080", "/open")), "1 open, 2 accepted\n");
        assert_eq!(pod.enter(|| get("127.0.0.1:80", "/big")).len(), 1 << 20);
        assert!(pod.enter(|| connect("127.0.0.1:8080")).is_err(), "it serves where it was told to alone");
    }
    let empty = network(&bed, "serves-c");
    assert!(empty.enter(|| connect("127.0.0.1:80")).is_err());
    for (pod, guest) in pods.iter().zip(guests) {
        assert_eq!(pod.enter(|| get("127.0.0.1:80", "/end")), "hello from wasm\n");
        assert_eq!(guest.finish().code, 0);
        assert!(pod.enter(|| connect("127.0.0.1:80")).is_err(), "the port ends with the guest");
    }
    leaves_nothing(&namespace);
}

#[test]
fn a_successor_has_the_port_at_once() {
    let bed = Bed::shared();
    let namespace = bed.namespace("successor");
    let image = namespace.import_guests(&["http"]);
    let pod = network(&bed, "successor");
    for i in 0..3 {
        let container = namespace.container(&image, &format!("web-{i}"), &[HTTP]).network(&pod);
        let guest = serving(container.annotation(LISTEN, "tcp://0.0.0.0:80"));
        // Left open by the client, so that its end is still to be wound up when the guest is killed.
        let mut client = pod.enter(|| connect("127.0.0.1:80")).unwrap();
        ask(&mut client, "/");
        assert_eq!(body(&mut client), "hello from wasm\n");
        assert_eq!(guest.end().code, 137);
    }
}

#[test]
fn a_fresh_network_namespace_and_the_host_s_are_served_too() {
    let bed = Bed::shared();
    let namespace = bed.namespace("places");
    let image = namespace.import_guests(&["http"]);
    let fresh = serving(namespace.container(&image, "fresh", &[HTTP]).annotation(LISTEN, "tcp://[::]:80"));
    let inside = Network::at(Path::new(&format!("/proc/{}/ns/net", fresh.pid)));
    assert_eq!(inside.enter(|| get("[::1]:80", "/")), "hello from wasm\n");
    assert_eq!(inside.enter(|| get("127.0.0.1:80", "/")), "hello from wasm\n", "IPv4 comes along");

    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let host = namespace.container(&image, "host", &[HTTP]).host_network();
    let host = serving(host.annotation(LISTEN, &format!("tcp://{address}")));
    assert_eq!(get(&address, "/"), "hello from wasm\n");
    assert_eq!((fresh.end().code, host.end().code), (137, 137));
    leaves_nothing(&namespace);
}

#[test]
fn a_thousand_connections_are_served_at_once_and_no_descriptor_is_left() {
    const MANY: usize = 1000;
    let bed = Bed::shared();
    let namespace = bed.namespace("thousand");
    let image = namespace.import_guests(&["http"]);
    let pod = network(&bed, "thousand");
    let mut container = namespace.container(&image, "web", &[HTTP]).network(&pod);
    container.spec.set(
        "/process",
        "rlimits",
        json!([{ "type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096 }]),
    );
    let guest = serving(container.annotation(LISTEN, "tcp://0.0.0.0:80"));
    // The test's own clients take descriptors too.
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(4096), maximum: Some(4096) },
    )
    .unwrap();
    assert_eq!(pod.enter(|| get("127.0.0.1:80", "/")), "hello from wasm\n");
    let server = namespace.server().process;
    let descriptors = || (guest.process().descriptors(), server.descriptors());
    let before = descriptors();

    let mut clients: Vec<_> =
        pod.enter(|| (0..MANY).map(|_| connect("127.0.0.1:80").unwrap()).collect::<Vec<_>>());
    eventually("all connections to be accepted", || {
        guest.process().descriptors().len() >= before.0.len() + MANY
    });
    let told = pod.enter(|| get("127.0.0.1:80", "/open"));
    assert_eq!(told, format!("{} open, {} accepted\n", MANY + 1, MANY + 2));
    clients.iter_mut().for_each(|client| ask(client, "/"));
    for client in &mut clients {
        assert_eq!(body(client), "hello from wasm\n");
    }
    drop(clients);
    eventually("the guest's descriptors to be as before", || descriptors() == before);
    assert_eq!(pod.enter(|| get("127.0.0.1:80", "/open")), format!("1 open, {} accepted\n", MANY + 3));
    assert_eq!(guest.end().code, 137);
    leaves_nothing(&namespace);
}

#[test]
fn what_cannot_be_served_fails_create_in_words() {
    let bed = Bed::shared();
    let namespace = bed.namespace("refused");
    let image = namespace.import_guests(&["http", "hello"]);
    let pod = network(&bed, "refused");
    let web = |id: &str, listen: &str| {
        namespace.container(&image, id, &[HTTP]).network(&pod).annotation(LISTEN, listen)
    };
    let first = serving(web("first", "tcp://0.0.0.0:80"));
    for (id, listen, words) in [
        ("taken", "tcp://127.0.0.1:81 tcp://127.0.0.1:80", ["tcp://127.0.0.1:80", "another process"]),
        ("nowhere", "tcp://192.0.2.7:80", ["tcp://192.0.2.7:80", "no interface"]),
        ("text", "tcp://localhost:80", ["annotations.wamr.containerd.io/listen", "in numbers"]),
        ("scheme", "http://0.0.0.0:80", ["annotations.wamr.containerd.io/listen", "http"]),
    ] {
        let refusal = web(id, listen).refusal();
        for word in words {
            assert!(refusal.contains(word), "{word:?} is not in: {refusal}");
        }
    }
    assert_eq!(pod.enter(|| get("127.0.0.1:80", "/")), "hello from wasm\n", "the first one still serves");
    assert!(pod.enter(|| connect("127.0.0.1:81")).is_err(), "nothing stays of a half refused one");
    assert_eq!(first.end().code, 137);
    leaves_nothing(&namespace);
    // Whoever is not told to serve is not told of listeners.
    assert_eq!(namespace.container(&image, "good", &["/bin/hello.wasm"]).run().text(), "hello from wasm\n");
}

#[test]
fn rust_s_standard_library_serves_on_it() {
    let bed = Bed::shared();
    let namespace = bed.namespace("rust");
    let image = namespace.import_guests(&["listen"]);
    let pod = network(&bed, "rust");
    let container = namespace.container(&image, "rust", &["/bin/listen.wasm", "3"]).network(&pod);
    let guest = serving(container.annotation(LISTEN, "tcp://[::]:80"));
    for address in ["127.0.0.1:80", "[::1]:80", "127.0.0.1:80"] {
        let connected = pod.enter(|| connect(address));
        let mut client = connected.unwrap_or_else(|e| panic!("{address}: {e}; {}", guest.stderr().so_far()));
        client.write_all(b"hello\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO\n");
    }
    let finished = guest.finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (0, ""));
}
