//! Containers made by another OCI runtime, the server's half.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::answer::Answer;
use crate::helper::Helper;
use crate::inherited::Lent;
use crate::request::{Request, RunRequest};
use crate::{Error, Gate, Made, Program, Result, Spawn};

/// Hooks of the spec may take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes a container's first process, which waits to be started. Blocks.
///
/// # Errors
/// With the runtime's reason. What it left is for [`discard`].
pub fn run(
    spawn: Spawn<'_>,
    program: &Program,
    request: RunRequest,
    stdio: Option<[BorrowedFd<'_>; 3]>,
) -> Result<Made> {
    let lent = Lent { stdio, ..Lent::default() };
    let helper = Helper::start(spawn, program, Request::Run(request), &lent)?;
    let (pid, pidfd) = match helper.hear(None, PATIENCE)? {
        (Answer::Forked(pid), Some(pidfd)) => (pid, pidfd),
        (Answer::Failed(why, _), _) => return Err(Error::Refused(why)),
        _ => return Err(Error::Silent("the helper named no process".to_owned())),
    };
    let (warnings, terminal) = helper.hear_ready(PATIENCE)?;
    let (line, monitor) = helper.leave().map_err(Error::helper("keep the line to the monitor"))?;
    Ok(Made { pid, pidfd, gate: Gate::Monitor(line), terminal, warnings, monitor: Some(monitor) })
}

/// Has the runtime forget a container, if it knows one: its state, its cgroups, its hooks after the end. Kills what is
/// left. Blocks. `directory` is [`RunRequest::directory`].
///
/// # Errors
/// With the runtime's reason.
pub fn discard(spawn: Spawn<'_>, runtime: &Path, directory: &Path, id: &str) -> Result<()> {
    if !state(directory).join(id).exists() {
        return Ok(());
    }
    let mut command = command(runtime, directory);
    command.args(["delete", "--force", id]);
    let mut child = spawn(command).map_err(Error::helper("start the native runtime"))?;
    let over = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).is_ok_and(|pidfd| {
        let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut watched, Some(&timeout))).is_ok_and(|ready| ready > 0)
    });
    if !over {
        let _ = child.kill();
    }
    let status = child.wait().map_err(Error::helper("wait for the native runtime"))?;
    if status.success() { Ok(()) } else { Err(Error::Refused(reason(directory, runtime, "delete"))) }
}

/// Where it keeps what it knows.
fn state(directory: &Path) -> std::path::PathBuf {
    directory.join("state")
}

/// The runtime with the options that all its commands share.
pub(crate) fn command(runtime: &Path, directory: &Path) -> Command {
    let mut command = Command::new(runtime);
    command.env_clear().current_dir("/");
    // It looks for its own helpers, and hooks for theirs.
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .arg("--root")
        .arg(state(directory))
        .arg("--log")
        .arg(directory.join(LOG))
        .args(["--log-format", "json"]);
    command.stdin(std::process::Stdio::null());
    command
}

/// Its standard error may be the container's, so it says in a file why it failed.
const LOG: &str = "runtime.log";

/// What it said last.
pub(crate) fn reason(directory: &Path, runtime: &Path, doing: &str) -> String {
    let log = fs::read_to_string(directory.join(LOG)).unwrap_or_default();
    let said = log.lines().rev().find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(line.get("msg")?.as_str()?.to_owned())
    });
    let program = runtime.file_name().unwrap_or_default().to_string_lossy();
    format!("{program} {doing}: {}", said.unwrap_or_else(|| "failed without a word".to_owned()))
}
