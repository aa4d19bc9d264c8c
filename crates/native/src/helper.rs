//! The server's half: start a helper, hear what it and its process say, reap what is not the container.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};

use crate::answer::Answer;
use crate::inherited::{Lent, Letter};
use crate::request::Request;
use crate::{Error, Gate, Program, Result};

/// Starts a program on the server's main thread: the kernel tells a process of its parent's end when the *thread*
/// that started it ends, and containers may ask for that (`PR_SET_PDEATHSIG`).
pub type Spawn<'a> = &'a dyn Fn(Command) -> io::Result<Child>;

/// A process that waits to be started. A child of the caller.
#[derive(Debug)]
pub struct Made {
    /// Process id.
    pub pid: i32,
    /// Refers to that very process.
    pub pidfd: OwnedFd,
    /// Lets it run.
    pub gate: Gate,
    /// The other end of its terminal.
    pub terminal: Option<OwnedFd>,
    /// What the kernel would not grant and is no wall, in words.
    pub warnings: Vec<String>,
    /// If its parent is a process that ends as it did, and is a child of the caller in its place: this one.
    pub monitor: Option<OwnedFd>,
}

/// A running helper. Whatever is left of its process group is killed and reaped when this is dropped, unless it is left.
pub(crate) struct Helper {
    socket: OwnedFd,
    group: Pid,
    pidfd: OwnedFd,
    left: bool,
}

impl Helper {
    pub(crate) fn start(
        spawn: Spawn<'_>,
        program: &Program,
        request: Request,
        lent: &Lent<'_>,
    ) -> Result<Helper> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(Error::helper("make the line to the helper"))?;
        let mut command = Command::new(program.path());
        command.arg0("containerd-shim-wamr-v1").arg("native").env_clear().current_dir("/");
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        // With the forks of libcontainer that are not the container it makes a group of its own, to be reaped by.
        command.process_group(0);
        let letter = Letter { layout: lent.layout(), request };
        lent.map(
            &mut command,
            letter.into_file().map_err(Error::helper("write the request to the helper"))?,
        )?;
        let child = spawn(command).map_err(Error::helper("start the helper"))?;
        let group = Pid::from_child(&child);
        let pidfd = pidfd_open(group, PidfdFlags::empty()).map_err(Error::helper("watch the helper"))?;
        Ok(Helper { socket: ours, group, pidfd, left: false })
    }

    /// The next thing that is said. `speaker` is the process whose end means that nothing more will come.
    pub(crate) fn hear(
        &self,
        speaker: Option<BorrowedFd<'_>>,
        patience: Duration,
    ) -> Result<(Answer, Option<OwnedFd>)> {
        let deadline = Instant::now() + patience;
        let speaker = speaker.unwrap_or(self.pidfd.as_fd());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut watched =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&speaker, PollFlags::IN)];
            match poll(&mut watched, Some(&timeout)) {
                Ok(0) => return Err(Error::Silent(format!("no answer came within {patience:?}"))),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(e) => return Err(Error::helper("wait for the helper")(e)),
            }
            let [socket, _] = watched;
            if !socket.revents().is_empty() {
                let heard = Answer::receive(self.socket.as_fd()).map_err(Error::helper("hear the helper"))?;
                if let Some(heard) = heard {
                    return Ok(heard);
                }
            }
            // Said nothing before it ended.
            let why =
                "the process that was to make it ended without a word: was it killed for want of memory?";
            return Err(Error::Silent(why.to_owned()));
        }
    }

    /// The last thing that is said of a process that was forked: warnings, and its terminal.
    pub(crate) fn hear_ready(&self, patience: Duration) -> Result<(Vec<String>, Option<OwnedFd>)> {
        match self.hear(None, patience)? {
            (Answer::Ready(warnings), terminal) => Ok((warnings, terminal)),
            _ => Err(Error::Silent("the helper said something else than expected".to_owned())),
        }
    }

    /// Waits for the helper's own end, which is near.
    pub(crate) fn finish(mut self) {
        self.reap();
        self.left = true;
    }

    /// Lets it go on by itself: (the line to it, the process).
    pub(crate) fn leave(mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        let parts = (self.socket.try_clone()?, self.pidfd.try_clone()?);
        self.left = true;
        Ok(parts)
    }

    fn reap(&self) {
        // Ends with ECHILD.
        while rustix::io::retry_on_intr(|| waitid(WaitId::Pgid(Some(self.group)), WaitIdOptions::EXITED))
            .is_ok()
        {}
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        self.reap();
    }
}

impl Letter {
    fn into_file(self) -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create("native-request", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(&self)?)?;
        file.rewind()?;
        Ok(file.into())
    }
}

/// A process of our own that is killed and reaped when this is dropped, unless it is kept.
pub(crate) struct LeftOver(Option<OwnedFd>);

impl LeftOver {
    /// `None` if there is no such child.
    pub(crate) fn child(pid: i32) -> Option<LeftOver> {
        let pid = Pid::from_raw(pid)?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Nobody else's: a child's number is taken until it is reaped.
        waitid(WaitId::Pid(pid), look).ok()?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(|pidfd| LeftOver(Some(pidfd)))
    }

    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn keep(mut self) -> Option<OwnedFd> {
        self.0.take()
    }
}

impl Drop for LeftOver {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.0 {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED));
        }
    }
}
