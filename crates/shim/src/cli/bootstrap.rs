//! How `start` is asked and how it answers, for every containerd.
//!
//! | containerd | asked by | answer that suits |
//! |---|---|---|
//! | 2.3 and later | `BootstrapParams` on stdin | `BootstrapResult`, Task API 3 |
//! | 2.0 to 2.2 | flags, environment, runtime options on stdin | JSON, Task API 3 |
//! | 1.7 | the same | plain address (JSON with version 3 is refused) |
//! | 1.6 | the same, without `MAX_SHIM_VERSION` | plain address |
//!
//! A plain address works everywhere, but makes containerd 2 execute the shim once per container of a pod
//! instead of once per pod, so the daemon is asked for its version where nothing else tells.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use super::flags::Flags;
use crate::rendezvous::ROOT;

/// Version of the Task API that is announced where a version can be.
const TASK_API: i32 = 3;
/// containerd itself sends no more.
const LONGEST_INPUT: u64 = 10 << 20;

/// What `start` was asked, whichever form it came in.
#[derive(Debug, Default, PartialEq)]
pub struct Asked {
    /// containerd's gRPC socket.
    pub address: String,
    /// containerd's ttrpc socket, which takes events.
    pub ttrpc_address: String,
    /// containerd namespace.
    pub namespace: String,
    /// Container or sandbox id.
    pub id: String,
    /// Log more.
    pub debug: bool,
    /// Runtime options as configured in containerd.
    pub options: Vec<Any>,
    /// Form of the answer.
    pub form: Form,
}

/// Forms of the answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The address and nothing else.
    #[default]
    Plain,
    /// `{"version":3,…}`.
    Json,
    /// A `BootstrapResult` message.
    Message,
}

/// Reads what containerd piped in; nothing when a person at a terminal runs the shim.
///
/// # Errors
/// Those of reading.
pub fn read_stdin() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut input = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().take(LONGEST_INPUT).read_to_end(&mut input)?;
    }
    Ok(input)
}

/// Brings the forms together.
pub fn understand(flags: &Flags, input: &[u8], environment: impl Fn(&str) -> Option<String>) -> Asked {
    if let Some(params) = bootstrap_params(input, flags) {
        return Asked {
            address: params.containerd_grpc_address,
            ttrpc_address: params.containerd_ttrpc_address,
            namespace: params.namespace,
            id: params.instance_id,
            // LogLevel: trace and debug are negative, info is 0.
            debug: flags.debug || params.log_level.value() < 0,
            options: params.extensions.into_iter().filter_map(|e| e.value.into_option()).collect(),
            form: Form::Message,
        };
    }
    let options = Any::parse_from_bytes(input).ok().filter(|any| !any.type_url.is_empty());
    let form = match environment("MAX_SHIM_VERSION") {
        Some(_) if is_containerd_2(Path::new(&flags.publish_binary)) => Form::Json,
        _ => Form::Plain,
    };
    let address = if flags.address.is_empty() {
        environment("GRPC_ADDRESS").unwrap_or_default()
    } else {
        flags.address.clone()
    };
    Asked {
        ttrpc_address: environment("TTRPC_ADDRESS").unwrap_or_else(|| format!("{address}.ttrpc")),
        address,
        namespace: flags.namespace.clone(),
        id: flags.id.clone(),
        debug: flags.debug,
        options: options.into_iter().collect(),
        form,
    }
}

