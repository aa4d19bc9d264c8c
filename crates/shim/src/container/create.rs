//! Create: from a bundle to a confined process that stands before its guest's first instruction.
//!
//! Blocks, so it runs on a blocking thread. Every step that leaves something behind is undone when a later
//! one fails: descriptors and detached mounts by being dropped, the rest by [`Undo`].

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
    let mut undo = Undo { cgroup: Some(cgroup), bundle: &creation.bundle, forked: None };
    let Some(cgroup) = &undo.cgroup else { unreachable!("it was put there") };

    let record = Record { server: server.place.directory().to_owned(), cgroup: cgroup.directories().to_vec() };
    record.write(&creation.bundle).map_err(|e| Error::io("write the container's record", &e))?;

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
    let entry = cgroup.entry().map_err(cgroup_error)?;
    let (cgroup_procs, cgroup_v2): (Vec<BorrowedFd<'_>>, _) = match &entry {
        Entry::Procs(files) => (files.iter().map(AsFd::as_fd).collect(), None),
        Entry::Directory(directory) => (Vec::new(), Some(directory.as_fd())),
    };
    let descriptors = ForkDescriptors {
        gate: far_end.as_fd(),
        stdio: guest_ends.borrow(),
        module: Some(contents.as_fd()),
        root: Some(file_system.root()),
        mounts: file_system.mounts(),
        join: joined.iter().map(|(kind, fd)| (*kind, fd.as_fd())).collect(),
        cgroup_procs,
        cgroup_v2,
    };
    let forked = server.zygote.fork(&request, &descriptors).map_err(fork_error)?;
    // Our copies go, so that the ends of pipes and of the gate are the container's alone.
    drop((descriptors, entry, far_end, guest_ends));
    let forked = undo.forked.insert(forked);
    let ready = gate.wait_ready(PATIENCE).map_err(|e| not_ready(e, forked, undo.cgroup.as_ref(), &plan))?;
    for warning in ready.warnings {
        log::warn!("container {:?}: {warning}", creation.id);
    }

    let name = format!("container {:?}", creation.id);
    let (Some(forked), Some(cgroup)) = (undo.forked.take(), undo.cgroup.take()) else {
        return Err(Error::Internal("a container was lost while it was made".to_owned()));
    };
    Ok(Container {
        init: Arc::new(Process::new(name, forked, gate, creation.stdio, kept)),
        id: creation.id,
        bundle: creation.bundle,
        cgroup,
        execs: Default::default(),
        busy: Default::default(),
    })
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
        cgroup::Error::InUse { .. } => Error::Exists(error.to_string()),
        _ if error.is_invalid_limit() => Error::Invalid(error.to_string()),
        _ => Error::Internal(error.to_string()),
    }
}

fn fork_error(error: zygote::Error) -> Error {
    match &error {
        zygote::Error::Fork(cause) => Error::io("fork a container process", cause),
        _ => Error::Internal(error.to_string()),
    }
}

/// Why a container process did not get ready. One that the kernel killed for its memory limit could not say so.
fn not_ready(error: zygote::Error, forked: &Forked, cgroup: Option<&Cgroup>, plan: &Plan) -> Error {
    match error {
        zygote::Error::Container(why) => Error::Invalid(why),
        zygote::Error::NotReady(why) => {
            let killed = cgroup.is_some_and(|cgroup| cgroup.oom_kills().is_ok_and(|kills| kills > 0));
            match (killed, plan.limits.memory.limit) {
                (true, Some(limit)) => Error::Invalid(format!(
                    "loading the module takes more than the memory limit of {limit} bytes: raise the limit"
                )),
                _ => {
                    let _ = rustix::process::pidfd_send_signal(&forked.pidfd, rustix::process::Signal::KILL);
                    let status = Exit::reap_blocking(forked.pidfd.as_fd()).map_or(0, |exit| exit.status);
                    Error::Internal(format!("{why} (exit status {status})"))
                }
            }
        }
        other => Error::Internal(other.to_string()),
    }
}

/// Undoes what is left of a container that was not finished.
struct Undo<'a> {
    cgroup: Option<Cgroup>,
    bundle: &'a Path,
    forked: Option<Forked>,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(forked) = &self.forked {
            // Both fail only if it is dead and reaped already.
            let _ = rustix::process::pidfd_send_signal(&forked.pidfd, rustix::process::Signal::KILL);
            let _ = Exit::reap_blocking(forked.pidfd.as_fd());
        }
        if let Some(cgroup) = &self.cgroup {
            if let Err(e) = cgroup.kill().and_then(|()| cgroup.remove()) {
                log::error!("remove the cgroup of a container that could not be made: {e}");
            }
            Record::remove(self.bundle);
        }
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
