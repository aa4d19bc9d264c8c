//! Native containers: a Linux program made by libcontainer in a helper process, and programs that join a container.
//!
//! The same cgroup, streams, events and phases as of wasm containers; what is different is how a process comes to be.

mod end;
mod exec;
mod request;
mod waiting;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cgroup::{Cgroup, Entry};

use self::end::Unfinished;
use self::waiting::Waiting;
use super::create::{Creation, cgroup_path, make_cgroup};
use super::launch::cgroup_error;
use super::{About, Container, Kind};
use crate::config::AotMode;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::server::Server;
use crate::spec::{Maker, NativeSpec};
use crate::stdio;

pub use end::{discard, remove, started, stopped, unmount};
pub use exec::exec;

/// Directory of our own in the bundle.
const DIRECTORY: &str = "native";
/// The spec that libcontainer or another runtime is given, in it.
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
    /// The OCI runtime that made it, if it was not made by libcontainer.
    runtime: Option<PathBuf>,
}

impl Native {
    /// Whether some may live on when its first one has ended.
    pub fn may_leave_processes(&self) -> bool {
        // A monitor may be killed while the container runs.
        !self.own_pid_namespace || self.runtime.is_some()
    }

    fn maker(&self) -> Maker {
        maker(self.runtime.as_deref())
    }
}

fn maker(runtime: Option<&Path>) -> Maker {
    if runtime.is_some() { Maker::Runtime } else { Maker::BuiltIn }
}

/// Makes a container, by libcontainer or by another OCI runtime. It is not started. Blocks.
///
/// # Errors
/// In words for the user; nothing is left behind.
pub fn create(server: &Server, creation: Creation, json: &[u8], runtime: Option<&Path>) -> Result<Container> {
    let mut spec = NativeSpec::from_bundle(json, &creation.bundle, maker(runtime))
        .map_err(|e| Error::Invalid(e.to_string()))?;
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
    let record = Record {
        root: mounted,
        runtime: runtime.map(|runtime| (runtime.to_owned(), creation.id.clone())),
        ..Record::default()
    };
    let cgroup = make_cgroup(server, &creation, planned, record, &spec.limits)?;
    let unfinished = Unfinished { server, cgroup: &cgroup, bundle: &creation.bundle };
    let mounts: Vec<_> = creation.rootfs.iter().map(super::file_system::rootfs_mount).collect();
    jail::attach_rootfs(&mounts, &root)
        .map_err(|e| Error::because(format!("mount the root file system: {e}"), &e, Error::Internal))?;

    let oom_score_adj = spec.process.oom_score_adj.unwrap_or(0);
    let native = Native {
        own_pid_namespace: spec.own_pid_namespace,
        // Another runtime runs them itself.
        poststart: spec.poststart && runtime.is_none(),
        poststop: spec.poststop && runtime.is_none(),
        oom_score_adj,
        runtime: runtime.map(Path::to_owned),
    };
    let limits = spec.limits.clone();
    let about = About { sandbox: spec.sandbox_id.clone(), module: None };
    let ends = streams.as_ref().map(|(ends, _)| ends.borrow());
    let spawn = |command| server.zygote.start_program(command);
    let made = match runtime {
        None => {
            attach_device_rules(&cgroup, &spec)?;
            let request = request::for_libcontainer(&creation, spec, &cgroup, &root, oom_score_adj)?;
            native::create(&spawn, program(server)?, request, ends)
        }
        Some(runtime) => {
            let request = request::for_runtime(&creation, spec, &cgroup, &root, runtime)?;
            native::run(&spawn, program(server)?, request, ends)
        }
    };
    let process = Waiting::new(made.map_err(failed)?);
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
pub fn is_native(creation: &Creation, json: &[u8], runtime: Option<&Path>) -> bool {
    let Ok(spec) = NativeSpec::from_bundle(json, &creation.bundle, maker(runtime)) else { return false };
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
    let Ok(tree) = super::file_system::tree(&root, None, &binds) else { return false };
    let process = &spec.process.process;
    let env = process.env().as_deref().unwrap_or_default();
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let args0 = process.args().iter().flatten().next().map(String::as_str).unwrap_or_default();
    let cwd = process.cwd().display().to_string();
    let found = image::Entrypoint::parse(args0, &cwd, path).and_then(|entrypoint| entrypoint.find(&tree));
    found.is_ok_and(|found| found.is_native())
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
