//! Promise: a guest opens sockets of its own, as far as the policies of its node and its pod let it, and finds others by
//! the names of its pod's DNS. Real containerd, network namespaces and a DNS server of the test's own inside them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use e2e::{Bed, Container, Finished, Image, Namespace, Network, PATIENCE, Traces, eventually};

const NET: &str = "/bin/net.wasm";
const SOCKETS: &str = "wamr.containerd.io/sockets";

struct Pod<'n> {
    namespace: &'n Namespace,
    image: &'n Image,
    network: Network,
    /// `/etc` of its containers.
    etc: String,
}

impl<'n> Pod<'n> {
    /// Asks the name server at 127.0.0.1, as a pod's resolv.conf would have it.
    fn new(namespace: &'n Namespace, image: &'n Image, name: &str) -> Pod<'n> {
        let network = Network::new(&namespace.bed.folder().join(format!("{}-{name}", namespace.name)));
        let etc = namespace.bed.folder().join(format!("{}-{name}-etc", namespace.name));
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("hosts"), "127.0.0.1 localhost\n127.0.0.9 by-file\n").unwrap();
        std::fs::write(etc.join("services"), "http 80/tcp\n").unwrap();
        let conf = "nameserver 127.0.0.1\nsearch ns.svc.test svc.test\noptions ndots:5 timeout:1\n";
        std::fs::write(etc.join("resolv.conf"), conf).unwrap();
        Pod { namespace, image, network, etc: etc.display().to_string() }
    }

    fn container(&self, id: &str, args: &[&str]) -> Container<'n> {
        let args: Vec<&str> = [NET].into_iter().chain(args.iter().copied()).collect();
        self.namespace.container(self.image, id, &args).network(&self.network).user(1000, 1000).mount(
            "bind",
            &self.etc,
            "/etc",
            &["bind", "ro"],
        )
    }

    fn run(&self, id: &str, args: &[&str]) -> Finished {
        self.container(id, args).run()
    }

    /// Answers one connection after the other with what it was sent; ends with the number of connections.
    fn echo(&self, address: &str, count: usize) -> JoinHandle<()> {
        let listener = self.network.enter(|| TcpListener::bind(address).unwrap());
        std::thread::spawn(move || {
            for _ in 0..count {
                let (mut stream, _) = listener.accept().unwrap();
                let mut text = [0; 100];
                let length = stream.read(&mut text).unwrap();
                stream.write_all(&text[..length]).unwrap();
            }
        })
    }
}

/// A DNS server for `web.svc.test` and others, inside the pod. What it was asked, in order.
fn name_server(pod: &Pod<'_>, zone: &'static [(&str, u8, &[u8])]) -> Arc<Mutex<Vec<String>>> {
    let (udp, tcp) = pod
        .network
        .enter(|| (UdpSocket::bind("127.0.0.1:53").unwrap(), TcpListener::bind("127.0.0.1:53").unwrap()));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let answer = answer(zone, &buffer[..length], "udp", &log);
            let _ = udp.send_to(&answer, from);
        }
    });
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).unwrap();
            let answer = answer(zone, &query, "tcp", &log);
            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    asked
}

