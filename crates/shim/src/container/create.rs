//! Create: from a bundle to a confined process that stands before its guest's first instruction, or, for the pause
//! container of a pod, to the holder of the pod's namespaces.
//!
//! Blocks, so it runs on a blocking thread. Every step that leaves something behind is undone when a later
//! one fails: descriptors and detached mounts by being dropped, the rest by [`Unfinished`].

use std::borrow::Cow;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cgroup::Cgroup;
use containerd_shim_protos::api::Mount;
use jail::NamespaceKind;
use protobuf::well_known_types::any::Any;

use super::launch::cgroup_error;
use super::native::is_native;
use super::warm_start::WarmStart;
use super::wasm::WasmContents;
use super::{About, Container, Kind, Process, pause};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::server::Server;
use crate::spec::{ContainerType, Plan};
use crate::{runtime_options, stdio};

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
    let json = config_json(&creation)?;
    let config = config(server, &creation)?;
    let maker = config.native_runtime.as_deref();
    let plan = Plan::from_bundle(&json, &creation.bundle, &config).map_err(|e| Error::Invalid(e.to_string()));
    let mut plan = match plan {
        Ok(plan) => plan,
        // It may be a native container's: hooks and device nodes are for those.
        Err(_) if is_native(&creation, &json, maker) => {
            return super::native::create(server, creation, &json, maker);
        }
        Err(refusal) => return Err(refusal),
    };
    // Unless the pod has a pause container, which is a container like any other.
    if let Some(sandbox) = plan.kubernetes.sandbox_id.as_deref().and_then(|id| server.sandboxes.get(id).ok())
    {
        sandbox.join(&mut plan)?;
    }
    let wasm = match plan.kubernetes.container_type {
        Some(ContainerType::Sandbox) if !config.native_pause => None,
        _ => match WasmContents::open(server, &plan, &creation) {
            Ok(Some(wasm)) => Some(wasm),
            Ok(None) => return super::native::create(server, creation, &json, maker),
            Err(_) if is_native(&creation, &json, maker) => {
                return super::native::create(server, creation, &json, maker);
            }
            Err(refusal) => return Err(refusal),
        },
    };
    let join = open_namespaces(&plan)?;
    let (guest_ends, kept) =
        stdio::open(&creation.stdio, plan.process.console_size, &creation.id, &server.namespace)?;

    let path = cgroup_path(server, &creation, plan.cgroups_path.as_deref())?;
    let planned = match &wasm {
        // A limit that is set all the same is kept.
        None if plan.limits.memory == cgroup::Memory::default() => {
            Cgroup::plan_sleeper(&server.cgroups, &path)
        }
        _ => Cgroup::plan_lean(&server.cgroups, &path),
    };
    let planned = planned.map_err(cgroup_error)?;
    let warm_start = match &wasm {
        Some(wasm) => WarmStart::new(server, &plan, &creation, wasm)?,
        None => None,
    };
    let warm = warm_start.as_ref().map(|start| start.directories(server)).transpose()?.unwrap_or_default();
    let cgroup = make_cgroup(server, &creation, planned, Record { warm, ..Record::default() }, &plan.limits)?;
    let unfinished = Unfinished { cgroup: &cgroup, bundle: &creation.bundle };

    let terminal = creation.stdio.terminal;
    let launch = match &wasm {
        None => pause::launch(&plan, guest_ends, join),
        Some(wasm) => wasm.launch(&plan, guest_ends, join, terminal, warm_start),
    };
    let launched = launch.run(server, &cgroup, Some(&plan.limits))?.take()?;
    // Nothing can fail from here on.
    std::mem::forget(unfinished);
    let about = About {
        sandbox: plan.kubernetes.sandbox_id.clone(),
        module: wasm.as_ref().map(|wasm| wasm.loaded(launched.template.as_ref())),
    };
    let (kind, name) = match wasm {
        None => (Kind::Sandbox, format!("sandbox {:?}", creation.id)),
        Some(_) => (Kind::Wasm, format!("container {:?}", creation.id)),
    };
    Ok(Container {
        kind,
        about,
        init: Arc::new(Process::new(name, launched, creation.stdio, kept)),
        id: creation.id,
        bundle: creation.bundle,
        cgroup,
        stack_size: plan.wasm_stack_size,
        max_memory_pages: plan.max_memory_pages.into(),
        native: None,
        sockets: plan.sockets,
        aot: plan.aot,
        execs: Default::default(),
        busy: Default::default(),
        kills: Default::default(),
    })
}

fn config_json(creation: &Creation) -> Result<Vec<u8>> {
    let path = creation.bundle.join("config.json");
    fs::read(&path).map_err(|e| Error::io(format!("read {}", path.display()), &e))
}

/// The server's settings, or those of a container that comes with options.
fn config<'s>(server: &'s Server, creation: &Creation) -> Result<Cow<'s, Config>> {
    let Some(text) = runtime_options::text(&creation.options)? else {
        return Ok(Cow::Borrowed(&server.config));
    };
    let own = Config::load(Path::new(crate::config::PATH), Some(&text));
    own.map(Cow::Owned).map_err(|e| Error::Invalid(e.to_string()))
}

fn open_namespaces(plan: &Plan) -> Result<Vec<(NamespaceKind, OwnedFd)>> {
    let open = |(kind, path): &(NamespaceKind, PathBuf)| {
        let file = fs::File::open(path);
        file.map(|file| (*kind, file.into()))
            .map_err(|e| Error::io(format!("open the namespace {} (is its pod gone?)", path.display()), &e))
    };
    plan.namespaces.join.iter().map(open).collect()
}

/// The spec's cgroup path, or one that names the container.
///
/// # Errors
/// [`Error::Invalid`].
pub fn cgroup_path(server: &Server, creation: &Creation, path: Option<&str>) -> Result<cgroup::Path> {
    let usual = || format!("/{}/{}", server.namespace, creation.id);
    cgroup::Path::parse(&path.map_or_else(usual, str::to_owned)).map_err(cgroup_error)
}

/// Makes the cgroup. It is recorded first, with what else is to be undone: a server that is killed at any moment leaves
/// nothing that the record does not name.
///
/// # Errors
/// In words; neither cgroup nor record is left.
pub fn make_cgroup(
    server: &Server,
    creation: &Creation,
    planned: cgroup::Planned,
    more: Record,
    limits: &cgroup::Limits,
) -> Result<Cgroup> {
    let record = Record {
        server: server.place.directory().to_owned(),
        cgroup: planned.directories().map(Path::to_owned).collect(),
        ..more
    };
    record.write(&creation.bundle).map_err(|e| {
        Error::io(format!("write the container's record into {}", creation.bundle.display()), &e)
    })?;
    planned.make(limits).map_err(|e| {
        Record::remove(&creation.bundle);
        cgroup_error(e)
    })
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
        Record::remove(self.bundle);
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
