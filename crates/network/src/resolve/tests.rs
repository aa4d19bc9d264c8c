//! Against name servers of the tests' own, on the loopback interface.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::*;

/// Answers by name and kind: `web.test 1 10.0.0.1`, in the letters of a zone file; `!name` does not answer at all,
/// `~name` answers over UDP that it is too much, `%name` is in trouble.
struct Server {
    address: SocketAddr,
    /// `udp web.test 1`, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(zone: &'static [&'static str]) -> Server {
    // A port that is free for both.
    let (tcp, udp) = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap())
        .find_map(|tcp| UdpSocket::bind(tcp.local_addr().unwrap()).ok().map(|udp| (tcp, udp)))
        .unwrap();
    let address = tcp.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            if let Some(answer) = answer(zone, &buffer[..length], "udp", &log) {
                // Noise first: nothing that is no answer to the question is taken for one.
                udp.send_to(b"noise", from).unwrap();
                udp.send_to(&buffer[..length], from).unwrap();
                udp.send_to(&answer, from).unwrap();
            }
        }
    });
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut query).unwrap();
            let answer = answer(zone, &query, "tcp", &log).unwrap();
            let mut message = (answer.len() as u16).to_be_bytes().to_vec();
            message.extend(answer);
            // In small pieces.
            message.chunks(7).for_each(|piece| stream.write_all(piece).unwrap());
        }
    });
    Server { address, asked }
}

fn answer(zone: &[&str], query: &[u8], over: &str, log: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let (name, kind) = (labels.join("."), query[at + 2]);
    log.lock().unwrap().push(format!("{over} {name} {kind}"));
    let is = |mark: &str| zone.contains(&format!("{mark}{name}").as_str());
    if is("!") {
        return None;
    }
    let mut records = Vec::new();
    let mut count = 0_u16;
    for line in zone {
        let fields: Vec<_> = line.split(' ').collect();
        if fields.len() == 3 && fields[0] == name && fields[1] == kind.to_string() {
            let data = match fields[2].parse().unwrap() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            records.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
            records.extend(data);
            count += 1;
        }
    }
    let known = zone.iter().any(|line| line.split(' ').next() == Some(&name));
    let code = if is("%") {
        2
    } else if known || count > 0 {
        0
    } else {
        3
    };
    let truncated = is("~") && over == "udp";
    let mut message = query[..at + 5].to_vec();
    message[2..4].copy_from_slice(&[if truncated { 0x83 } else { 0x81 }, 0x80 | code]);
    message[6..8].copy_from_slice(&if truncated { 0 } else { count }.to_be_bytes());
    if !truncated {
        message.extend(records);
    }
    Some(message)
}

struct Look {
    conf: ResolvConf,
    hosts: PathBuf,
}

impl Look {
    fn at(servers: &[&Server]) -> Look {
        let servers = servers.iter().map(|server| server.address).collect();
        let timeout = Duration::from_millis(300);
        Look { conf: ResolvConf { servers, timeout, ..ResolvConf::default() }, hosts: "/nonexistent".into() }
    }