/// Names that begin with `big` do not fit into a datagram.
fn answer(zone: &[(&str, u8, &[u8])], query: &[u8], over: &str, log: &Mutex<Vec<String>>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let (name, kind) = (labels.join("."), query[at + 2]);
    log.lock().unwrap().push(format!("{over} {name} {kind}"));
    let truncated = name.starts_with("big") && over == "udp";
    let found = zone.iter().filter(|(known, of, _)| *known == name && *of == kind && !truncated);
    let known = zone.iter().any(|(known, ..)| *known == name);
    let mut message = query[..at + 5].to_vec();
    message[2..4].copy_from_slice(&[if truncated { 0x83 } else { 0x81 }, if known { 0x80 } else { 0x83 }]);
    let mut count = 0_u16;
    for (_, kind, data) in found {
        message.extend([0xc0, 12, 0, *kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
        message.extend(*data);
        count += 1;
    }
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message
}

const ZONE: &[(&str, u8, &[u8])] = &[
    ("web.svc.test", 1, &[127, 0, 0, 1]),
    ("six.ns.svc.test", 28, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    ("big.svc.test", 1, &[127, 0, 0, 1]),
    ("far.svc.test", 1, &[192, 0, 2, 1]),
];

fn leaves_nothing(namespace: &Namespace) {
    eventually("the containers to be gone", || Traces::of_containers(namespace).is_empty());
}

#[test]
fn a_guest_finds_others_by_name_and_talks_to_them() {
    let bed = Bed::shared();
    let namespace = bed.namespace("dials");
    let image = namespace.import_guests(&["net"]);
    let pod = Pod::new(&namespace, &image, "pod");
    let asked = name_server(&pod, ZONE);
    let echo = pod.echo("[::]:80", 4);
    for (id, host) in [("web", "web"), ("six", "six"), ("big", "big"), ("number", "127.0.0.1")] {
        let finished = pod.run(id, &["connect", host, "80"]);
        assert_eq!(
            (finished.code, finished.text().as_str()),
            (0, "from wasm\n"),
            "{host}: {}",
            finished.stderr
        );
    }
    echo.join().unwrap();
    let asked = asked.lock().unwrap().clone();
    for query in ["udp web.ns.svc.test 1", "udp web.svc.test 1", "udp web.svc.test 28", "tcp big.svc.test 1"]
    {
        assert!(asked.iter().any(|line| line == query), "{query:?} is not in {asked:?}");
    }
    let names = ["resolve", "by-file", "resolve", "nobody", "resolve", "six", "resolve", "localhost"];
    let finished = pod.run("names", &names);
    assert_eq!(finished.text(), "127.0.0.9\nresolve: EAI_NONAME\n::1\n127.0.0.1\n");
    leaves_nothing(&namespace);
}

#[test]
fn datagrams_go_both_ways() {
    let bed = Bed::shared();
    let namespace = bed.namespace("datagrams");
    let image = namespace.import_guests(&["net"]);
    let pod = Pod::new(&namespace, &image, "pod");
    let socket = pod.network.enter(|| UdpSocket::bind("127.0.0.1:7").unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let pong = std::thread::spawn(move || {
        let mut text = [0; 10];
        let (length, from) = socket.recv_from(&mut text).unwrap();
        assert_eq!(&text[..length], b"ping");
        socket.send_to(b"pong", from).unwrap();
    });
    assert_eq!(pod.run("ping", &["datagram", "127.0.0.1", "7"]).text(), "pong\n");
    pong.join().unwrap();
}

#[test]
fn a_guest_serves_on_sockets_of_its_own_and_all_it_sent_arrives() {
    let bed = Bed::shared();
    let namespace = bed.namespace("opens");
    let image = namespace.import_guests(&["net"]);
    let pods = ["a", "b"].map(|name| Pod::new(&namespace, &image, name));
    // The same port in two namespaces.
    let guests = [0, 1].map(|i| pods[i].container(&format!("guest-{i}"), &["serve", "8080", "2"]).start());
    for (pod, guest) in pods.iter().zip(&guests) {
        guest.stdout().wait_until_it_says("serving");
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            let text = vec![b'x'; 150];
            let mut stream = pod.network.enter(|| TcpStream::connect(address).unwrap());
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&text).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            assert_eq!(all, text.repeat(100));
        }
    }
    for guest in guests {
        assert_eq!(guest.finish().code, 0);
    }
    assert_eq!(pods[0].run("sizes", &["buffers"]).text(), "whole\n");
    // A port below 1024 is not for a user without powers.
    assert_eq!(pods[0].run("low", &["bind", "0.0.0.0", "79"]).text(), "bind: EACCES\n");
    leaves_nothing(&namespace);
}

#[test]
fn the_policy_of_a_pod_narrows_what_it_can_reach() {
    let bed = Bed::shared();
    let namespace = bed.namespace("policy");
    let image = namespace.import_guests(&["net"]);
    let pod = Pod::new(&namespace, &image, "pod");
    let _asked = name_server(&pod, ZONE);
    let echo = pod.echo("127.0.0.1:80", 2);
    let does = [
        "connect",
        "127.0.0.1",
        "80",
        "connect",
        "127.0.0.1",
        "81",
        "connect",
        "web",
        "80",
        "bind",
        "127.0.0.1",
        "8080",
        "listen",
    ];
    let run = |id: &str, policy: &str| {
        let finished = pod.container(id, &does).annotation(SOCKETS, policy).run();
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        finished.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (refused, denied) = ("connect: Connection refused", "connect: EACCES");
    // Without leave for the name server there are no names.
    assert_eq!(
        run("narrow", "127.0.0.0/8:80"),
        ["from wasm", denied, "resolve: EACCES", "bind: EACCES", "listen: EACCES"]
    );
    assert_eq!(
        run("dns", "10.0.0.0/8,127.0.0.1:53 127.0.0.1:81 bind:127.0.0.1:8080"),
        [denied, refused, denied, "bound", "listen: EACCES"]
    );
    assert_eq!(
        run("all", "all"),
        ["from wasm", refused, "connect: Connection refused", "bound", "listening"]
    );
    // The kernel refuses before the engine is asked.
    let refused = "socket: Operation not permitted";
    assert_eq!(run("none", "none"), [refused, refused, "resolve: EACCES", refused, refused]);
    echo.join().unwrap();
    leaves_nothing(&namespace);
}

#[test]
fn a_policy_that_makes_no_sense_fails_create_in_words() {
    let bed = Bed::shared();
    let namespace = bed.namespace("nopolicy");
    let image = namespace.import_guests(&["net"]);
    let pod = Pod::new(&namespace, &image, "pod");
    for policy in ["some", "10.0.0.0/99", "fd00::/8", "10.0.0.1:99999"] {
        let refusal = pod.container("refused", &["listen"]).annotation(SOCKETS, policy).refusal();
        assert!(refusal.contains("annotations.wamr.containerd.io/sockets"), "{refusal}");
        assert!(refusal.contains(policy), "{refusal}");
    }
    leaves_nothing(&namespace);
}

#[test]
fn in_the_host_s_network_the_host_s_addresses_are_reached() {
    let bed = Bed::shared();
    let namespace = bed.namespace("host");
    let image = namespace.import_guests(&["net"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let port = address.port().to_string();
    let answered = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = [0; 100];
        let length = stream.read(&mut text).unwrap();
        stream.write_all(b"from the host\n").unwrap();
        text[..length].to_vec()
    });
    let args = [NET, "connect", "127.0.0.1", &port];
    let denied =
        namespace.container(&image, "denied", &args).host_network().annotation(SOCKETS, "none").run();
    assert_eq!(denied.text(), "socket: Operation not permitted\n");
    let finished = namespace.container(&image, "allowed", &args).host_network().run();
    assert_eq!(finished.text(), "from the host\n", "{}", finished.stderr);
    assert_eq!(answered.join().unwrap(), b"from wasm\n");
}
