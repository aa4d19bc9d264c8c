//! Asking name servers: UDP first, TCP for what does not fit, one server after the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::message::{Answer, Kind, Name, Query};
use crate::{Error, ResolvConf};

/// Larger datagrams come from no server that was not asked to send them.
const DATAGRAM: usize = 4096;

/// When to give up.
pub(crate) struct Limits<'a> {
    pub deadline: Instant,
    pub stopped: &'a dyn Fn() -> bool,
}

/// Asks for all kinds at once; one result per kind, `None` for those of which no server would tell.
///
/// Each query has a socket, and so a port, of its own: answers cannot be mixed up, and two packets that leave one port at
/// the same moment lose one of them in some versions of the kernel's address translation.
pub(crate) fn ask(
    conf: &ResolvConf,
    servers: &[SocketAddr],
    name: &Name,
    kinds: &[Kind],
    limits: &Limits<'_>,
) -> Result<Vec<Option<Vec<std::net::IpAddr>>>, Error> {
    let mut results = vec![None; kinds.len()];
    // Whether somebody answered at all, if only to say that it is in trouble.
    let mut answered = false;
    for _ in 0..conf.attempts {
        for server in servers {
            let until = limits.deadline.min(Instant::now() + conf.timeout);
            let open: Vec<_> = kinds
                .iter()
                .zip(&mut results)
                .filter(|(_, result)| result.is_none())
                .map(|(kind, result)| (Exchange::begin(*server, conf.tcp, name, *kind), result))
                .collect();
            for (exchange, result) in open {
                match exchange.and_then(|exchange| exchange.finish(until, limits)) {
                    Ok(Answer::Addresses(addresses)) => *result = Some(addresses),
                    Ok(_) => answered = true,
                    Err(e) if e.kind() == ErrorKind::Interrupted => return Err(Error::Stopped),
                    Err(_) => {}
                }
            }
            if results.iter().all(Option::is_some) {
                return Ok(results);
            }
            if Instant::now() >= limits.deadline {
                return Err(Error::TryAgain);
            }
        }
    }
    if answered || results.iter().any(Option::is_some) { Ok(results) } else { Err(Error::TryAgain) }
}

/// One query to one server.
struct Exchange<'a> {
    server: SocketAddr,
    query: Query<'a>,
    /// The query is under way; `None`: to be asked over TCP.
    socket: Option<UdpSocket>,
}

impl<'a> Exchange<'a> {
    fn begin(server: SocketAddr, tcp: bool, name: &'a Name, kind: Kind) -> io::Result<Exchange<'a>> {
        let query = Query { id: random()?, name, kind };
        if tcp {
            return Ok(Exchange { server, query, socket: None });
        }
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        // From now on the kernel gives us that server's datagrams only.
        socket.connect(server)?;
        socket.send(&query.bytes())?;
        Ok(Exchange { server, query, socket: Some(socket) })
    }

    fn finish(self, until: Instant, limits: &Limits<'_>) -> io::Result<Answer> {
        if let Some(socket) = &self.socket {
            let mut buffer = vec![0; DATAGRAM];
            loop {
                socket.set_read_timeout(Some(left(until)?))?;
                let length = match socket.recv(&mut buffer) {
                    Ok(length) => length,
                    Err(e) if e.kind() == ErrorKind::Interrupted && !(limits.stopped)() => continue,
                    Err(e) => return Err(e),
                };
                match buffer.get(..length).and_then(|message| self.query.read(message)) {
                    Some(Answer::Truncated) => break,
                    Some(answer) => return Ok(answer),
                    None => {}
                }
            }
        }
        self.over_tcp(until, limits)
    }

    fn over_tcp(&self, until: Instant, limits: &Limits<'_>) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.server, left(until)?)?;
        stream.set_write_timeout(Some(left(until)?))?;
        let query = self.query.bytes();
        let mut message = (query.len() as u16).to_be_bytes().to_vec();
        message.extend(query);
        stream.write_all(&message)?;
        let mut length = [0; 2];
        read(&mut stream, &mut length, until, limits)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        read(&mut stream, &mut message, until, limits)?;
        // A server that has no more to say over TCP either is in trouble.
        Ok(self.query.read(&message).unwrap_or(Answer::Trouble))
    }
}

/// Fills the buffer in time, however small the pieces are that come.
fn read(
    stream: &mut TcpStream,
    mut buffer: &mut [u8],
    until: Instant,
    limits: &Limits<'_>,
) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => buffer = buffer.get_mut(length..).unwrap_or_default(),
            Err(e) if e.kind() == ErrorKind::Interrupted && !(limits.stopped)() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Time until then, never zero, which would mean for ever.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left.max(Duration::from_micros(1))) }
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
