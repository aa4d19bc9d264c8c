//! Create: from a bundle to a confined process that stands before its guest's first instruction.
//!
//! Blocks, so it runs on a blocking thread. Every step that leaves something behind is undone when a later
//! one fails: descriptors and detached mounts by being dropped, the rest by [`Unfinished`].

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cgroup::{Cgroup, Entry};
use containerd_shim_protos::api::Mount;
use jail::NamespaceKind;
use protobuf::well_known_types::any::Any;
use zygote::{ForkDescriptors, ForkRequest, Forked, Gate, Guest, Wasm};

use super::file_system::FileSystem;
use super::{Container, Process};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::record::Record;
use crate::server::Server;
use crate::spec::{self, Plan};
use crate::{runtime_options, stdio};

/// How long a module may take to be loaded. The largest known take seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Create was asked.
#[derive(Debug)]
pub struct Creation {
    /// Container id.
    pub id: String,
    /// Bundle with `config.json`.
    pub bundle: PathBuf,
    /// Mounts that make the root file system.
    pub rootfs: Vec<Mount>,
    /// Standard streams.
    pub stdio: stdio::Request,
    /// Runtime options.
    pub options: Option<Any>,
}

/// Refuses ids that could name anything but one entry of a directory; containerd allows fewer still.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_id(id: &str) -> Result<()> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if id.is_empty() || id.len() > 255 || id.starts_with('.') || !id.chars().all(harmless) {
        return Err(Error::Invalid(format!(
            "{id:?} is not a container id: 1 to 255 letters, digits, '-', '_', '.' and ':', not beginning with '.'"
        )));
    }
    Ok(())
}

/// Makes the container. It is not started.
///
/// # Errors
/// In words for the user; nothing is left behind.
pub fn create(server: &Server, creation: Creation) -> Result<Container> {
    if creation.stdio.terminal {
        return Err(Error::Unimplemented("wasm containers have no terminal yet: run without --tty".to_owned()));
    }
    let plan = plan(server, &creation)?;
    let file_system = FileSystem::new(server, &plan, &creation)?;
    let module = file_system.module(server, &plan)?;
    let contents = module.contents().map_err(|e| Error::Invalid(e.to_string()))?;
    let preopens = spec::preopens(&plan, &file_system.top_level_directories()?);
    let joined = open_namespaces(&plan)?;
    let (guest_ends, kept) = stdio::open(&creation.stdio, &creation.id, &server.namespace)?;

    let cgroup_path = match &plan.cgroups_path {
        Some(path) => path.clone(),
        None => format!("/{}/{}", server.namespace, creation.id),
    };
    let cgroup_path = cgroup::Path::parse(&cgroup_path).map_err(|e| Error::Invalid(e.to_string()))?;
    let cgroup = Cgroup::create(&server.cgroups, &cgroup_path, &plan.limits).map_err(cgroup_error)?;
    let mut made = Unfinished(Some(Parts { cgroup, bundle: creation.bundle, forked: None }));
    let parts = made.parts()?;
    let cgroup = parts.cgroup.directories().map(Path::to_owned).collect();
    let record = Record { server: server.place.directory().to_owned(), cgroup };
    record.write(&parts.bundle).map_err(|e| Error::io("write the container's record", &e))?;

    let request = ForkRequest {
        confinement: confinement(&plan, &file_system),
        guest: Guest::Wasm(Wasm {
            args: plan.process.args.iter().map(String::as_str).collect(),
            env: plan.process.env.iter().map(String::as_str).collect(),
            preopens: preopens
                .iter()
                .map(|(guest, host)| zygote::Preopen { guest, host, read_only: false })
                .collect(),
            entry: module.export.as_deref().map_or(zygote::Entry::Start, zygote::Entry::Export),
            stack_size: plan.wasm_stack_size,
            max_memory_pages: plan.max_memory_pages,
        }),
    };
    let (gate, far_end) = Gate::pair().map_err(|e| Error::io("make the line to the container", &e))?;
    let given = Given { far_end, guest_ends, module: contents, file_system: &file_system, joined };
    parts.forked = Some(fork(server, &request, given, &parts.cgroup)?);
    let ready = gate.wait_ready(PATIENCE).map_err(|e| not_ready(e, &parts.cgroup, &plan))?;
    for warning in ready.warnings {
        log::warn!("container {:?}: {warning}", creation.id);
    }

    let name = format!("container {:?}", creation.id);
    let (Parts { cgroup, bundle, .. }, forked) = made.finish()?;
    Ok(Container {
        init: Arc::new(Process::new(name, forked, gate, creation.stdio, kept)),
        id: creation.id,
        bundle,
        cgroup,
        execs: Default::default(),
        busy: Default::default(),
    })
}

/// Descriptors for the container process alone: the server's copies close when the fork is done, so that ends of
/// file come when they should.
struct Given<'a> {
    far_end: OwnedFd,
    guest_ends: stdio::GuestEnds,
    module: fs::File,
    file_system: &'a FileSystem,
    joined: Vec<(NamespaceKind, OwnedFd)>,
}

