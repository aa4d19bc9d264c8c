//! Exec, the helper's half: into a container's cgroup and namespaces, then the process's own user, powers and filter.
//!
//! Not libcontainer's `as_tenant`: that knows no seccomp profile, and a wrapper around its program could install one only
//! where `no_new_privs` is set, because capabilities are gone by then.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use oci_spec::runtime::LinuxSeccomp;
use rustix::process::setsid;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::answer::Answer;
use crate::credentials::{self, Powers};
use crate::inherited::Inherited;
use crate::request::{Confinement, ExecRequest};
use crate::{executable, profile, stage, terminal};

/// Exit status of a process that could not run its program.
const NOT_RUN: i32 = 255;

/// Joins, forks and says so on `socket`.
pub(crate) fn exec(request: &ExecRequest, inherited: Inherited, socket: &OwnedFd) -> Result<(), String> {
    let filter = profile::for_exec(request)?;
    let proc_dir = File::open("/proc").map_err(|e| format!("open /proc: {e}"))?;
    for procs in inherited.cgroups {
        File::from(procs).write_all(b"0").map_err(|e| format!("enter the container's cgroup: {e}"))?;
    }
    let init = inherited.init.ok_or("the container's process did not come with the request")?;
    let gate = inherited.gate.ok_or("no gate came with the request")?;
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(init.as_fd(), namespaces)
        .map_err(|e| format!("join the container's namespaces: {e} (has it ended?)"))?;
    drop(init);
    // SAFETY: this process has a single thread.
    let forked = unsafe { jail::fork_sibling(0, None, None) }.map_err(|e| format!("fork: {e}"))?;
    match forked {
        jail::Side::Parent(pid, _) => {
            Answer::Forked(pid).send(socket.as_fd(), None).map_err(|e| format!("answer the server: {e}"))
        }
        jail::Side::Child => {
            let Err(why) = become_process(request, filter.as_ref(), inherited.stdio, gate, &proc_dir, socket);
            // The server may be gone: then nobody wants to know.
            let _ = Answer::failed(&why, None).send(socket.as_fd(), None);
            exit()
        }
    }
}

/// In the forked process, which is inside the container. Never returns without an error.
fn become_process(
    request: &ExecRequest,
    filter: Option<&LinuxSeccomp>,
    stdio: Option<[OwnedFd; 3]>,
    gate: OwnedFd,
    proc_dir: &File,
    socket: &OwnedFd,
) -> Result<Infallible, String> {
    let process = &request.process;
    setsid().map_err(|e| format!("start a session: {e}"))?;
    let server_end = take_streams(stdio, process.user().uid())?;

    let mut warnings = Vec::new();
    let adj = process.oom_score_adj().unwrap_or(request.oom_score_adj);
    jail::set_oom_score_adj(proc_dir.as_fd(), adj, &mut warnings).map_err(|e| e.to_string())?;
    jail::set_rlimits(&credentials::rlimits(process), &mut warnings).map_err(|e| e.to_string())?;
    if let Some(name) =
        process.apparmor_profile().as_deref().filter(|name| !matches!(*name, "" | "unconfined"))
    {
        jail::set_apparmor_on_exec(proc_dir.as_fd(), name).map_err(|e| e.to_string())?;
    }
    if let Some(label) = process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
        jail::set_selinux_on_exec(proc_dir.as_fd(), label).map_err(|e| e.to_string())?;
    }
    let powers = match request.confinement {
        Confinement::Wasm => Powers::none(),
        Confinement::Process => Powers::of(process),
    };
    let cwd = process.cwd();
    let entered = std::env::set_current_dir(cwd);
    credentials::drop_bounding(&powers)?;
    if powers.no_new_privs {
        credentials::no_new_privs()?;
    } else if let Some(filter) = filter {
        // Takes CAP_SYS_ADMIN, which may be gone later.
        profile::install(filter)?;
    }
    credentials::become_user(process.user(), &powers)?;
    if entered.is_err() {
        std::env::set_current_dir(cwd)
            .map_err(|e| format!("change to the working directory {cwd:?}: {e}"))?;
    }
    let mut env = process.env().clone().unwrap_or_default();
    executable::add_home(&mut env, process.user().uid());
    let args = process.args().clone().unwrap_or_default();
    let args0 = args.first().ok_or("process.args is empty: name the program to run")?;
    let program = executable::find(args0, executable::variable(&env, "PATH"))?;
    if powers.no_new_privs
        && let Some(filter) = filter
    {
        profile::install(filter)?;
    }

    let ready = Answer::Ready(warnings);
    ready
        .send(socket.as_fd(), server_end.as_ref().map(AsFd::as_fd))
        .map_err(|e| format!("answer the server: {e}"))?;
    drop(server_end);
    let mut byte = [0];
    if File::from(gate).read_exact(&mut byte).is_err() {
        exit();
    }
    let why = executable::execute(&program, &args, &env);
    // The server has gone on; whoever reads the output wants to know.
    eprintln!("{why}");
    exit()
}

/// Takes the streams, or opens a terminal and returns the server's end of it.
fn take_streams(stdio: Option<[OwnedFd; 3]>, uid: u32) -> Result<Option<OwnedFd>, String> {
    let (streams, server_end) = match stdio {
        Some(streams) => (streams, None),
        None => {
            let (server_end, end) = terminal::open()?;
            terminal::control(&end)?;
            let copy = || end.try_clone().map_err(|e| format!("copy the terminal: {e}"));
            ([copy()?, copy()?, copy()?], Some(server_end))
        }
    };
    stage::give_streams(&streams.each_ref(), uid);
    for (target, stream) in (0..).zip(&streams) {
        // SAFETY: two descriptor numbers; 0 to 2 are owned by no value of this process.
        if unsafe { libc::dup2(stream.as_raw_fd(), target) } < 0 {
            return Err(format!("set descriptor {target}: {}", std::io::Error::last_os_error()));
        }
    }
    Ok(server_end)
}

/// Without running what the helper registered to run at its own end.
fn exit() -> ! {
    // SAFETY: always safe; never returns.
    unsafe { libc::_exit(NOT_RUN) }
}
