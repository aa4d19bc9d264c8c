//! What Create and Exec have in common: a fork of the zygote, and the wait until the process is ready.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::aot::Tier;

use cgroup::{Cgroup, Entry, Limits};
use image::Module;
use jail::{Confinement, NamespaceKind};
use zygote::{ForkDescriptors, ForkRequest, Forked, Guest, MemoryCap, Template, Zygote};

use super::build_template::build;
use super::file_system::FileSystem;
use super::templates::{InUse, Key};
use super::warm_start::WarmStart;
use crate::aot::Code;
use crate::config::AotMode;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::server::Server;
use crate::stdio::GuestEnds;

/// How long a module may take to be loaded. The largest known take seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process to be made. What it owns is for that process alone: the server's copies close once it is forked,
/// so that ends of file come when they should.
pub struct Launch<'a> {
    pub confinement: Confinement<'a>,
    pub guest: Guest<'a>,
    /// A namespace holder has none.
    pub module: Option<&'a Module>,
    /// Whether it runs compiled.
    pub aot: AotMode,
    pub guest_ends: GuestEnds,
    /// What is attached in a new mount namespace; `None` in that of a container.
    pub file_system: Option<&'a FileSystem>,
    pub join: Vec<(NamespaceKind, OwnedFd)>,
    /// How its guest is to be started warm, if it is.
    pub warm_start: Option<WarmStart<'a>>,
}

/// A process that stands before its guest's first instruction. Killed and reaped when dropped, unless taken.
pub struct Launched(Option<Parts>);

/// What the server keeps of such a process.
#[derive(Debug)]
pub struct Parts {
    /// The process, and the line to it.
    pub forked: Forked,
    /// Where its guest's memory cap can be moved.
    pub memory_cap: Option<MemoryCap>,
    /// What it maps.
    pub template: Option<InUse>,
}

impl Launch<'_> {
    /// Forks into `cgroup` and waits until it is ready to start. `limits` are those of the cgroup, given with its
    /// first process: systemd, if it has a say, is told of both meanwhile.
    ///
    /// # Errors
    /// In words; no process is left.
    pub fn run(self, server: &Server, cgroup: &Cgroup, limits: Option<&Limits>) -> Result<Launched> {
        let (forked, template) = self.fork(server, cgroup)?;
        let path = self.module.map(|module| module.path.clone());
        drop(self);
        let mut launched = Launched(Some(Parts { forked, memory_cap: None, template }));
        let Some(Parts { forked, memory_cap, template }) = &mut launched.0 else { return Ok(launched) };
        let adopted = limits.map_or(Ok(()), |limits| cgroup.adopt(forked.pid, limits));
        let memory_limit = limits.and_then(|limits| limits.memory.limit);
        let ready = forked
            .gate
            .wait_ready(PATIENCE)
            .map_err(|e| not_ready(e, path.as_deref(), cgroup, memory_limit))?;
        // The process's own reason, if it has one, comes first.
        adopted.map_err(cgroup_error)?;
        for warning in ready.warnings {
            log::warn!("{warning}");
        }
        *memory_cap = ready.memory_cap;
        if let Some(template) = template {
            template.proven();
        }
        Ok(launched)
    }

    /// From the module's template if there can be one.
    fn fork(&self, server: &Server, cgroup: &Cgroup) -> Result<(Forked, Option<InUse>)> {
        let mut request = ForkRequest { confinement: self.confinement.clone(), guest: self.guest.clone() };
        let entry = cgroup.entry().map_err(cgroup_error)?;
        let (cgroup_procs, cgroup_v2) = entry_descriptors(&entry);
        let descriptors = ForkDescriptors {
            root: self.file_system.map(FileSystem::root),
            mounts: self.file_system.map(FileSystem::mounts).unwrap_or_default(),
            join: self.join.iter().map(|(kind, fd)| (*kind, fd.as_fd())).collect(),
            cgroup_procs,
            cgroup_v2,
            ..ForkDescriptors::new(self.guest_ends.borrow())
        };
        let failed = |error: zygote::Error| match &error {
            zygote::Error::Fork(cause) => Error::io("fork a container process", cause),
            _ => Error::Internal(error.to_string()),
        };
        if let Some(template) = self.template(server) {
            set_form(&mut request.guest, template.tier().is_some(), template.is_warm());
            let (image, code) = (Some(template.image()), template.code());
            let with_image = ForkDescriptors { image, code, ..descriptors.clone() };
            let forked = template.fork(&request, &with_image);
            drop(with_image);
            match forked {
                // Its zygote died. The present one is asked below, or started.
                Err(zygote::Error::Gone(_)) => {}
                forked => return Ok((forked.map_err(failed)?, Some(template))),
            }
        }
        set_form(&mut request.guest, false, false);
        let contents = self.module.map(Module::contents).transpose();
        let contents = contents.map_err(|e| Error::of(e, Error::Invalid))?;
        let with_module = ForkDescriptors { module: contents.as_ref().map(AsFd::as_fd), ..descriptors };
        Ok((server.zygote.fork(&request, &with_module).map_err(failed)?, None))
    }

    /// Of the guest at its ready point if it is to be started warm and that can be, else of the module.
    fn template(&self, server: &Server) -> Option<InUse> {
        let (Guest::Wasm(wasm), Some(module)) = (&self.guest, self.module) else { return None };
        let code = server.aot.code(&server.config, self.aot, module);
        let best = code.as_ref().map(|code| code.tier);
        let key = Key { module: module.digest, tier: best, stack_size: wasm.stack_size, warm: None };
        let Some(warm_start) = &self.warm_start else {
            return self.cold_template(server, key, module, code).map(|(_, cold)| cold);
        };
        let made = warm_start.made(server, key, &self.confinement, wasm);
        made.or_else(|| {
            let (key, cold) = self.cold_template(server, key, module, code)?;
            let warm = warm_start.template(server, (key, &cold), &module.path, &self.confinement, wasm);
            warm.or(Some(cold))
        })
    }

    /// Of the best code there is that makes one, `code` or what is below it, else of the module.
    fn cold_template(
        &self,
        server: &Server,
        key: Key,
        module: &Module,
        mut code: Option<Code>,
    ) -> Option<(Key, InUse)> {
        let (templates, stack_size) = (&server.templates, key.stack_size);
        let get = |tier: Option<Tier>, contents: &dyn Fn() -> std::result::Result<File, String>| {
            let key = Key { tier, ..key };
            let most_bytes = server.config.templates_memory;
            let asked = Template { stack_size, compiled: tier.is_some() };
            let make =
                |zygote: &Arc<Zygote>, image: &File| build(zygote, &contents()?, image, asked, most_bytes);
            templates.get(server, key, &module.path, None, make).map(|template| (key, template))
        };
        while let Some(Code { file, tier }) = code {
            let made = get(Some(tier), &|| file.try_clone().map_err(|e| e.to_string()));
            if made.is_some() {
                return made;
            }
            code = server.aot.code_below(module, tier);
        }
        get(None, &|| module.contents().map_err(|e| e.to_string()))
    }
}

