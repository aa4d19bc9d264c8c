//! Exec: a second module, or another export of the same one, beside a container's first process: in its
//! namespaces, its file system, its cgroup, with streams and an end of its own.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};

use super::launch::Launch;
use super::{Container, Kind, Process, wasm};
use crate::error::{Error, Result};
use crate::server::Server;
use crate::spec::{self, Plan};
use crate::stdio;
use image::{Entrypoint, Tree};
use jail::NamespaceKind;

/// What an exec shares with its container, by the names of `/proc/<pid>/ns`.
const SHARED: [(NamespaceKind, &str); 6] = [
    (NamespaceKind::Mount, "mnt"),
    (NamespaceKind::Pid, "pid"),
    (NamespaceKind::Network, "net"),
    (NamespaceKind::Ipc, "ipc"),
    (NamespaceKind::Uts, "uts"),
    (NamespaceKind::Cgroup, "cgroup"),
];

/// Makes the process. It is not started. Blocks.
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
    if container.kind == Kind::Sandbox {
        return Err(Error::Invalid(format!(
            "{} only holds the pod's namespaces: run the program in one of the pod's containers",
            container.init.name
        )));
    }
    if container.kind == Kind::Native {
        return super::native::exec(server, container, exec_id, process_json, request);
    }
    let process = spec::Process::from_json(process_json).map_err(|e| Error::Invalid(e.to_string()))?;
    let (root, join) = inside(container)?;
    let failed = |e: image::Error| Error::of(e, Error::Invalid);
    // The root is seen as the container sees it, mounts included; links are walked here all the same.
    let tree = Tree::new(root.as_fd(), None, &[]).map_err(failed)?;
    let path = process.env.iter().find_map(|variable| variable.strip_prefix("PATH="));
    let args0 = process.args.first().map(String::as_str).unwrap_or_default();
    let found = Entrypoint::parse(args0, &process.cwd, path).and_then(|entrypoint| entrypoint.find(&tree));
    let found = found.map_err(failed)?;
    if found.is_native() {
        return super::native::exec(server, container, exec_id, process_json, request);
    }
    let module = server.modules.identify(found).map_err(failed)?;
    let top_level = tree.top_level_directories().map_err(failed)?;
    let plan = Plan { process, ..Plan::default() };
    let preopens = spec::preopens(&plan, &top_level);
    let (guest_ends, kept) =
        stdio::open(&request, plan.process.console_size, &container.id, &server.namespace)?;

    let launch = Launch {
        confinement: jail::Confinement { terminal: request.terminal, ..plan.process.confinement() },
        guest: wasm::guest(
            &plan.process,
            &preopens,
            module.export.as_deref(),
            container.stack_size,
            *container.max_memory_pages.lock().unwrap_or_else(PoisonError::into_inner),
            &container.sockets,
        ),
        module: Some(&module),
        aot: container.aot,
        guest_ends,
        file_system: None,
        join,
        warm_start: None,
    };
    let launched = launch.run(server, &container.cgroup, None)?.take()?;
    let name = format!("exec {exec_id:?} of container {:?}", container.id);
    Ok(Arc::new(Process::new(name, launched, request, kept)))
}

/// The root directory and the namespaces of a container's first process, which must be alive.
fn inside(container: &Container) -> Result<(OwnedFd, Vec<(NamespaceKind, OwnedFd)>)> {
    let pid = container.init.pid;
    let gone = || Error::State(format!("{} has ended: nothing can be run in it", container.init.name));
    let open = |path: &str| {
        let path = format!("/proc/{pid}/{path}");
        File::open(&path).map(OwnedFd::from).map_err(|e| match Error::io(format!("open {path}"), &e) {
            shortage @ Error::Exhausted(_) => shortage,
            _ => gone(),
        })
    };
    let root = open("root")?;
    let shared = SHARED.iter().map(|(kind, name)| Ok((*kind, open(&format!("ns/{name}"))?)));
    let shared = shared.collect::<Result<Vec<_>>>()?;
    // Had it ended meanwhile, the number could be another process's by now.
    if zygote::is_over(container.init.pidfd()) {
        return Err(gone());
    }
    Ok((root, shared))
}
