//! Create, the server's half.

use std::fs;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::answer::Answer;
use crate::helper::{Helper, LeftOver};
use crate::inherited::Lent;
use crate::request::{CreateRequest, Request};
use crate::{Error, Gate, Made, Program, Result, Spawn};

/// Hooks of the spec may take their time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes a container's first process, which waits to be started. Blocks.
///
/// # Errors
/// With the reason in words; no process is left.
pub fn create(
    spawn: Spawn<'_>,
    program: &Program,
    request: CreateRequest,
    stdio: Option<[BorrowedFd<'_>; 3]>,
) -> Result<Made> {
    let (directory, state) = (request.directory.clone(), request.directory.join(&request.id));
    let lent = Lent { stdio, ..Lent::default() };
    let helper = Helper::start(spawn, program, Request::Create(request), &lent)?;
    match helper.hear(None, PATIENCE) {
        Ok((Answer::Forked(pid), _)) => {
            let process = LeftOver::child(pid);
            let (warnings, terminal) = helper.hear_ready(PATIENCE)?;
            helper.finish();
            let gate = Gate::of_container(&state).map_err(Error::helper("find the container's socket"))?;
            let pidfd = process.and_then(LeftOver::keep);
            let pidfd = pidfd.ok_or_else(|| Error::Silent("the container ended at once".to_owned()))?;
            Ok(Made { pid, pidfd, gate, terminal, warnings, monitor: None })
        }
        Ok((Answer::Failed(why, left_over), _)) => {
            drop(left_over.and_then(LeftOver::child));
            Err(Error::Refused(why))
        }
        Ok((Answer::Ready(_), _)) => Err(Error::Silent("the helper named no process".to_owned())),
        Err(e) => {
            // What it forked is known from libcontainer's file alone.
            drop(helper);
            let pid = fs::read_to_string(directory.join(crate::init::PID_FILE)).ok();
            drop(pid.and_then(|pid| LeftOver::child(pid.trim().parse().ok()?)));
            Err(e)
        }
    }
}
