//! Which addresses a guest's sockets may be used with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// More make no sense in one setting; all are sent to the container's process.
const MOST_RULES: usize = 256;

/// What a guest wants with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Use {
    /// To talk to whoever is there: connect, or send a datagram.
    Connect,
    /// To be there: bind and listen.
    Bind,
}

/// Everything, or what one of the rules allows; without a rule nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// What the network namespace can reach.
    #[default]
    All,
    /// Only this.
    Only(Vec<Rule>),
}

/// Addresses and ports for one use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    wanted: Use,
    /// Address and length of its prefix in bits; any address without.
    network: Option<(IpAddr, u8)>,
    first_port: u16,
    last_port: u16,
}

impl Policy {
    /// Reads `all`, `none`, or rules apart by spaces or commas, each `[connect:|bind:]NETWORK[:PORT[-PORT]]`. NETWORK is
    /// `*`, an address, or one with the length of a prefix; IPv6 stands in brackets. Without a use it is to connect;
    /// without a port, or with `*` for it, all ports are meant.
    ///
    /// # Errors
    /// What is wrong, and with which rule.
    pub fn parse(text: &str) -> Result<Policy, String> {
        match text.trim() {
            "all" => return Ok(Policy::All),
            "none" => return Ok(Policy::Only(Vec::new())),
            _ => {}
        }
        let words = text.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty());
        let rules: Vec<Rule> = words
            .map(|word| Rule::parse(word).map_err(|why| format!("{word:?}: {why}")))
            .collect::<Result<_, _>>()?;
        match rules.len() {
            0 => Err("it is empty; write all, none, or rules like 10.0.0.0/8:443".to_owned()),
            count if count > MOST_RULES => {
                Err(format!("{count} rules are too many; {MOST_RULES} are possible"))
            }
            _ => Ok(Policy::Only(rules)),
        }
    }

    /// Whether an address may be used.
    #[must_use]
    pub fn allows(&self, wanted: Use, address: SocketAddr) -> bool {
        match self {
            Policy::All => true,
            Policy::Only(rules) => {
                let ip = meant(wanted, address.ip());
                rules.iter().any(|rule| rule.matches(wanted, ip, address.port()))
            }
        }
    }

    /// Whether nothing is allowed at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Policy::Only(rules) if rules.is_empty())
    }
}

/// The address the kernel takes it for: IPv4 in the clothes of IPv6 is IPv4, and who connects to "any address" reaches the
/// loopback interface.
fn meant(wanted: Use, address: IpAddr) -> IpAddr {
    match (wanted, address.to_canonical()) {
        (Use::Connect, IpAddr::V4(v4)) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        (Use::Connect, IpAddr::V6(v6)) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        (_, address) => address,
    }
}

impl Rule {
    fn parse(word: &str) -> Result<Rule, String> {
        let (wanted, rest) = match word.split_once(':') {
            Some(("connect", rest)) => (Use::Connect, rest),
            Some(("bind", rest)) => (Use::Bind, rest),
            _ => (Use::Connect, word),
        };
        let (network, ports) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            // [fd00::]/8:443 and [fd00::/8]:443 alike.
            Some(Some((address, rest))) => {
                let (prefix, ports) = rest.split_once(':').map_or((rest, None), |(a, b)| (a, Some(b)));
                (format!("{address}{prefix}"), ports)
            }
            Some(None) => return Err("the bracket is not closed".to_owned()),
            None => match rest.matches(':').count() {
                0 => (rest.to_owned(), None),
                1 => rest.split_once(':').map_or((rest.to_owned(), None), |(a, b)| (a.to_owned(), Some(b))),
                _ => return Err("an IPv6 address stands in brackets, like [fd00::/8]:443".to_owned()),
            },
        };
        let network = parse_network(&network)?;
        let (first_port, last_port) = ports.map_or(Ok((0, u16::MAX)), parse_ports)?;
        Ok(Rule { wanted, network, first_port, last_port })
    }

    fn matches(&self, wanted: Use, address: IpAddr, port: u16) -> bool {
        let in_network = match self.network {
            None => true,
            Some((network, bits)) => same_prefix(network, address, bits),
        };
        self.wanted == wanted && in_network && (self.first_port..=self.last_port).contains(&port)
    }
}

fn parse_network(text: &str) -> Result<Option<(IpAddr, u8)>, String> {
    if text == "*" {
        return Ok(None);
    }
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr =
        address.parse().map_err(|_| format!("{address:?} is not an IP address in numbers"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
    let bits = bits.ok_or_else(|| format!("the length of a prefix is 0 to {most}"))?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        return Err("write it as the IPv4 address that it is".to_owned());
    }
    Ok(Some((address, bits)))
}

fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    if text == "*" {
        return Ok((0, u16::MAX));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("{text:?} is neither a port nor a range of ports")),
    }
}