/// A way into a cgroup as [`ForkDescriptors`] have it: files of v1, the directory of v2.
pub fn entry_descriptors(entry: &Entry) -> (Vec<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
    match entry {
        Entry::Procs(files) => (files.iter().map(AsFd::as_fd).collect(), None),
        Entry::Directory(directory) => (Vec::new(), Some(directory.as_fd())),
    }
}

/// What of its image a guest is to use: compiled code, and where it stands.
pub fn set_form(guest: &mut Guest<'_>, compiled: bool, warm: bool) {
    if let Guest::Wasm(wasm) | Guest::Ready(wasm) = guest {
        (wasm.compiled, wasm.warm) = (compiled, warm);
    }
}

impl Launched {
    /// Hands the process over.
    ///
    /// # Errors
    /// Never in practice: it is there until it is taken.
    pub fn take(mut self) -> Result<Parts> {
        self.0.take().ok_or_else(|| Error::Internal("a process was lost while it was made".to_owned()))
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(Parts { forked, .. }) = &self.0 {
            Exit::force(forked.pidfd.as_fd());
        }
    }
}

/// What the cgroup crate says, as a fault of the spec or of the host.
pub fn cgroup_error(error: cgroup::Error) -> Error {
    match error {
        cgroup::Error::AlreadyInUse { .. } => Error::Exists(error.to_string()),
        gone if gone.is_gone() => Error::State(gone.to_string()),
        cgroup::Error::Io { .. }
        | cgroup::Error::Survived { .. }
        | cgroup::Error::Busy { .. }
        | cgroup::Error::Unit { .. } => Error::of(error, Error::Internal),
        _ => Error::of(error, Error::Invalid),
    }
}

/// The same for what is done to a cgroup that was there: one that somebody else removed is no fault of ours, and its
/// container can still be killed and deleted.
pub fn cgroup_failed(doing: std::fmt::Arguments<'_>, error: &cgroup::Error) -> Error {
    let text = format!("{doing}: {error}");
    if error.is_gone() { Error::State(text) } else { Error::Internal(text) }
}

/// Why the process did not get ready. One that the kernel killed for its memory limit could not say so.
fn not_ready(
    error: zygote::Error,
    module: Option<&Path>,
    cgroup: &Cgroup,
    memory_limit: Option<i64>,
) -> Error {
    match (error, module, memory_limit) {
        (zygote::Error::Container(why), Some(path), _) => Error::Invalid(format!("{path:?}: {why}")),
        (zygote::Error::Container(why), None, _) => Error::Invalid(why),
        (zygote::Error::NotReady(_), Some(path), Some(limit)) if cgroup.oom_kills() > 0 => {
            Error::Invalid(format!(
                "{path:?}: loading the module takes more than the memory limit of {limit} bytes: raise the limit"
            ))
        }
        (other, ..) => Error::Internal(other.to_string()),
    }
}