/// The bytes for stdout.
pub fn answer(form: Form, address: &str) -> Vec<u8> {
    match form {
        Form::Plain => address.as_bytes().to_vec(),
        // The address is made of a fixed directory and a hexadecimal hash: nothing in it wants escaping.
        Form::Json => {
            format!(r#"{{"version":{TASK_API},"address":"{address}","protocol":"ttrpc"}}"#).into_bytes()
        }
        Form::Message => {
            let result = BootstrapResult {
                version: TASK_API,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..BootstrapResult::default()
            };
            result.write_to_bytes().unwrap_or_default()
        }
    }
}

/// Runtime options (an `Any`) decode as `BootstrapParams` too: their type lands in `instance_id`, their value
/// in `namespace`. The flags, which are always passed as well, tell the two apart.
fn bootstrap_params(input: &[u8], flags: &Flags) -> Option<BootstrapParams> {
    let params = BootstrapParams::parse_from_bytes(input).ok()?;
    let ours = params.instance_id == flags.id && params.namespace == flags.namespace;
    (ours && !params.containerd_ttrpc_address.is_empty()).then_some(params)
}

/// Whether the daemon at `binary` is containerd 2 or later, remembered per file: asking costs an execution.
fn is_containerd_2(binary: &Path) -> bool {
    let Ok(file) = fs::metadata(binary) else { return false };
    let key = format!("{:x}-{:x}-{:x}-{:x}", file.dev(), file.ino(), file.mtime(), file.mtime_nsec());
    let known = Path::new(ROOT).join("containerd-versions").join(key);
    if let Ok(major) = fs::read_to_string(&known) {
        return major == "2";
    }
    let answer = Command::new(binary).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let modern = answer.is_ok_and(|out| major_version(&String::from_utf8_lossy(&out.stdout)) >= Some(2));
    if let Some(directory) = known.parent() {
        // Not being able to remember costs time, nothing else. Renamed into place: several may run at once.
        let _ = fs::create_dir_all(directory);
        let draft = directory.join(format!("draft-{}", std::process::id()));
        let _ = fs::write(&draft, if modern { "2" } else { "1" }).and_then(|()| fs::rename(&draft, &known));
    }
    modern
}

/// From `containerd github.com/containerd/containerd/v2 2.1.9 abcdef`: the word that looks like a version.
fn major_version(text: &str) -> Option<u32> {
    text.split_whitespace().find_map(|word| {
        let (major, rest) = word.strip_prefix('v').unwrap_or(word).split_once('.')?;
        rest.starts_with(|c: char| c.is_ascii_digit()).then(|| major.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            id: "a".into(),
            namespace: "default".into(),
            address: "/run/c.sock".into(),
            ..Flags::default()
        }
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn bootstrap_params_are_told_from_runtime_options() {
        let params = BootstrapParams {
            instance_id: "a".into(),
            namespace: "default".into(),
            containerd_ttrpc_address: "/run/t.sock".into(),
            containerd_grpc_address: "/run/g.sock".into(),
            ..BootstrapParams::default()
        };
        let asked = understand(&flags(), &params.write_to_bytes().unwrap(), nothing);
        assert_eq!((asked.form, asked.ttrpc_address.as_str()), (Form::Message, "/run/t.sock"));

        let options =
            Any { type_url: "runtimeoptions.v1.Options".into(), value: vec![1, 2], ..Any::default() };
        let asked = understand(&flags(), &options.write_to_bytes().unwrap(), nothing);
        assert_eq!((asked.form, asked.options), (Form::Plain, vec![options]));
    }

    #[test]
    fn events_go_to_the_ttrpc_socket_beside_the_grpc_one_unless_told_otherwise() {
        assert_eq!(understand(&flags(), b"", nothing).ttrpc_address, "/run/c.sock.ttrpc");
        let told = |name: &str| (name == "TTRPC_ADDRESS").then(|| "/t".to_owned());
        assert_eq!(understand(&flags(), b"", told).ttrpc_address, "/t");
    }

    #[test]
    fn versions_are_read_from_what_containerd_prints() {
        assert_eq!(major_version("containerd github.com/containerd/containerd/v2 2.1.9 1c4457e"), Some(2));
        assert_eq!(
            major_version("containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6"),
            Some(1)
        );
        assert_eq!(major_version("containerd v1.6.20"), Some(1));
        assert_eq!(major_version("nothing of the kind"), None);
    }

    #[test]
    fn answers_have_the_form_that_was_chosen() {
        assert_eq!(answer(Form::Plain, "unix:///x"), b"unix:///x");
        assert_eq!(
            answer(Form::Json, "unix:///x"),
            br#"{"version":3,"address":"unix:///x","protocol":"ttrpc"}"#
        );
        let result = BootstrapResult::parse_from_bytes(&answer(Form::Message, "unix:///x")).unwrap();
        assert_eq!(
            (result.version, result.address.as_str(), result.protocol.as_str()),
            (3, "unix:///x", "ttrpc")
        );
    }
}
