//! From a name to addresses: numbers, `/etc/hosts`, then the name servers of `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::exchange::{Limits, ask};
use crate::message::{Kind, Name};
use crate::{Error, ResolvConf, files, hosts, services};

/// However many servers and domains there are to try.
const LONGEST: Duration = Duration::from_secs(60);

/// Addresses of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Both.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

/// Where names are looked up.
#[derive(Debug, Clone)]
pub struct Names {
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// `/etc/services`.
    pub services: PathBuf,
}

impl Default for Names {
    fn default() -> Names {
        let file = |name: &str| PathBuf::from("/etc").join(name);
        Names { hosts: file("hosts"), resolv_conf: file("resolv.conf"), services: file("services") }
    }
}

/// A name to look up.
pub struct Request<'a> {
    /// The name, or an address in numbers.
    pub host: &'a str,
    /// Which addresses are wanted.
    pub family: Family,
    /// Whether a name server may be asked.
    pub allowed: &'a dyn Fn(SocketAddr) -> bool,
    /// Whether the caller has lost interest; asked when a wait was interrupted by a signal.
    pub stopped: &'a dyn Fn() -> bool,
}

impl Names {
    /// Addresses of a host, those that can be reached first; none when it does not exist.
    ///
    /// # Errors
    /// [`Error`], except for [`Error::NoSuchService`].
    pub fn resolve(&self, request: &Request<'_>) -> Result<Vec<IpAddr>, Error> {
        let found = self.lookup(request, || ResolvConf::parse(&files::text(&self.resolv_conf)))?;
        Ok(in_order_of_reach(found))
    }

    /// A port by number or name. `protocol` is `tcp` or `udp`; an empty service is port 0.
    ///
    /// # Errors
    /// [`Error::NoSuchService`].
    pub fn port(&self, service: &str, protocol: &str) -> Result<u16, Error> {
        services::port(service, protocol, || files::text(&self.services))
    }

    fn lookup(&self, request: &Request<'_>, conf: impl FnOnce() -> ResolvConf) -> Result<Vec<IpAddr>, Error> {
        let wanted = |address: &IpAddr| match request.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        if let Ok(address) = request.host.parse::<IpAddr>() {
            return Ok(Some(address).filter(wanted).into_iter().collect());
        }
        let absolute = request.host.strip_suffix('.');
        let host = absolute.unwrap_or(request.host);
        Name::parse(host)?;
        let mut found = hosts::lookup(&files::text(&self.hosts), host);
        found.retain(wanted);
        // RFC 6761, section 6.3.
        if found.is_empty()
            && host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
        {
            found = vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            found.retain(wanted);
        }
        if !found.is_empty() {
            return Ok(found);
        }
        ask_servers(request, &conf(), host, absolute.is_some())
    }
}

fn ask_servers(
    request: &Request<'_>,
    conf: &ResolvConf,
    host: &str,
    absolute: bool,
) -> Result<Vec<IpAddr>, Error> {
    let servers: Vec<_> = conf.servers.iter().copied().filter(|server| (request.allowed)(*server)).collect();
    if servers.is_empty() {
        return Err(Error::Forbidden);
    }
    let kinds: &[Kind] = match request.family {
        Family::Any => &[Kind::A, Kind::Aaaa],
        Family::V4 => &[Kind::A],
        Family::V6 => &[Kind::Aaaa],
    };
    let limits = Limits { deadline: Instant::now() + LONGEST, stopped: request.stopped };
    let mut trouble = false;
    for name in candidates(conf, host, absolute) {
        // With a domain behind it, it may be too long.
        let Ok(name) = Name::parse(&name) else { continue };
        let answers = ask(conf, &servers, &name, kinds, &limits)?;
        trouble |= answers.iter().any(Option::is_none);
        let found: Vec<_> = answers.into_iter().flatten().flatten().collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    if trouble { Err(Error::TryAgain) } else { Ok(Vec::new()) }
}

/// The names to try in order: resolv.conf(5), "search" and "ndots".
fn candidates(conf: &ResolvConf, host: &str, absolute: bool) -> Vec<String> {
    let as_it_is = host.to_owned();
    if absolute {
        return vec![as_it_is];
    }
    let mut names: Vec<String> = conf.search.iter().map(|domain| format!("{host}.{domain}")).collect();
    if host.matches('.').count() >= conf.dots {
        names.insert(0, as_it_is);
    } else {
        names.push(as_it_is);
    }
    names
}

/// Those first to which the kernel has a route, IPv6 before IPv4; else as they came. Sends nothing.
fn in_order_of_reach(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|address| {
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let socket = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((*address, 9)));
            (socket.is_err(), address.is_ipv4())
        });
    }
    addresses
}

#[cfg(test)]
mod tests;
