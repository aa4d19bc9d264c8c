//! The command line containerd gives a shim, in the form of Go's `flag` package: `-name value`,
//! `-name=value`, one dash or two, flags before the action.

/// What containerd asks for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Flags {
    /// `start`, `delete`, one of our own (`serve`, `zygote`), or empty.
    pub action: String,
    /// containerd namespace.
    pub namespace: String,
    /// Container or sandbox id.
    pub id: String,
    /// containerd's gRPC socket.
    pub address: String,
    /// containerd's own executable.
    pub publish_binary: String,
    /// The bundle; the working directory when empty.
    pub bundle: String,
    /// Log more.
    pub debug: bool,
    /// Print the version and end.
    pub version: bool,
    /// Print `RuntimeInfo` and end.
    pub info: bool,
    /// `serve` only: the rendezvous directory.
    pub rendezvous: String,
    /// `serve` only: where events go.
    pub ttrpc_address: String,
}

impl Flags {
    /// Parses the arguments that follow the program's name.
    ///
    /// # Errors
    /// In words, naming the argument.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Flags, String> {
        let mut flags = Flags::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                flags.action = arg;
                return match args.next() {
                    Some(extra) => Err(format!("unexpected argument {extra:?} after {:?}", flags.action)),
                    None => Ok(flags),
                };
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag.to_owned(), None),
            };
            let switch = |value: &Option<String>| match value.as_deref() {
                None | Some("true" | "1") => Ok(true),
                Some("false" | "0") => Ok(false),
                Some(other) => Err(format!("flag -{name} takes true or false, not {other:?}")),
            };
            let text = match name.as_str() {
                "debug" => {
                    flags.debug = switch(&value)?;
                    continue;
                }
                "v" | "version" => {
                    flags.version = switch(&value)?;
                    continue;
                }
                "info" => {
                    flags.info = switch(&value)?;
                    continue;
                }
                "namespace" => &mut flags.namespace,
                "id" => &mut flags.id,
                "address" => &mut flags.address,
                "publish-binary" => &mut flags.publish_binary,
                "bundle" => &mut flags.bundle,
                "rendezvous" => &mut flags.rendezvous,
                "ttrpc-address" => &mut flags.ttrpc_address,
                // Older containerd names a socket; ours follows from the address and the namespace.
                "socket" => &mut String::new(),
                _ => return Err(format!("unknown flag -{name}")),
            };
            *text = value.or_else(|| args.next()).ok_or_else(|| format!("flag -{name} needs a value"))?;
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Flags, String> {
        Flags::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_what_containerd_passes() {
        let flags = parse(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a -debug -bundle /b delete",
        )
        .unwrap();
        assert_eq!(
            flags,
            Flags {
                action: "delete".into(),
                namespace: "k8s.io".into(),
                id: "a".into(),
                address: "/run/c.sock".into(),
                publish_binary: "/usr/bin/containerd".into(),
                bundle: "/b".into(),
                debug: true,
                ..Flags::default()
            }
        );
    }

    #[test]
    fn takes_one_dash_or_two_and_equals_signs() {
        assert_eq!(parse("--id=a -v").unwrap(), Flags { id: "a".into(), version: true, ..Flags::default() });
        assert!(!parse("-debug=false start").unwrap().debug);
    }

    #[test]
    fn names_what_it_does_not_understand() {
        assert_eq!(parse("-frobnicate start").unwrap_err(), "unknown flag -frobnicate");
        assert_eq!(parse("-id").unwrap_err(), "flag -id needs a value");
        assert_eq!(parse("start now").unwrap_err(), "unexpected argument \"now\" after \"start\"");
        assert_eq!(
            parse("-debug=maybe start").unwrap_err(),
            "flag -debug takes true or false, not \"maybe\""
        );
    }
}
