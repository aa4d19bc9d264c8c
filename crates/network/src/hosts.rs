//! `/etc/hosts`, hosts(5).

use std::net::IpAddr;

/// Addresses of a name, in order.
pub(crate) fn lookup(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_ascii_whitespace();
        let Some(address) = fields.next().and_then(|field| field.parse().ok()) else { continue };
        if fields.any(|field| field.trim_end_matches('.').eq_ignore_ascii_case(name))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_its_lines() {
        let text = "# comment\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n\
            10.0.0.7  web.default.svc Web # db\nnonsense web\n10.0.0.8 web.\n10.0.0.7 web\n";
        let found = |name| lookup(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(found("web"), ["10.0.0.7", "10.0.0.8"]);
        assert_eq!(found("WEB.default.svc"), ["10.0.0.7"]);
        assert_eq!(found("db"), [""; 0]);
        assert_eq!(found("10.0.0.7"), [""; 0]);
    }
}
