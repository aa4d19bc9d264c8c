//! Hooks, and what is left of a native container when it ends or could not be made.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use cgroup::Cgroup;
use native::{HookKind, HooksRequest, Spawn};

use super::{DIRECTORY, failed, program};
use crate::container::Container;
use crate::error::Result;
use crate::record::Record;
use crate::server::Server;

/// Runs hooks after Start. One that fails is logged: the container runs already. Blocks.
pub fn started(server: &Server, container: &Container) {
    run_hooks(server, container, HookKind::PostStart);
}

/// Ends the last process and runs hooks after that; a runtime forgets the container. Blocks.
///
/// # Errors
/// When something survives.
pub fn stopped(server: &Server, container: &Container) -> Result<()> {
    let Some(native) = &container.native else { return Ok(()) };
    if native.poststop || native.runtime.is_some() {
        container.kill_rest()?;
    }
    if native.poststop {
        run_hooks(server, container, HookKind::PostStop);
    }
    discard(&container.bundle, &|command| server.zygote.start_program(command));
    Ok(())
}

/// Has the runtime that made a container forget it. One that fails is logged: the rest is removed by ourselves.
pub fn discard(bundle: &Path, spawn: Spawn<'_>) {
    let Ok(Some(Record { runtime: Some((runtime, id)), .. })) = Record::read(bundle) else { return };
    if let Err(e) = native::discard(spawn, &runtime, &bundle.join(DIRECTORY), &id) {
        log::error!("container {id:?}: {e}");
    }
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

pub fn remove_directory(bundle: &Path) {
    let directory = bundle.join(DIRECTORY);
    match fs::remove_dir_all(&directory) {
        Err(e) if e.kind() != ErrorKind::NotFound => log::warn!("remove {}: {e}", directory.display()),
        _ => {}
    }
}

/// A container that is being made: what is left of it is removed when dropped.
pub struct Unfinished<'a> {
    pub server: &'a Server,
    pub cgroup: &'a Cgroup,
    pub bundle: &'a Path,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let emptied = self.cgroup.kill();
        discard(self.bundle, &|command| self.server.zygote.start_program(command));
        if let Err(e) = emptied.and_then(|()| self.cgroup.remove()) {
            log::error!("remove the cgroup of a container that could not be made: {e}");
        }
        remove(self.bundle);
        Record::remove(self.bundle);
    }
}
