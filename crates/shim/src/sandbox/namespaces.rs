//! Namespaces of a pod without a process in them: held by descriptors of the server.
//!
//! A namespace is made by a process, so the zygote forks a holder as for a pause container, and the server opens what
//! the holder has. Then the holder ends. It stays only where the pod's containers share a pid namespace, which
//! lives as long as its process 1 (`pid_namespaces(7)`).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jail::{Confinement, NamespaceKind, Namespaces, User};
use zygote::{ForkDescriptors, ForkRequest, Guest};

use super::pod::{Mode, Pod};
use crate::container::{Parts, Process};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::server::Server;
use crate::stdio;

/// A holder runs no guest and loads no module.
const PATIENCE: Duration = Duration::from_secs(20);
/// As the user of Kubernetes' pause image.
const USER: u32 = 65535;

/// What the pod's containers join.
#[derive(Debug)]
pub struct Held {
    namespaces: Vec<(NamespaceKind, OwnedFd)>,
    /// Process 1 of the shared pid namespace, where there is one.
    pub holder: Option<Arc<Process>>,
}

impl Held {
    /// Makes the pod's namespaces. `netns` is its network namespace, which containerd made. Blocks.
    ///
    /// # Errors
    /// In words; nothing is left behind.
    pub fn new(server: &Server, id: &str, pod: &Pod, netns: Option<&Path>) -> Result<Held> {
        let network = netns.map(|path| {
            let open = File::open(path).map(OwnedFd::from);
            open.map_err(|e| Error::io(format!("open the pod's network namespace {}", path.display()), &e))
        });
        let network = network.transpose()?;
        let shared_pid = pod.pid == Mode::Pod;
        let fresh = Namespaces {
            ipc: pod.ipc != Mode::Node,
            // Who uses the node's network has its name as well.
            uts: pod.network != Mode::Node,
            network: pod.network != Mode::Node && network.is_none(),
            pid: shared_pid,
            ..Namespaces::default()
        };
        let forked = fork(server, pod, fresh, network.as_ref())?;
        let process = Process::new(
            format!("the namespace holder of sandbox {id:?}"),
            Parts { forked, memory_cap: None, template: None },
            stdio::Request::default(),
            stdio::Kept::default(),
        );
        let mut holder = Ended(Some(process));
        let namespaces = match &holder.0 {
            Some(process) => open(process, fresh, network)?,
            None => Vec::new(),
        };
        let holder = shared_pid.then(|| holder.0.take().map(Arc::new)).flatten();
        Ok(Held { namespaces, holder })
    }

    /// Where a namespace of the pod can be opened, also by helpers of the server. `None` if the pod has none of that
    /// kind.
    pub fn path(&self, kind: NamespaceKind) -> Option<PathBuf> {
        let held = self.namespaces.iter().find(|(held, _)| *held == kind);
        held.map(|(_, fd)| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()).into())
    }
}

/// A holder that is killed and reaped when dropped, unless it was taken.
struct Ended(Option<Process>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            Exit::force(process.pidfd());
        }
    }
}

fn fork(server: &Server, pod: &Pod, fresh: Namespaces, network: Option<&OwnedFd>) -> Result<zygote::Forked> {
    let confinement = Confinement {
        fresh,
        hostname: Some(pod.hostname.as_str()).filter(|name| fresh.uts && !name.is_empty()),
        sysctl: pod.sysctls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        user: User { uid: USER, gid: USER, ..User::default() },
        cwd: "/",
        ..Confinement::default()
    };
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|e| Error::io("open /dev/null", &e))?;
    let descriptors = ForkDescriptors {
        join: network.iter().map(|fd| (NamespaceKind::Network, fd.as_fd())).collect(),
        ..ForkDescriptors::new([null.as_fd(); 3])
    };
    let request = ForkRequest { confinement, guest: Guest::Pause };
    let forked = server.zygote.fork(&request, &descriptors).map_err(|error| match &error {
        zygote::Error::Fork(cause) => Error::io("fork a namespace holder", cause),
        _ => Error::Internal(error.to_string()),
    })?;
    match forked.gate.wait_ready(PATIENCE) {
        Ok(_) => Ok(forked),
        Err(error) => {
            Exit::force(forked.pidfd.as_fd());
            Err(match error {
                zygote::Error::Container(why) => Error::Invalid(why),
                other => Error::Internal(other.to_string()),
            })
        }
    }
}

/// Opens what the holder made; the network namespace is open already unless it made that too.
fn open(
    process: &Process,
    fresh: Namespaces,
    network: Option<OwnedFd>,
) -> Result<Vec<(NamespaceKind, OwnedFd)>> {
    let made = [
        (fresh.ipc, NamespaceKind::Ipc, "ipc"),
        (fresh.uts, NamespaceKind::Uts, "uts"),
        (fresh.network, NamespaceKind::Network, "net"),
        (fresh.pid, NamespaceKind::Pid, "pid"),
    ];
    let mut held = Vec::with_capacity(4);
    for (_, kind, name) in made.into_iter().filter(|(made, ..)| *made) {
        let path = format!("/proc/{}/ns/{name}", process.pid);
        let file = File::open(&path).map_err(|e| Error::io(format!("open {path}"), &e))?;
        held.push((kind, OwnedFd::from(file)));
    }
    held.extend(network.map(|fd| (NamespaceKind::Network, fd)));
    Ok(held)
}