fn same_prefix(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let (a, b, all) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    // A shift by all bits of the type is no shift.
    (a ^ b).checked_shr(all - u32::from(bits).min(all)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(policy: &str, wanted: Use, address: &str) -> bool {
        Policy::parse(policy).unwrap().allows(wanted, address.parse().unwrap())
    }

    #[test]
    fn all_is_everything_and_none_nothing() {
        for wanted in [Use::Connect, Use::Bind] {
            for address in ["127.0.0.1:80", "[::1]:80", "0.0.0.0:0", "[ff02::1]:5353"] {
                assert!(allows("all", wanted, address), "{address}");
                assert!(!allows("none", wanted, address), "{address}");
            }
        }
        assert!(Policy::parse(" none ").unwrap().is_none());
        assert!(!Policy::parse("all").unwrap().is_none());
        assert_eq!(Policy::default(), Policy::All);
    }

    #[test]
    fn a_rule_allows_its_network_its_ports_and_its_use() {
        for (policy, yes, no) in [
            ("10.1.2.3:443", &["10.1.2.3:443"][..], &["10.1.2.3:80", "10.1.2.4:443", "[::1]:443"][..]),
            ("10.0.0.0/8:443", &["10.255.1.1:443"], &["11.0.0.0:443", "10.0.0.1:444"]),
            ("10.0.0.0/8", &["10.0.0.1:1", "10.0.0.1:65535"], &["9.255.255.255:1"]),
            ("10.0.0.0/8:*", &["10.0.0.1:1"], &["12.0.0.1:1"]),
            ("*:53", &["1.2.3.4:53", "[fd00::1]:53"], &["1.2.3.4:54"]),
            ("*", &["1.2.3.4:53", "[fd00::1]:1"], &[]),
            ("0.0.0.0/0:80-89", &["8.8.8.8:80", "8.8.8.8:89"], &["8.8.8.8:90", "[::1]:80"]),
            ("[fd00::/8]:443", &["[fd12::1]:443"], &["[fe80::1]:443", "10.0.0.1:443"]),
            ("[fd00::]/8:443", &["[fd12::1]:443"], &["[fe80::1]:443"]),
            ("[::1]", &["[::1]:9"], &["[::2]:9", "127.0.0.1:9"]),
            ("[::/0]:1", &["[fe80::1]:1"], &["10.0.0.1:1"]),
            ("10.0.0.1:1 10.0.0.2:2,10.0.0.3:3", &["10.0.0.1:1", "10.0.0.3:3"], &["10.0.0.1:2"]),
        ] {
            for address in yes {
                assert!(allows(policy, Use::Connect, address), "{policy} {address}");
                assert!(allows(&format!("bind:*:7 {policy}"), Use::Connect, address), "{policy} {address}");
                assert!(!allows(policy, Use::Bind, address), "{policy} {address}");
            }
            for address in no {
                assert!(!allows(policy, Use::Connect, address), "{policy} {address}");
            }
        }
        assert!(allows("bind:0.0.0.0:8080", Use::Bind, "0.0.0.0:8080"));
        assert!(!allows("bind:0.0.0.0:8080", Use::Bind, "127.0.0.1:8080"));
        assert!(!allows("bind:0.0.0.0/0:8080", Use::Connect, "10.0.0.1:8080"));
        assert!(allows("connect:10.0.0.1", Use::Connect, "10.0.0.1:8080"));
    }

    #[test]
    fn an_address_in_other_clothes_is_still_that_address() {
        let mapped = "[::ffff:10.0.0.1]:80";
        assert!(allows("10.0.0.0/8", Use::Connect, mapped));
        assert!(!allows("[::/0]", Use::Connect, mapped));
        assert!(!allows("192.168.0.0/16", Use::Connect, mapped));
        // "Any address" leads to the loopback interface.
        for (loopback, any) in
            [("127.0.0.1", "0.0.0.0:80"), ("[::1]", "[::]:80"), ("127.0.0.1", "[::ffff:0.0.0.0]:80")]
        {
            assert!(allows(loopback, Use::Connect, any), "{any}");
            assert!(!allows("10.0.0.0/8 0.0.0.0 [::]", Use::Connect, any), "{any}");
        }
    }

    #[test]
    fn what_is_no_rule_is_named_with_the_reason() {
        let many = "*:1 ".repeat(MOST_RULES + 1);
        for (text, part) in [
            ("", "empty"),
            (" , ", "empty"),
            ("everything", "\"everything\""),
            ("all none", "\"all\""),
            ("10.0.0.0/33", "0 to 32"),
            ("[fd00::/129]", "0 to 128"),
            ("10.0.0.0/-1", "0 to 32"),
            ("10.0.0.0/8:", "neither"),
            ("10.0.0.0/8:65536", "neither"),
            ("10.0.0.0/8:9-8", "neither"),
            ("fd00::/8:443", "brackets"),
            ("[fd00::/8:443", "bracket"),
            ("[::ffff:10.0.0.1]", "IPv4"),
            ("listen:10.0.0.1", "\"listen\""),
            ("example.com:443", "\"example.com\""),
            (&many, "too many"),
        ] {
            let why = Policy::parse(text).unwrap_err();
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }
}
