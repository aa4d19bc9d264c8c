//! Files of a pod that containerd makes for pause containers and leaves to the shim here: `/etc/hostname`, `/etc/hosts`,
//! `/etc/resolv.conf`. They lie in the sandbox's bundle, which containerd removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::pod::{Dns, Pod};
use crate::error::{Error, Result};

/// (where containers see it, its name in the bundle).
const FILES: [(&str, &str); 3] =
    [("/etc/hostname", "hostname"), ("/etc/hosts", "hosts"), ("/etc/resolv.conf", "resolv.conf")];

/// Writes them. `hostname` is the pod's, or the node's where it shares that.
///
/// # Errors
/// Names the file; a full disk, say.
pub fn write(bundle: &Path, pod: &Pod, hostname: &str) -> Result<()> {
    let resolv_conf = match &pod.dns {
        Some(dns) => resolv_conf(dns),
        None => of_the_node("/etc/resolv.conf")?,
    };
    for (name, text) in [
        ("hostname", format!("{hostname}\n")),
        ("hosts", of_the_node("/etc/hosts")?),
        ("resolv.conf", resolv_conf),
    ] {
        let path = bundle.join(name);
        fs::write(&path, text).map_err(|e| Error::io(format!("write {}", path.display()), &e))?;
    }
    Ok(())
}

/// What a container of the pod gets unless its spec mounts something there: (destination, file on the host).
pub fn mounts(bundle: &Path) -> impl Iterator<Item = (&'static str, PathBuf)> {
    FILES.map(|(destination, name)| (destination, bundle.join(name))).into_iter()
}

fn resolv_conf(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

fn of_the_node(path: &str) -> Result<String> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|e| Error::io(format!("read the node's {path}"), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_has_a_line_for_all_that_kubernetes_gives() {
        let dns = Dns {
            servers: vec!["10.96.0.10".into(), "fd00::a".into()],
            searches: vec!["shop.svc.cluster.local".into(), "cluster.local".into()],
            options: vec!["ndots:5".into()],
        };
        let expected = "search shop.svc.cluster.local cluster.local\nnameserver 10.96.0.10\n\
                        nameserver fd00::a\noptions ndots:5\n";
        assert_eq!(resolv_conf(&dns), expected);
        assert_eq!(resolv_conf(&Dns::default()), "");
    }
}
