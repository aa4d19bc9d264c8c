//! Containers made by another OCI runtime, the helper's half: it has the runtime make the container, becomes the parent of
//! what the runtime leaves running, and ends as that did.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, set_child_subreaper, wait};

use crate::answer::Answer;
use crate::inherited::Inherited;
use crate::request::RunRequest;
use crate::runtime;
use crate::terminal::{CONSOLE, ConsoleSocket};

const PID_FILE: &str = "init.pid";

/// Makes the container, says so on `socket`, and starts it when that is asked for there. Returns the exit status of its
/// first process: 128 + n when signal n ended it.
pub(crate) fn run(request: &RunRequest, inherited: Inherited, socket: &OwnedFd) -> Result<i32, String> {
    // Before there is anything that could be orphaned.
    set_child_subreaper(Some(getpid())).map_err(|e| format!("become a subreaper: {e}"))?;
    let say = |answer: Answer, fd: Option<&OwnedFd>| {
        answer.send(socket.as_fd(), fd.map(AsFd::as_fd)).map_err(|e| format!("answer the server: {e}"))
    };
    let console = request.terminal.then(|| ConsoleSocket::bind(&request.directory)).transpose()?;
    let init = create(request, inherited.stdio, console.as_ref())?;
    // Our own child, so the number is its own until it is reaped here.
    let pidfd = pidfd_open(init, PidfdFlags::empty()).map_err(|e| format!("watch the container: {e}"))?;
    let terminal = console.map(ConsoleSocket::receive).transpose()?;
    say(Answer::Forked(init.as_raw_nonzero().get()), Some(&pidfd))?;
    say(Answer::Ready(Vec::new()), terminal.as_ref())?;
    drop(terminal);

    if is_to_start(socket, &pidfd) {
        let started = runtime_command(request, "start", &[&request.id]);
        // The server may be gone, and the container goes on.
        let _ =
            say(started.map_or_else(|why| Answer::failed(&why, None), |()| Answer::Ready(Vec::new())), None);
    }
    drop(pidfd);
    loop {
        let ended = rustix::io::retry_on_intr(|| wait(WaitOptions::empty()));
        let ended = ended.map_err(|e| format!("wait for the container: {e}"))?;
        // Others are orphans of a container in the host's pid namespace.
        if let Some((pid, status)) = ended
            && pid == init
        {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            return Ok(signal.or(status.exit_status()).unwrap_or_default());
        }
    }
}

/// Has the runtime make it. What it left is removed if that fails.
fn create(
    request: &RunRequest,
    stdio: Option<[OwnedFd; 3]>,
    console: Option<&ConsoleSocket>,
) -> Result<Pid, String> {
    let directory = &request.directory;
    let pid_file = directory.join(PID_FILE);
    let mut command = runtime::command(&request.runtime, directory);
    command.arg("create").arg("--bundle").arg(directory).arg("--pid-file").arg(&pid_file);
    if console.is_some() {
        // A socket's address holds 107 bytes, and bundles have longer paths.
        command.current_dir(directory).arg("--console-socket").arg(CONSOLE);
    }
    command.arg(&request.id).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some([stdin, stdout, stderr]) = stdio {
        command.stdin(stdin).stdout(stdout).stderr(stderr);
    }
    // The streams close with it here, so that they end with the container.
    let pid = outcome(command, request, "create").and_then(|()| {
        let pid = fs::read_to_string(&pid_file).ok().and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        pid.ok_or_else(|| runtime::reason(directory, &request.runtime, "create"))
    });
    pid.inspect_err(|_| {
        let _ = runtime_command(request, "delete", &["--force", &request.id]);
    })
}

fn runtime_command(request: &RunRequest, name: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = runtime::command(&request.runtime, &request.directory);
    command.arg(name).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    outcome(command, request, name)
}

fn outcome(mut command: Command, request: &RunRequest, name: &str) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(runtime::reason(&request.directory, &request.runtime, name)),
        Err(e) => Err(format!("start {}: {e}", request.runtime.display())),
    }
}

/// Waits until the server asks to start the container, or until that has ended or nobody is left who could ask.
fn is_to_start(socket: &OwnedFd, init: &OwnedFd) -> bool {
    loop {
        let mut watched = [PollFd::new(socket, PollFlags::IN), PollFd::new(init, PollFlags::IN)];
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => {}
        }
        let [line, ended] = watched;
        if line.revents().is_empty() {
            if ended.revents().is_empty() {
                continue;
            }
            return false;
        }
        let mut byte = [0];
        return recv(socket, &mut byte, RecvFlags::empty()).is_ok_and(|(_, length)| length == 1);
    }
}
