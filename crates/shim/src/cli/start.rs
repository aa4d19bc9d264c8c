//! `start`: find the server, or become the one who starts it, and print its address.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::bootstrap::{self, Asked};
use super::flags::Flags;
use crate::config::{Config, Sharing};
use crate::control::{self, Answer, Request};
use crate::rendezvous::{Lock, Rendezvous, crashed_log};
use crate::{reconcile, runtime_options};

/// Runs `start` and returns the bytes for stdout.
///
/// # Errors
/// In words; containerd shows them to the user.
pub fn start(flags: &Flags) -> Result<Vec<u8>, String> {
    let input = bootstrap::read_stdin().map_err(|e| format!("read stdin: {e}"))?;
    let asked = bootstrap::understand(flags, &input, |name| std::env::var(name).ok());
    for (value, name) in [(&asked.id, "-id"), (&asked.namespace, "-namespace"), (&asked.address, "-address")]
    {
        if value.is_empty() {
            return Err(format!(
                "{name} is missing: this program is started by containerd (try -help or the README)"
            ));
        }
    }
    // containerd runs `start` in the bundle. Relative paths are kept: it may lie deep.
    let bundle = Path::new(if flags.bundle.is_empty() { "." } else { &flags.bundle });
    let overrides = runtime_options::text(&asked.options).map_err(|e| e.to_string())?;
    let config =
        Config::load(Path::new(crate::config::PATH), overrides.as_deref()).map_err(|e| e.to_string())?;
    let group = sharing_group(config.sharing, bundle, &asked.id);

    let place = Rendezvous::new(&asked.address, &asked.namespace, &group)
        .map_err(|e| format!("find the server: {e}"))?;
    let lock = place.lock().map_err(|e| format!("lock {}: {e}", place.directory().display()))?;
    if !reserve(&place, &asked.id)? {
        // No server: whatever an earlier one left behind is nobody's now.
        reconcile::sweep(bundle, &place);
        if let Err(why) = spawn(&place, &asked, &lock) {
            drop(lock);
            reconcile::remove_if_dead(&place);
            return Err(why);
        }
        if !reserve(&place, &asked.id)? {
            return Err("the server ended right after it was started".to_owned());
        }
    }
    drop(lock);

    let address = place.task_address();
    // containerd 1.x reads it when it restarts; `delete` always does.
    if let Err(e) = fs::write(bundle.join("address"), &address) {
        // Nobody will create it, and containerd does not ask for its removal.
        let _ = control::ask(&place.control_socket(), &Request::Drop(asked.id));
        let _ = fs::remove_file(bundle.join("address"));
        let bundle = bundle.canonicalize().unwrap_or_else(|_| bundle.to_owned());
        return Err(format!("write {}: {e}", bundle.join("address").display()));
    }
    Ok(bootstrap::answer(asked.form, &address))
}

/// Asks a living server to wait for the container; false if there is none.
fn reserve(place: &Rendezvous, id: &str) -> Result<bool, String> {
    match control::ask(&place.control_socket(), &Request::Reserve(id.to_owned())) {
        Ok(Some(Answer::Ok)) => Ok(true),
        Ok(None) => Ok(false),
        Ok(Some(other)) => Err(format!("the server refused: {other:?}")),
        Err(e) => Err(format!("the server at {} does not answer: {e}", place.directory().display())),
    }
}

/// Which containers may share a server, beyond those of one containerd and namespace.
fn sharing_group(sharing: Sharing, bundle: &Path, id: &str) -> String {
    let annotation = |name: &str| {
        let spec: serde_json::Value =
            serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok()?;
        Some(spec.get("annotations")?.get(name)?.as_str()?.to_owned())
    };
    match sharing {
        Sharing::Node => String::new(),
        Sharing::KubernetesNamespace => annotation("io.kubernetes.cri.sandbox-namespace").unwrap_or_default(),
        Sharing::Pod => annotation("io.kubernetes.cri.sandbox-id").unwrap_or_else(|| id.to_owned()),
    }
}

/// Starts the server and waits until it listens.
fn spawn(place: &Rendezvous, asked: &Asked, _lock: &Lock) -> Result<(), String> {
    for socket in [place.task_socket(), place.control_socket()] {
        match fs::remove_file(&socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(format!("remove {}: {e}", socket.display()));
            }
            _ => {}
        }
    }
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(place.log());
    let log = log.map_err(|e| format!("open {}: {e}", place.log().display()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(super::PROGRAM);
    // One heap for all threads, and no memory set aside by each of them: they allocate little, and what a busy moment
    // took could else not be given back.
    command.env("GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0");
    if asked.debug {
        command.arg("-debug");
    }
    let mut child = command
        .args([
            "-namespace",
            &asked.namespace,
            "-address",
            &asked.address,
            "-ttrpc-address",
            &asked.ttrpc_address,
        ])
        .arg("-rendezvous")
        .arg(place.directory())
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("start the server: {e}"))?;
    // It writes "ready", or an error, and closes its stdout.
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).map_err(|e| format!("hear from the server: {e}"))?;
    }
    match said.trim() {
        "ready" => Ok(()),
        "" => Err(format!("the server ended at once; see {}", crashed_log().display())),
        error => Err(error.to_owned()),
    }
}