    fn up_with(
        &self,
        host: &str,
        family: Family,
        allowed: &dyn Fn(SocketAddr) -> bool,
    ) -> Result<Vec<String>, Error> {
        let names = Names { hosts: self.hosts.clone(), ..Names::default() };
        let request = Request { host, family, allowed, stopped: &|| false };
        let found = names.lookup(&request, || self.conf.clone())?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    fn up(&self, host: &str, family: Family) -> Result<Vec<String>, Error> {
        self.up_with(host, family, &|_| true)
    }
}

fn list(addresses: &[&str]) -> Result<Vec<String>, Error> {
    Ok(addresses.iter().map(|address| (*address).to_owned()).collect())
}

#[test]
fn a_name_has_the_addresses_its_server_tells_of_the_family_that_is_wanted() {
    let server =
        serve(&["web.test 1 10.0.0.1", "web.test 1 10.0.0.2", "web.test 28 fd00::1", "four.test 1 10.0.0.4"]);
    let look = Look::at(&[&server]);
    assert_eq!(look.up("web.test", Family::Any), list(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
    assert_eq!(look.up("WEB.test.", Family::V4), list(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(look.up("web.test", Family::V6), list(&["fd00::1"]));
    assert_eq!(look.up("four.test", Family::V6), list(&[]));
    assert_eq!(look.up("nobody.test", Family::Any), list(&[]));
    assert_eq!(look.up("no name", Family::Any), Err(Error::NotAName));
}

#[test]
fn numbers_and_localhost_need_no_server() {
    let look =
        Look { conf: ResolvConf { servers: vec![], ..ResolvConf::default() }, hosts: "/nonexistent".into() };
    assert_eq!(look.up("10.1.2.3", Family::Any), list(&["10.1.2.3"]));
    assert_eq!(look.up("fd00::1", Family::V6), list(&["fd00::1"]));
    assert_eq!(look.up("fd00::1", Family::V4), list(&[]));
    assert_eq!(look.up("localhost", Family::Any), list(&["::1", "127.0.0.1"]));
    assert_eq!(look.up("x.LocalHost.", Family::V4), list(&["127.0.0.1"]));
}

#[test]
fn the_hosts_file_comes_first() {
    let server = serve(&["web.test 1 10.0.0.1", "other.test 1 10.0.0.2"]);
    let path = std::env::temp_dir().join(format!("network-hosts-{}", std::process::id()));
    std::fs::write(&path, "192.0.2.1 web.test short\n::7 localhost\n").unwrap();
    let look = Look { hosts: path.clone(), ..Look::at(&[&server]) };
    let found = ["web.test", "short", "localhost", "other.test"].map(|host| look.up(host, Family::Any));
    std::fs::remove_file(path).unwrap();
    assert_eq!(found, [list(&["192.0.2.1"]), list(&["192.0.2.1"]), list(&["::7"]), list(&["10.0.0.2"])]);
}

#[test]
fn a_hosts_file_that_is_no_file_stops_nobody() {
    let path = std::env::temp_dir().join(format!("network-fifo-{}", std::process::id()));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let server = serve(&["web.test 1 10.0.0.1"]);
    let look = Look { hosts: path.clone(), ..Look::at(&[&server]) };
    let found = look.up("web.test", Family::V4);
    std::fs::remove_file(path).unwrap();
    assert_eq!(found, list(&["10.0.0.1"]));
}

#[test]
fn short_names_are_searched_for_as_resolv_conf_says() {
    let server = serve(&[
        "web.ns.svc.test 1 10.0.0.1",
        "web.svc.test 1 10.0.0.2",
        "a.b 1 10.0.0.3",
        "a.b.svc.test 1 10.0.0.4",
    ]);
    let mut look = Look::at(&[&server]);
    look.conf.search = vec!["ns.svc.test".into(), "svc.test".into()];
    let asked = || std::mem::take(&mut *server.asked.lock().unwrap());
    assert_eq!(look.up("web", Family::V4), list(&["10.0.0.1"]));
    assert_eq!(asked(), ["udp web.ns.svc.test 1"]);
    assert_eq!(look.up("a.b", Family::V4), list(&["10.0.0.3"]));
    assert_eq!(asked(), ["udp a.b 1"]);
    look.conf.dots = 5;
    assert_eq!(look.up("a.b", Family::V4), list(&["10.0.0.4"]));
    assert_eq!(asked(), ["udp a.b.ns.svc.test 1", "udp a.b.svc.test 1"]);
    assert_eq!(look.up("a.b.", Family::V4), list(&["10.0.0.3"]));
    assert_eq!(look.up("none", Family::V4), list(&[]));
    assert_eq!(asked(), ["udp a.b 1", "udp none.ns.svc.test 1", "udp none.svc.test 1", "udp none 1"]);
}

#[test]
fn what_is_cut_off_is_asked_for_over_tcp() {
    let server = serve(&["~web.test", "web.test 1 10.0.0.1"]);
    let mut look = Look::at(&[&server]);
    assert_eq!(look.up("web.test", Family::V4), list(&["10.0.0.1"]));
    assert_eq!(*server.asked.lock().unwrap(), ["udp web.test 1", "tcp web.test 1"]);
    look.conf.tcp = true;
    assert_eq!(look.up("web.test", Family::Any), list(&["10.0.0.1"]));
}

#[test]
fn a_silent_server_is_asked_again_and_then_the_next_one() {
    let silent = serve(&["!web.test"]);
    let good = serve(&["web.test 1 10.0.0.1"]);
    let both = Look::at(&[&silent, &good]);
    assert_eq!(both.up("web.test", Family::Any), list(&["10.0.0.1"]));
    assert_eq!(silent.asked.lock().unwrap().len(), 2, "for each family once");
    let mut alone = Look::at(&[&silent]);
    alone.conf.search = vec!["x.test".into()];
    assert_eq!(alone.up("web.test", Family::V4), Err(Error::TryAgain));
    assert_eq!(silent.asked.lock().unwrap().len(), 4, "twice, and then no other name is tried");
    // Nobody is there at all.
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let look = Look { conf: ResolvConf { servers: vec![gone, good.address], ..both.conf }, ..both };
    assert_eq!(look.up("web.test", Family::V4), list(&["10.0.0.1"]));
}

#[test]
fn a_server_in_trouble_is_passed_over_and_told_from_a_name_that_is_not_there() {
    let troubled = serve(&["%web.test"]);
    let good = serve(&["web.test 1 10.0.0.1"]);
    assert_eq!(Look::at(&[&troubled, &good]).up("web.test", Family::Any), list(&["10.0.0.1"]));
    assert_eq!(Look::at(&[&troubled]).up("web.test", Family::Any), Err(Error::TryAgain));
    assert_eq!(Look::at(&[&troubled]).up("none.test", Family::Any), list(&[]));
}

#[test]
fn only_servers_that_the_policy_allows_are_asked() {
    let (first, second) = (serve(&["web.test 1 10.0.0.1"]), serve(&["web.test 1 10.0.0.2"]));
    let look = Look::at(&[&first, &second]);
    let found = look.up_with("web.test", Family::V4, &|server| server == second.address);
    assert_eq!(found, list(&["10.0.0.2"]));
    assert_eq!(look.up_with("web.test", Family::V4, &|_| false), Err(Error::Forbidden));
    assert_eq!(look.up_with("10.1.2.3", Family::V4, &|_| false), list(&["10.1.2.3"]));
    assert!(first.asked.lock().unwrap().is_empty());
}

#[test]
fn addresses_without_a_route_come_last() {
    let sorted = |addresses: &[&str]| -> Vec<String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        in_order_of_reach(addresses).iter().map(ToString::to_string).collect()
    };
    assert_eq!(sorted(&["127.0.0.1", "::1", "127.0.0.2"]), ["::1", "127.0.0.1", "127.0.0.2"]);
    // 240.0.0.0/4 can be reached by nobody.
    assert_eq!(sorted(&["255.255.255.255", "127.0.0.1"]), ["127.0.0.1", "255.255.255.255"]);
}

#[test]
fn the_caller_is_asked_for_whether_to_go_on_only_when_interrupted() {
    let server = serve(&["web.test 1 10.0.0.1"]);
    let names = Names { hosts: "/nonexistent".into(), ..Names::default() };
    let asked = Cell::new(0);
    let stopped = || {
        asked.set(asked.get() + 1);
        true
    };
    let request = Request { host: "web.test", family: Family::V4, allowed: &|_| true, stopped: &stopped };
    assert_eq!(names.lookup(&request, || Look::at(&[&server]).conf).map(|found| found.len()), Ok(1));
    assert_eq!(asked.get(), 0);
}
