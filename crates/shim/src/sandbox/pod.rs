//! What containerd tells of a pod: the part of CRI's `PodSandboxConfig` (`runtime.v1`) that concerns its sandbox.

use protobuf::CodedInputStream;
use protobuf::well_known_types::any::Any;

use crate::error::{Error, Result};

/// A pod's settings. What CRI leaves out has the default of its protobuf type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Host name; empty for that of the node.
    pub hostname: String,
    /// Lines of its `resolv.conf`; `None` for the node's own file.
    pub dns: Option<Dns>,
    /// Parent of the cgroups of its containers.
    pub cgroup_parent: String,
    /// Kernel parameters, (name, value).
    pub sysctls: Vec<(String, String)>,
    /// Which namespaces it shares with the node.
    pub network: Mode,
    /// `Mode::Pod` when its containers share one pid namespace.
    pub pid: Mode,
    /// Of System V IPC and POSIX message queues.
    pub ipc: Mode,
    /// Whether the pod asks for a user namespace, which is refused.
    pub user_namespace: bool,
}

/// `DNSConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

/// `NamespaceMode`: whose namespace a pod's containers are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// The pod's.
    #[default]
    Pod,
    /// Each its own.
    Container,
    /// The node's.
    Node,
    /// Another container's.
    Target,
}

impl Pod {
    /// Reads the options of a `CreateSandbox`. None at all is a pod with defaults, which `ctr` makes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another type of options, and for bytes that are not of that type.
    pub fn from_options(options: Option<&Any>) -> Result<Pod> {
        let Some(options) = options.filter(|any| !any.type_url.is_empty()) else { return Ok(Pod::default()) };
        match options.type_url.rsplit('/').next() {
            Some("runtime.v1.PodSandboxConfig") => {
                Pod::decode(&options.value).map_err(|e| Error::Invalid(format!("sandbox options: {e}")))
            }
            _ => Err(Error::Invalid(format!(
                "sandbox options of type {:?} are unknown; containerd sends runtime.v1.PodSandboxConfig",
                options.type_url
            ))),
        }
    }

    fn decode(bytes: &[u8]) -> protobuf::Result<Pod> {
        let mut pod = Pod::default();
        for (number, field) in fields(bytes)? {
            match (number, field) {
                (2, Field::Bytes(name)) => pod.hostname = text(name)?,
                (4, Field::Bytes(dns)) => pod.dns = Some(Dns::decode(&dns)?),
                (8, Field::Bytes(linux)) => pod.decode_linux(&linux)?,
                _ => {}
            }
        }
        Ok(pod)
    }

    /// `LinuxPodSandboxConfig`
    fn decode_linux(&mut self, bytes: &[u8]) -> protobuf::Result<()> {
        for (number, field) in fields(bytes)? {
            match (number, field) {
                (1, Field::Bytes(parent)) => self.cgroup_parent = text(parent)?,
                // `LinuxSandboxSecurityContext`, of which 1 is `NamespaceOption`.
                (2, Field::Bytes(security)) => {
                    for (number, field) in fields(&security)? {
                        if let (1, Field::Bytes(namespaces)) = (number, field) {
                            self.decode_namespaces(&namespaces)?;
                        }
                    }
                }
                (3, Field::Bytes(entry)) => {
                    let (mut name, mut value) = (String::new(), String::new());
                    for (number, field) in fields(&entry)? {
                        match (number, field) {
                            (1, Field::Bytes(bytes)) => name = text(bytes)?,
                            (2, Field::Bytes(bytes)) => value = text(bytes)?,
                            _ => {}
                        }
                    }
                    self.sysctls.push((name, value));
                }
                _ => {}
            }
        }
        self.sysctls.sort_unstable();
        Ok(())
    }