fn fork(server: &Server, request: &ForkRequest<'_>, given: Given<'_>, cgroup: &Cgroup) -> Result<Forked> {
    let entry = cgroup.entry().map_err(cgroup_error)?;
    let (cgroup_procs, cgroup_v2): (Vec<BorrowedFd<'_>>, _) = match &entry {
        Entry::Procs(files) => (files.iter().map(AsFd::as_fd).collect(), None),
        Entry::Directory(directory) => (Vec::new(), Some(directory.as_fd())),
    };
    let descriptors = ForkDescriptors {
        gate: given.far_end.as_fd(),
        stdio: given.guest_ends.borrow(),
        module: Some(given.module.as_fd()),
        root: Some(given.file_system.root()),
        mounts: given.file_system.mounts(),
        join: given.joined.iter().map(|(kind, fd)| (*kind, fd.as_fd())).collect(),
        cgroup_procs,
        cgroup_v2,
    };
    server.zygote.fork(request, &descriptors).map_err(fork_error)
}

fn plan(server: &Server, creation: &Creation) -> Result<Plan> {
    let path = creation.bundle.join("config.json");
    let json = fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), &e))?;
    let overrides = runtime_options::text(&creation.options)?;
    let own;
    let config = match overrides {
        None => &server.config,
        Some(text) => {
            own = Config::load(Path::new(crate::config::PATH), Some(&text)).map_err(|e| Error::Invalid(e.to_string()))?;
            &own
        }
    };
    Plan::from_bundle(&json, &creation.bundle, config).map_err(|e| Error::Invalid(e.to_string()))
}

fn confinement<'a>(plan: &'a Plan, file_system: &'a FileSystem) -> jail::Confinement<'a> {
    jail::Confinement {
        fresh: plan.namespaces.fresh,
        hostname: plan.hostname.as_deref(),
        domainname: plan.domainname.as_deref(),
        sysctl: plan.sysctl.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        root_readonly: plan.root.readonly,
        mounts: file_system.attachments(),
        user: plan.process.user.clone(),
        rlimits: plan.process.rlimits.clone(),
        oom_score_adj: plan.process.oom_score_adj,
        cwd: &plan.process.cwd,
        apparmor: plan.process.apparmor.as_deref(),
        selinux: plan.process.selinux.as_deref(),
        terminal: plan.process.terminal,
    }
}

fn open_namespaces(plan: &Plan) -> Result<Vec<(NamespaceKind, OwnedFd)>> {
    let open = |(kind, path): &(NamespaceKind, PathBuf)| {
        let file = fs::File::open(path);
        file.map(|file| (*kind, file.into()))
            .map_err(|e| Error::io(format!("open the namespace {} (is its pod gone?)", path.display()), &e))
    };
    plan.namespaces.join.iter().map(open).collect()
}

fn cgroup_error(error: cgroup::Error) -> Error {
    match error {
        cgroup::Error::AlreadyInUse { .. } => Error::Exists(error.to_string()),
        cgroup::Error::Io { .. } => Error::Internal(error.to_string()),
        _ => Error::Invalid(error.to_string()),
    }
}

fn fork_error(error: zygote::Error) -> Error {
    match &error {
        zygote::Error::Fork(cause) => Error::io("fork a container process", cause),
        _ => Error::Internal(error.to_string()),
    }
}

/// Why the process did not get ready. One that the kernel killed for its memory limit could not say so.
fn not_ready(error: zygote::Error, cgroup: &Cgroup, plan: &Plan) -> Error {
    match (error, plan.limits.memory.limit) {
        (zygote::Error::Container(why), _) => Error::Invalid(why),
        (zygote::Error::NotReady(_), Some(limit)) if cgroup.oom_kills() > 0 => Error::Invalid(format!(
            "loading the module takes more than the memory limit of {limit} bytes: raise the limit"
        )),
        (other, _) => Error::Internal(other.to_string()),
    }
}

/// A container that is being made: undone when dropped, unless it was finished.
struct Unfinished(Option<Parts>);

/// What outlives a failed step unless it is undone.
struct Parts {
    cgroup: Cgroup,
    bundle: PathBuf,
    forked: Option<Forked>,
}

impl Unfinished {
    fn parts(&mut self) -> Result<&mut Parts> {
        self.0.as_mut().ok_or_else(|| Error::Internal("a container was finished twice".to_owned()))
    }

    /// Nothing is to be undone any more.
    fn finish(mut self) -> Result<(Parts, Forked)> {
        let forked = self.parts()?.forked.take();
        let forked = forked.ok_or_else(|| Error::Internal("a container was not forked".to_owned()))?;
        let parts = self.0.take().ok_or_else(|| Error::Internal("a container was finished twice".to_owned()))?;
        Ok((parts, forked))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(Parts { cgroup, bundle, forked }) = self.0.take() else { return };
        if let Some(forked) = forked {
            // Both fail only if it is dead and reaped already.
            let _ = rustix::process::pidfd_send_signal(&forked.pidfd, rustix::process::Signal::KILL);
            let _ = Exit::reap_blocking(forked.pidfd.as_fd());
        }
        if let Err(e) = cgroup.kill().and_then(|()| cgroup.remove()) {
            log::error!("remove the cgroup of a container that could not be made: {e}");
        }
        Record::remove(&bundle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_directory_are_refused() {
        for id in ["", "../x", "a/b", "..", ".hidden", "a\0b", "a b", &"x".repeat(256)] {
            assert!(matches!(check_id(id), Err(Error::Invalid(_))), "{id:?}");
        }
        for id in ["a", "hello-1", "0123456789abcdef", "a_b.c:d"] {
            assert!(check_id(id).is_ok(), "{id:?}");
        }
    }
}
