//! Native programs that join a container, of either kind.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use cgroup::{Cgroup, Entry};
use native::{Confinement, ExecRequest};
use rustix::fs::{Mode, OFlags};

use super::{CONFIG, DIRECTORY, Native, Waiting, failed, program};
use crate::container::launch::cgroup_error;
use crate::container::{Container, Process};
use crate::error::{Error, Result};
use crate::server::Server;
use crate::spec::{Maker, NativeProcess};
use crate::stdio;

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
    let maker = container.native.as_ref().map_or(Maker::BuiltIn, Native::maker);
    let process = NativeProcess::from_json(process_json, maker).map_err(|e| Error::Invalid(e.to_string()))?;
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
