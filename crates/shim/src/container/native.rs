//! Native containers: a Linux program made by libcontainer in a helper process, and programs that join a container.
//!
//! The same cgroup, streams, events and phases as of wasm containers; what is different is how a process comes to be.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use cgroup::{Cgroup, Entry, Version};
use native::{
    CgroupMount, Confinement, CreateRequest, ExecRequest, HookKind, HooksRequest, Made, Surroundings,
};
use rustix::fs::{Mode, OFlags};

use super::create::{Creation, cgroup_path, make_cgroup};
use super::launch::cgroup_error;
use super::{About, Container, Kind, Process};
use crate::config::AotMode;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::server::Server;
use crate::spec::{NativeProcess, NativeSpec};
use crate::stdio::{self, Kept};

/// Directory of our own in the bundle.
const DIRECTORY: &str = "native";
/// The spec that libcontainer is given, in it.
const CONFIG: &str = "config.json";

/// What a native container has and others have not.
#[derive(Debug)]
pub struct Native {
    /// Whether its processes end with its first one.
    pub own_pid_namespace: bool,
    /// Whether there are hooks to run after Start.
    pub poststart: bool,
    poststop: bool,
    oom_score_adj: i32,
}

/// Makes a container. It is not started. Blocks.
///
/// # Errors
/// In words for the user; nothing is left behind.
pub fn create(server: &Server, creation: Creation, json: &[u8]) -> Result<Container> {
    let mut spec =
        NativeSpec::from_bundle(json, &creation.bundle).map_err(|e| Error::Invalid(e.to_string()))?;
    if let Some(sandbox) = spec.sandbox_id.as_deref().and_then(|id| server.sandboxes.get(id).ok()) {
        sandbox.join_native(&mut spec.spec)?;
    }
    let console_size = spec.process.console_size;
    let streams = match creation.stdio.terminal {
        true => None,
        false => Some(stdio::open(&creation.stdio, None, &creation.id, &server.namespace)?),
    };
    let rootfs = creation.bundle.join("rootfs");
    let root = if creation.rootfs.is_empty() { spec.root.clone() } else { rootfs };
    let mounted = (!creation.rootfs.is_empty()).then(|| root.clone());
    let path = cgroup_path(server, &creation, spec.cgroups_path.as_deref())?;
    let planned = Cgroup::plan_native(&server.cgroups, &path).map_err(cgroup_error)?;
    let cgroup = make_cgroup(server, &creation, planned, mounted, &spec.limits)?;
    let unfinished = Unfinished { cgroup: &cgroup, bundle: &creation.bundle };
    let mounts: Vec<_> = creation.rootfs.iter().map(super::file_system::rootfs_mount).collect();
    jail::attach_rootfs(&mounts, &root)
        .map_err(|e| Error::because(format!("mount the root file system: {e}"), &e, Error::Internal))?;

    attach_device_rules(&cgroup, &spec)?;
    let oom_score_adj = spec.process.oom_score_adj.unwrap_or(0);
    let native = Native {
        own_pid_namespace: spec.own_pid_namespace,
        poststart: spec.poststart,
        poststop: spec.poststop,
        oom_score_adj,
    };
    let limits = spec.limits.clone();
    let about = About { sandbox: spec.sandbox_id.clone(), module: None };
    let request = request(&creation, spec, &cgroup, &root, oom_score_adj)?;
    let ends = streams.as_ref().map(|(ends, _)| ends.borrow());
    let spawn = |command| server.zygote.start_program(command);
    let made = native::create(&spawn, program(server)?, request, ends).map_err(failed)?;
    let process = Waiting::new(made);
    cgroup.adopt(process.pid(), &limits).map_err(cgroup_error)?;
    let kept = match streams {
        Some((_, kept)) => kept,
        None => process.connect(&creation.stdio, console_size)?,
    };
    let name = format!("container {:?}", creation.id);
    let init = process.settle(name, creation.stdio.clone(), kept)?;
    // Nothing can fail from here on.
    std::mem::forget(unfinished);
    Ok(Container {
        kind: Kind::Native,
        about,
        init: Arc::new(init),
        id: creation.id,
        bundle: creation.bundle,
        cgroup,
        stack_size: 0,
        aot: AotMode::Off,
        sockets: Vec::new(),
        max_memory_pages: None.into(),
        native: Some(native),
        execs: Default::default(),
        busy: Default::default(),
        kills: Default::default(),
    })
}

/// On v2; on v1 libcontainer writes the rules.
fn attach_device_rules(cgroup: &Cgroup, spec: &NativeSpec) -> Result<()> {
    let rules = spec.spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = rules.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    match cgroup.entry().map_err(cgroup_error)? {
        Entry::Directory(directory) => native::attach_device_rules(directory.as_fd(), rules).map_err(failed),
        Entry::Procs(_) => Ok(()),
    }
}

