//! The wasm half of Create: the file system, the module in it, and what the guest gets.

use std::os::fd::OwnedFd;

use image::Module;
use jail::{Confinement, NamespaceKind};
use zygote::{Entry, Guest, Preopen, Wasm};

use super::about::Loaded;
use super::create::Creation;
use super::file_system::FileSystem;
use super::launch::Launch;
use super::templates::InUse;
use super::warm_start::WarmStart;
use crate::error::{Error, Result};
use crate::server::Server;
use crate::spec::{self, Plan, Process};
use crate::stdio::GuestEnds;

/// What a wasm container is made of, mounted and found but not yet running.
#[derive(Debug)]
pub struct WasmContents {
    file_system: FileSystem,
    module: Module,
    preopens: Vec<(String, String)>,
}

impl WasmContents {
    /// Mounts the file system and finds the module in it. `None` if what the container's arguments name is a native
    /// program.
    ///
    /// # Errors
    /// In words for the user.
    pub fn open(server: &Server, plan: &Plan, creation: &Creation) -> Result<Option<WasmContents>> {
        let file_system = FileSystem::new(server, plan, creation)?;
        let found = file_system.find(plan)?;
        if found.is_native() {
            return Ok(None);
        }
        let module = server.modules.identify(found).map_err(|e| Error::of(e, Error::Invalid))?;
        let preopens = spec::preopens(plan, &file_system.top_level_directories()?);
        Ok(Some(WasmContents { file_system, module, preopens }))
    }

    /// Its file system.
    pub fn file_system(&self) -> &FileSystem {
        &self.file_system
    }

    /// What is told of it.
    pub fn loaded(&self, template: Option<&InUse>) -> Loaded {
        Loaded::new(&self.module, template)
    }

    /// The process that runs it.
    pub fn launch<'a>(
        &'a self,
        plan: &'a Plan,
        guest_ends: GuestEnds,
        join: Vec<(NamespaceKind, OwnedFd)>,
        terminal: bool,
        warm_start: Option<WarmStart<'a>>,
    ) -> Launch<'a> {
        let export = self.module.export.as_deref();
        Launch {
            confinement: Confinement {
                root_readonly: plan.root.readonly,
                mounts: self.file_system.attachments(),
                terminal,
                listen: plan.listen.clone(),
                ..plan.confinement()
            },
            guest: guest(
                &plan.process,
                &self.preopens,
                export,
                plan.wasm_stack_size,
                plan.max_memory_pages,
                &plan.sockets,
            ),
            module: Some(&self.module),
            aot: plan.aot,
            guest_ends,
            file_system: Some(&self.file_system),
            join,
            warm_start,
        }
    }
}

/// One run of a module. `preopens` are (name the guest sees, path in the container); `export` is where to enter
/// instead of `_start`; the stack is in bytes, the cap on linear memory in pages of 64 KiB; all of the policies hold.
pub fn guest<'a>(
    process: &'a Process,
    preopens: &'a [(String, String)],
    export: Option<&'a str>,
    stack_size: u32,
    max_memory_pages: Option<u32>,
    sockets: &[network::Policy],
) -> Guest<'a> {
    Guest::Wasm(Wasm {
        args: process.args.iter().map(String::as_str).collect(),
        env: process.env.iter().map(String::as_str).collect(),
        preopens: preopens.iter().map(|(guest, host)| Preopen { guest, host, read_only: false }).collect(),
        entry: export.map_or(Entry::Start, Entry::Export),
        stack_size,
        max_memory_pages,
        sockets: sockets.to_vec(),
        // Whoever chooses its image knows.
        compiled: false,
        warm: false,
    })
}
