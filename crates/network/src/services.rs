//! Ports by number or by name.

use crate::Error;

/// Reads a port: empty is 0, a number, or a name that `services`, the text of `/etc/services`, has for the protocol
/// (`tcp` or `udp`).
pub(crate) fn port(service: &str, protocol: &str, services: impl FnOnce() -> String) -> Result<u16, Error> {
    if service.is_empty() {
        return Ok(0);
    }
    if service.bytes().all(|byte| byte.is_ascii_digit()) {
        return service.parse().map_err(|_| Error::NoSuchService);
    }
    let text = services();
    let found = text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?;
        let (port, spoken) = fields.next()?.split_once('/')?;
        let named = name == service || fields.any(|alias| alias == service);
        (named && spoken == protocol).then(|| port.parse().ok()).flatten()
    });
    found.ok_or(Error::NoSuchService)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_a_name_for_its_protocol() {
        let text = "# x\nhttp 80/tcp www # web\ndomain 53/tcp\ndomain 5353/udp\n";
        let found = |service, protocol| port(service, protocol, || text.to_owned());
        assert_eq!(found("", "tcp"), Ok(0));
        assert_eq!(found("8080", "tcp"), Ok(8080));
        assert_eq!(found("www", "tcp"), Ok(80));
        assert_eq!(found("domain", "udp"), Ok(5353));
        for (service, protocol) in [("http", "udp"), ("web", "tcp"), ("65536", "tcp"), ("-1", "tcp")] {
            assert_eq!(found(service, protocol), Err(Error::NoSuchService), "{service}");
        }
    }
}