/// Whether the program that a spec names is a Linux program, as far as the root file system and bind mounts tell.
/// For a spec that a wasm container could not have.
pub fn is_native(creation: &Creation, json: &[u8]) -> bool {
    let Ok(spec) = NativeSpec::from_bundle(json, &creation.bundle) else { return false };
    let mounts: Vec<_> = creation.rootfs.iter().map(super::file_system::rootfs_mount).collect();
    let bundle_root = creation.bundle.join("rootfs");
    let root = jail::rootfs(&mounts, if mounts.is_empty() { &spec.root } else { &bundle_root });
    let Ok(root) = root else { return false };
    let bound = |mount: &oci_spec::runtime::Mount| {
        let source = creation.bundle.join(mount.source().as_ref()?);
        let bind = mount.options().iter().flatten().any(|word| word == "bind" || word == "rbind");
        let detached = bind.then(|| jail::bind(&source, &jail::MountOptions::default()).ok()).flatten()?;
        Some((mount.destination().to_str()?.to_owned(), detached))
    };
    let binds: Vec<_> = spec.spec.mounts().iter().flatten().filter_map(bound).collect();
    let views: Vec<_> = binds
        .iter()
        .map(|(destination, mount)| image::Mount {
            destination,
            fd: mount.fd.as_fd(),
            directory: mount.directory,
        })
        .collect();
    let Ok(tree) = image::Tree::new(root.as_fd(), None, &views) else { return false };
    let process = &spec.process.process;
    let env = process.env().as_deref().unwrap_or_default();
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let args0 = process.args().iter().flatten().next().map(String::as_str).unwrap_or_default();
    let cwd = process.cwd().display().to_string();
    let found = image::Entrypoint::parse(args0, &cwd, path).and_then(|entrypoint| entrypoint.find(&tree));
    found.is_ok_and(|found| found.is_native())
}

/// Writes the spec for libcontainer.
fn request(
    creation: &Creation,
    spec: NativeSpec,
    cgroup: &Cgroup,
    root: &Path,
    oom_score_adj: i32,
) -> Result<CreateRequest> {
    let failed = |e| Error::io("write the spec for libcontainer", &e);
    let directory = creation.bundle.join(DIRECTORY);
    remove_directory(&creation.bundle);
    fs::DirBuilder::new().mode(0o700).create(&directory).map_err(failed)?;
    let (place, directories) = cgroup.places();
    let mounts = directories.filter_map(|(root, directory)| {
        let name = root.file_name()?.to_str()?.to_owned();
        Some(CgroupMount { name, directory: directory.to_owned() })
    });
    let mounts: Vec<_> = if cgroup.version() == Version::V1 { mounts.collect() } else { Vec::new() };
    let around = Surroundings {
        bundle: &creation.bundle,
        root,
        directory: &directory,
        cgroup: &place,
        cgroup_mounts: &mounts,
        terminal: creation.stdio.terminal,
    };
    let uid = spec.process.process.user().uid();
    let cwd = spec.process.process.cwd().clone();
    let home_given = native::names_home(spec.process.process.env().as_deref().unwrap_or_default());
    let (spec, binds, warnings) = native::rewrite(spec.spec, &around);
    for warning in warnings {
        log::warn!("container {:?}: {warning}", creation.id);
    }
    let text = serde_json::to_vec(&spec).map_err(|e| failed(e.into()))?;
    fs::write(directory.join(CONFIG), text).map_err(failed)?;
    let id = creation.id.clone();
    Ok(CreateRequest {
        id,
        directory,
        root: root.to_owned(),
        cwd,
        binds,
        terminal: creation.stdio.terminal,
        oom_score_adj,
        uid,
        home_given,
    })
}

/// Makes a native process in a container. It is not started. Blocks.
///
/// # Errors
/// In words for the user; nothing is left behind.
pub fn exec(
    server: &Server,
    container: &Container,
    exec_id: &str,
    process_json: &[u8],
    request: stdio::Request,
) -> Result<Arc<Process>> {
    let process = NativeProcess::from_json(process_json).map_err(|e| Error::Invalid(e.to_string()))?;
    let streams = match request.terminal {
        true => None,
        false => Some(stdio::open(&request, None, &container.id, &server.namespace)?),
    };
    let (confinement, config) = match &container.native {
        Some(_) => (Confinement::Process, container.bundle.join(DIRECTORY).join(CONFIG)),
        None => (Confinement::Wasm, container.bundle.join(CONFIG)),
    };
    let ask = ExecRequest {
        process: process.process,
        confinement,
        config,
        oom_score_adj: container.native.as_ref().map_or(0, |native| native.oom_score_adj),
    };
    let procs = procs(&container.cgroup)?;
    let ends = streams.as_ref().map(|(ends, _)| ends.borrow());
    let spawn = |command| server.zygote.start_program(command);
    let procs = procs.iter().map(AsFd::as_fd).collect();
    let made = native::exec(&spawn, program(server)?, ask, container.init.pidfd(), ends, procs);
    let made = Waiting::new(made.map_err(failed)?);
    let kept = match streams {
        Some((_, kept)) => kept,
        None => made.connect(&request, process.console_size)?,
    };
    let name = format!("exec {exec_id:?} of container {:?}", container.id);
    Ok(Arc::new(made.settle(name, request, kept)?))
}

