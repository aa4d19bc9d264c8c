//! `/etc/resolv.conf`, resolv.conf(5).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 53;
/// As in the C library (MAXNS).
const MOST_SERVERS: usize = 3;
/// As Kubernetes allows them.
const MOST_SEARCHED: usize = 32;

/// Whom to ask, how long to wait, and what to append to short names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// In the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// Appended to names in this order.
    pub search: Vec<String>,
    /// A name with so many dots is first tried as it is.
    pub dots: usize,
    /// How long one server may take.
    pub timeout: Duration,
    /// How many times all servers are asked.
    pub attempts: u32,
    /// Whether servers are asked over TCP only.
    pub tcp: bool,
}

impl Default for ResolvConf {
    fn default() -> ResolvConf {
        ResolvConf {
            servers: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)],
            search: Vec::new(),
            dots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            tcp: false,
        }
    }
}

impl ResolvConf {
    /// Reads the text of the file. What makes no sense is passed over, as the C library does.
    #[must_use]
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        let mut servers = Vec::new();
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            match fields.next() {
                Some("nameserver") => servers.extend(fields.next().and_then(server)),
                Some("domain") => conf.search = domains(fields.take(1)),
                Some("search") => conf.search = domains(fields),
                Some("options") => fields.for_each(|option| conf.set(option)),
                _ => {}
            }
        }
        servers.truncate(MOST_SERVERS);
        if !servers.is_empty() {
            conf.servers = servers;
        }
        conf
    }

    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        match (name, value.parse::<u32>()) {
            ("ndots", Ok(dots)) => self.dots = dots.min(15) as usize,
            ("timeout", Ok(seconds)) => self.timeout = Duration::from_secs(seconds.clamp(1, 30).into()),
            ("attempts", Ok(attempts)) => self.attempts = attempts.clamp(1, 5),
            ("use-vc", _) => self.tcp = true,
            _ => {}
        }
    }
}

/// Link-local servers have their interface's number behind a `%`.
fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        Some(_) => format!("[{text}]:{PORT}").parse().ok(),
        None => text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT)),
    }
}

fn domains<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<String> {
    let trimmed = fields.map(|domain| domain.trim_matches('.').to_owned());
    trimmed.filter(|domain| !domain.is_empty()).take(MOST_SEARCHED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_pod_is_read_as_meant() {
        let conf = ResolvConf::parse(
            "# kubelet\nsearch a.svc.cluster.local svc.cluster.local. cluster.local\n\
             nameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5 timeout:2 attempts:3\n",
        );
        let expected = ResolvConf {
            servers: vec!["10.96.0.10:53".parse().unwrap(), "[fd00::a]:53".parse().unwrap()],
            search: ["a.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned).into(),
            dots: 5,
            timeout: Duration::from_secs(2),
            attempts: 3,
            tcp: false,
        };
        assert_eq!(conf, expected);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over_and_what_is_too_much_is_bounded() {
        let text = format!(
            "nameserver\nnameserver x\n;nameserver 1.1.1.1\nnameserver 1.0.0.1\nnameserver 1.0.0.2\n\
             nameserver fe80::1%3\nnameserver 1.0.0.4\noptions ndots:99 timeout:999 attempts:0 nonsense ndots:x use-vc\n\
             domain first\nsearch {}\n",
            "d ".repeat(100)
        );
        let conf = ResolvConf::parse(&text);
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["1.0.0.1:53", "1.0.0.2:53", "[fe80::1%3]:53"]);
        assert_eq!((conf.dots, conf.timeout.as_secs(), conf.attempts, conf.tcp), (15, 30, 1, true));
        assert_eq!(conf.search.len(), MOST_SEARCHED);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
    }
}