    fn decode_namespaces(&mut self, bytes: &[u8]) -> protobuf::Result<()> {
        for (number, field) in fields(bytes)? {
            match (number, field) {
                (1, Field::Number(mode)) => self.network = Mode::of(mode),
                (2, Field::Number(mode)) => self.pid = Mode::of(mode),
                (3, Field::Number(mode)) => self.ipc = Mode::of(mode),
                // `UserNamespace`: mode 1, where 2 means the node's.
                (5, Field::Bytes(user)) => {
                    let modes = fields(&user)?;
                    let node = modes.iter().any(|field| matches!(field, (1, Field::Number(2))));
                    self.user_namespace = !node;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Dns {
    fn decode(bytes: &[u8]) -> protobuf::Result<Dns> {
        let mut dns = Dns::default();
        for (number, field) in fields(bytes)? {
            match (number, field) {
                (1, Field::Bytes(server)) => dns.servers.push(text(server)?),
                (2, Field::Bytes(search)) => dns.searches.push(text(search)?),
                (3, Field::Bytes(option)) => dns.options.push(text(option)?),
                _ => {}
            }
        }
        Ok(dns)
    }
}

impl Mode {
    fn of(number: u64) -> Mode {
        match number {
            1 => Mode::Container,
            2 => Mode::Node,
            3 => Mode::Target,
            _ => Mode::Pod,
        }
    }
}

enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// The varints and length-delimited fields of a message, by number.
fn fields(bytes: &[u8]) -> protobuf::Result<Vec<(u32, Field)>> {
    let mut input = CodedInputStream::from_bytes(bytes);
    let mut found = Vec::new();
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag & 7 {
            0 => found.push((tag >> 3, Field::Number(input.read_raw_varint64()?))),
            2 => found.push((tag >> 3, Field::Bytes(input.read_bytes()?))),
            _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
        }
    }
    Ok(found)
}

fn text(bytes: Vec<u8>) -> protobuf::Result<String> {
    String::from_utf8(bytes).map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn options(value: Vec<u8>) -> Any {
        Any { type_url: "runtime.v1.PodSandboxConfig".into(), value, ..Any::default() }
    }

    #[test]
    fn a_pod_is_read_from_cri_s_message() {
        let dns = [field(1, b"10.0.0.10"), field(2, b"svc.local"), field(3, b"ndots:5")].concat();
        let sysctl = [field(1, b"net.core.somaxconn"), field(2, b"9")].concat();
        let namespaces = [0x08, 2, 0x10, 0, 0x18, 1];
        let security = field(1, &namespaces);
        let linux = [field(1, b"/kubepods/pod1"), field(2, &security), field(3, &sysctl)].concat();
        let message = [field(1, b"\x0a\x01x"), field(2, b"web-0"), field(4, &dns), field(8, &linux)].concat();
        let pod = Pod::from_options(Some(&options(message))).unwrap();
        assert_eq!(
            pod,
            Pod {
                hostname: "web-0".into(),
                dns: Some(Dns {
                    servers: vec!["10.0.0.10".into()],
                    searches: vec!["svc.local".into()],
                    options: vec!["ndots:5".into()],
                }),
                cgroup_parent: "/kubepods/pod1".into(),
                sysctls: vec![("net.core.somaxconn".into(), "9".into())],
                network: Mode::Node,
                pid: Mode::Pod,
                ipc: Mode::Container,
                user_namespace: false,
            }
        );
    }

    #[test]
    fn a_user_namespace_is_noticed_unless_it_is_the_node_s() {
        for (user, asked) in [(&[0x08_u8, 2][..], false), (&[], true), (&[0x08, 0], true)] {
            let linux = field(2, &field(1, &field(5, user)));
            let pod = Pod::from_options(Some(&options(field(8, &linux)))).unwrap();
            assert_eq!(pod.user_namespace, asked, "{user:?}");
        }
    }

    #[test]
    fn what_is_no_pod_is_refused() {
        assert!(Pod::from_options(Some(&options(vec![0x0a, 200]))).is_err());
        assert!(Pod::from_options(Some(&options(field(2, b"\xff")))).is_err());
        let other = Any { type_url: "x.Y".into(), ..Any::default() };
        assert!(Pod::from_options(Some(&other)).unwrap_err().to_string().contains("x.Y"));
        assert_eq!(Pod::from_options(None).unwrap(), Pod::default());
    }
}