/// `cgroup.procs` of each hierarchy, open for writing.
fn procs(cgroup: &Cgroup) -> Result<Vec<OwnedFd>> {
    match cgroup.entry().map_err(cgroup_error)? {
        Entry::Procs(files) => Ok(files),
        Entry::Directory(directory) => {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, "cgroup.procs", flags, Mode::empty());
            file.map(|file| vec![file]).map_err(|e| Error::io("open the container's cgroup", &e.into()))
        }
    }
}

/// Runs hooks after Start. One that fails is logged: the container runs already. Blocks.
pub fn started(server: &Server, container: &Container) {
    run_hooks(server, container, HookKind::PostStart);
}

/// Ends the last process and runs hooks after that. Blocks.
///
/// # Errors
/// When something survives.
pub fn stopped(server: &Server, container: &Container) -> Result<()> {
    if container.native.as_ref().is_some_and(|native| native.poststop) {
        container.kill_rest()?;
        run_hooks(server, container, HookKind::PostStop);
    }
    Ok(())
}

fn run_hooks(server: &Server, container: &Container, kind: HookKind) {
    let request =
        HooksRequest { id: container.id.clone(), directory: container.bundle.join(DIRECTORY), kind };
    let spawn = |command| server.zygote.start_program(command);
    let done = program(server).and_then(|program| native::hooks(&spawn, program, request).map_err(failed));
    if let Err(e) = done {
        log::error!("{}: {e}", container.init.name);
    }
}

/// Removes what only native containers leave in their bundle.
pub fn remove(bundle: &Path) {
    if let Ok(Some(Record { root: Some(root), .. })) = Record::read(bundle) {
        unmount(&root);
    }
    remove_directory(bundle);
}

/// Takes everything off that is mounted at a path.
pub fn unmount(path: &Path) {
    use rustix::mount::UnmountFlags;
    while rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
}

fn remove_directory(bundle: &Path) {
    let directory = bundle.join(DIRECTORY);
    match fs::remove_dir_all(&directory) {
        Err(e) if e.kind() != ErrorKind::NotFound => log::warn!("remove {}: {e}", directory.display()),
        _ => {}
    }
}

fn program(server: &Server) -> Result<&native::Program> {
    if server.native.get().is_none() {
        // Two may get here at once; one of the two is dropped then.
        let _ = server.native.set(native::Program::of_this_process().map_err(failed)?);
    }
    server.native.get().ok_or_else(|| Error::Internal("protect the shim's executable: not done".to_owned()))
}

fn failed(error: native::Error) -> Error {
    match error {
        native::Error::Refused(why) => Error::Invalid(why),
        other => Error::of(other, Error::Internal),
    }
}

/// A process that is made but nobody's yet: killed and reaped when dropped.
struct Waiting(Option<Made>);

impl Waiting {
    fn new(made: Made) -> Waiting {
        for warning in &made.warnings {
            log::warn!("{warning}");
        }
        Waiting(Some(made))
    }

    fn pid(&self) -> i32 {
        self.0.as_ref().map_or(0, |made| made.pid)
    }

    /// Connects its terminal.
    fn connect(&self, request: &stdio::Request, size: Option<(u16, u16)>) -> Result<Kept> {
        let terminal = self.0.as_ref().and_then(|made| made.terminal.as_ref());
        let terminal = terminal.ok_or_else(|| Error::Internal("no terminal came back".to_owned()))?;
        let terminal = terminal.try_clone().map_err(|e| Error::io("copy the terminal", &e))?;
        stdio::connect(request, size, terminal)
    }

    fn settle(mut self, name: String, request: stdio::Request, kept: Kept) -> Result<Process> {
        let made = self.0.take();
        let made = made.ok_or_else(|| Error::Internal("a process was lost while it was made".to_owned()))?;
        Ok(Process::native(name, made, request, kept))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(made) = &self.0 {
            // Both fail only if it is dead and reaped already.
            let _ = rustix::process::pidfd_send_signal(&made.pidfd, rustix::process::Signal::KILL);
            let _ = crate::exit::Exit::reap_blocking(made.pidfd.as_fd());
        }
    }
}

/// A container that is being made: what is left of it is removed when dropped.
struct Unfinished<'a> {
    cgroup: &'a Cgroup,
    bundle: &'a Path,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.cgroup.kill().and_then(|()| self.cgroup.remove()) {
            log::error!("remove the cgroup of a container that could not be made: {e}");
        }
        remove(self.bundle);
        Record::remove(self.bundle);
    }
}
