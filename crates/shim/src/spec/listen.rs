//! `wamr.containerd.io/listen`: where a guest is to serve.

use std::net::SocketAddr;

use jail::{Listen, Protocol};

/// Far more than a guest serves on; each is a descriptor of its process.
const MOST: usize = 64;

/// Reads `tcp://0.0.0.0:8080 udp://[::]:53`: addresses apart by spaces or commas.
///
/// # Errors
/// What is wrong, and with which of them.
pub(super) fn parse(text: &str) -> Result<Vec<Listen>, String> {
    let mut all = Vec::new();
    for word in text.split([' ', ',', '\t', '\n']).filter(|word| !word.is_empty()) {
        let listen = one(word).map_err(|why| format!("{word:?}: {why}; write it like tcp://0.0.0.0:8080"))?;
        if all.contains(&listen) {
            return Err(format!("{word:?} is there twice"));
        }
        all.push(listen);
    }
    match all.len() {
        0 => Err("there is no address in it; write it like tcp://0.0.0.0:8080, or leave it out".to_owned()),
        count if count > MOST => Err(format!("{count} addresses are too many; {MOST} are possible")),
        _ => Ok(all),
    }
}

fn one(word: &str) -> Result<Listen, String> {
    let (protocol, address) = match word.split_once("://") {
        Some(("tcp", address)) => (Protocol::Tcp, address),
        Some(("udp", address)) => (Protocol::Udp, address),
        Some((other, _)) => return Err(format!("{other:?} is not a protocol that can be served")),
        None => return Err("there is no tcp:// or udp:// in front".to_owned()),
    };
    let address: SocketAddr =
        address.parse().map_err(|_| "it is not an IP address in numbers with a port".to_owned())?;
    if address.port() == 0 {
        return Err("port 0 is none; give one of 1 to 65535".to_owned());
    }
    Ok(Listen { protocol, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_apart_by_spaces_or_commas() {
        let listen = |protocol, address: &str| Listen { protocol, address: address.parse().unwrap() };
        assert_eq!(parse("tcp://0.0.0.0:8080"), Ok(vec![listen(Protocol::Tcp, "0.0.0.0:8080")]));
        let three = vec![
            listen(Protocol::Tcp, "0.0.0.0:80"),
            listen(Protocol::Tcp, "[::]:80"),
            listen(Protocol::Udp, "127.0.0.1:53"),
        ];
        assert_eq!(parse("tcp://0.0.0.0:80 tcp://[::]:80,udp://127.0.0.1:53"), Ok(three.clone()));
        assert_eq!(parse(" tcp://0.0.0.0:80,\n tcp://[::]:80 ,, udp://127.0.0.1:53 "), Ok(three));
    }

    #[test]
    fn what_is_no_address_is_named_with_the_reason() {
        let many: String = (1..=MOST + 1).map(|port| format!("tcp://0.0.0.0:{port} ")).collect();
        for (text, part) in [
            ("", "no address"),
            (" , ", "no address"),
            ("8080", "no tcp://"),
            ("0.0.0.0:8080", "no tcp://"),
            ("tcp://:8080", "in numbers"),
            ("tcp://8080", "in numbers"),
            ("tcp://localhost:8080", "in numbers"),
            ("tcp://0.0.0.0", "in numbers"),
            ("tcp://::1:8080", "in numbers"),
            ("tcp://0.0.0.0:65536", "in numbers"),
            ("tcp://0.0.0.0:0", "port 0"),
            ("unix:///run/x", "\"unix\""),
            ("TCP://0.0.0.0:1", "\"TCP\""),
            ("tcp://0.0.0.0:1 tcp://0.0.0.0:1", "twice"),
            (&many, "too many"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }
}
