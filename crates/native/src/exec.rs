//! Exec, the server's half.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::answer::Answer;
use crate::helper::{Helper, LeftOver};
use crate::inherited::Lent;
use crate::request::{ExecRequest, Request};
use crate::{Error, Gate, Made, Program, Result, Spawn};

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a process beside the first one of a container, `init`, in its namespaces. It waits to be started. Blocks.
///
/// `stdio` is `None` for a terminal. `cgroups` are the `cgroup.procs` files of the container.
///
/// # Errors
/// With the reason in words; no process is left.
pub fn exec(
    spawn: Spawn<'_>,
    program: &Program,
    request: ExecRequest,
    init: BorrowedFd<'_>,
    stdio: Option<[BorrowedFd<'_>; 3]>,
    cgroups: Vec<BorrowedFd<'_>>,
) -> Result<Made> {
    let (theirs, ours) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::helper("make a pipe"))?;
    let lent = Lent { stdio, init: Some(init), gate: Some(std::os::fd::AsFd::as_fd(&theirs)), cgroups };
    let helper = Helper::start(spawn, program, Request::Exec(Box::new(request)), &lent)?;
    drop(theirs);
    // The helper and the process it forked speak of themselves, in any order.
    let (mut process, mut number, mut ready) = (None, 0, None);
    while process.is_none() || ready.is_none() {
        let speaker = process.as_ref().and_then(LeftOver::pidfd);
        match helper.hear(speaker, PATIENCE)? {
            (Answer::Forked(pid), _) => {
                number = pid;
                process = LeftOver::child(pid);
                if process.is_none() {
                    return Err(Error::Silent("the process ended at once".to_owned()));
                }
            }
            (Answer::Ready(warnings), terminal) => ready = Some((warnings, terminal)),
            (Answer::Failed(why, left_over), _) => {
                drop(left_over.and_then(LeftOver::child));
                return Err(Error::Refused(why));
            }
        }
    }
    helper.finish();
    let (Some((warnings, terminal)), Some(pidfd)) = (ready, process.and_then(LeftOver::keep)) else {
        return Err(Error::Silent("the process ended at once".to_owned()));
    };
    Ok(Made { pid: number, pidfd, gate: Gate::Pipe(ours), terminal, warnings, monitor: None })
}
