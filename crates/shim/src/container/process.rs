//! One process of a container: its first one, or an exec.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use zygote::{Forked, MemoryCap};

use super::launch::Parts;
use super::phase::Phase;
use super::templates::InUse;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::stdio::{self, Kept};

/// What a process that is made waits on.
#[derive(Debug)]
pub enum Gate {
    /// Forked by the zygote.
    Forked(zygote::Gate),
    /// Made by a helper.
    Native(native::Gate),
}

impl Gate {
    fn open(self) -> std::io::Result<()> {
        match self {
            Gate::Forked(gate) => gate.open(),
            Gate::Native(gate) => gate.open(),
        }
    }
}

/// A forked process. Shared by the calls that concern it and by the task that waits for its end.
#[derive(Debug)]
pub struct Process {
    /// What error texts call it: `container "a"` or `exec "b" of container "a"`.
    pub name: String,
    /// Process id on the host.
    pub pid: i32,
    /// What containerd asked for its streams; told back by `State`.
    pub request: stdio::Request,
    /// What is kept open for its streams.
    pub stdio: Kept,
    pidfd: OwnedFd,
    /// Its parent, our child in its place, which ends as it does. `None`: it is our child itself.
    monitor: Option<OwnedFd>,
    memory_cap: Option<MemoryCap>,
    gate: Mutex<Option<Gate>>,
    template: Mutex<Option<InUse>>,
    phase: Mutex<Phase>,
    ended: watch::Sender<Option<Exit>>,
}

impl Process {
    /// A process that stands before its guest's first instruction.
    pub fn new(name: String, launched: Parts, request: stdio::Request, stdio: Kept) -> Process {
        let Parts { forked: Forked { pid, pidfd, gate }, memory_cap, template } = launched;
        let process = Process::made(name, (pid, pidfd), Gate::Forked(gate), request, stdio);
        Process { memory_cap, template: Mutex::new(template), ..process }
    }

    /// A native process that stands before its program.
    pub fn native(name: String, made: native::Made, request: stdio::Request, stdio: Kept) -> Process {
        let process = Process::made(name, (made.pid, made.pidfd), Gate::Native(made.gate), request, stdio);
        Process { monitor: made.monitor, ..process }
    }

    fn made(
        name: String,
        (pid, pidfd): (i32, OwnedFd),
        gate: Gate,
        request: stdio::Request,
        stdio: Kept,
    ) -> Process {
        Process {
            name,
            pid,
            request,
            stdio,
            pidfd,
            monitor: None,
            memory_cap: None,
            gate: Mutex::new(Some(gate)),
            template: Mutex::new(None),
            phase: Mutex::new(Phase::Created),
            ended: watch::Sender::new(None),
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        *self.lock()
    }

    /// Lets the guest run, and says so: `announce` happens before anybody can learn of the process's end.
    ///
    /// # Errors
    /// As [`Phase::start`]; also when the process died while it waited.
    pub fn start(&self, announce: impl FnOnce()) -> Result<()> {
        let mut phase = self.lock();
        let next = phase.start(&self.name)?;
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        gate.ok_or_else(|| Error::State(format!("{} was started already", self.name)))?
            .open()
            .map_err(|e| Error::State(format!("{} ended before it was started: {e}", self.name)))?;
        *phase = next;
        announce();
        Ok(())
    }

    /// Whether starting it may take a while: another runtime does it.
    pub fn starts_slowly(&self) -> bool {
        self.monitor.is_some()
    }

    /// What is reaped at its end.
    fn child(&self) -> BorrowedFd<'_> {
        self.monitor.as_ref().unwrap_or(&self.pidfd).as_fd()
    }

    /// Changes the phase by one of its own transitions.
    ///
    /// # Errors
    /// Those of the transition; the phase stays as it was.
    pub fn advance(&self, transition: impl FnOnce(Phase) -> Result<Phase>) -> Result<()> {
        let mut phase = self.lock();
        *phase = transition(*phase)?;
        Ok(())
    }

    /// Sends a signal to this process.
    ///
    /// # Errors
    /// [`Error::NotFound`] once it has ended, [`Error::Invalid`] for a number that is no signal.
    pub fn kill(&self, signal: u32) -> Result<()> {
        self.phase().kill(&self.name)?;
        let number = i32::try_from(signal).ok().filter(|number| (1..=64).contains(number));
        let number =
            number.ok_or_else(|| Error::Invalid(format!("{signal} is not a signal that can be sent")))?;
        match zygote::signal(self.pidfd.as_fd(), number) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Err(Error::NotFound(format!("{} has ended already", self.name)))
            }
            sent => sent.map_err(|e| Error::io(format!("signal {}", self.name), &e)),
        }
    }

    /// Moves the cap on the guest's linear memory, in pages of 64 KiB, while it runs.
    ///
    /// # Errors
    /// When the server may not write to its memory (no `CAP_SYS_PTRACE`).
    pub fn cap_memory(&self, pages: u32) -> Result<()> {
        let Some(cap) = &self.memory_cap else { return Ok(()) };
        let memory = File::options().write(true).open(format!("/proc/{}/mem", self.pid));
        // Had the process ended before that, the number might be another's.
        if self.phase().exit().is_some() || zygote::is_over(self.pidfd.as_fd()) {
            return Ok(());
        }
        let set = memory.and_then(|memory| cap.set(&memory, pages));
        set.map_err(|e| Error::io(format!("move the memory cap of {}", self.name), &e))
    }

    /// The kernel's handle on the process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits until the end was recorded. Any number of callers, at any time.
    pub async fn wait(&self) -> Exit {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(exit) = *ended.borrow_and_update() {
                return exit;
            }
            if ended.changed().await.is_err() {
                return Exit::unseen();
            }
        }
    }

    /// Waits for the kernel to report the end and reaps the process. For one caller: the task that then
    /// records it.
    pub async fn reap(self: &Arc<Self>) -> Exit {
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; a borrowed descriptor is what that asks for: open, one"
        )]
        let watched = AsyncFd::with_interest(self.child(), Interest::READABLE);
        let over = match watched {
            // A pidfd becomes readable when its process ends and stays so.
            Ok(readable) => readable.readable().await.is_ok(),
            Err(e) => {
                log::error!("watch {}: {e}", self.name);
                false
            }
        };
        // Of one that is over there is nothing to wait for, and so no need of a thread.
        let reaped = if over {
            Exit::reap_blocking(self.child())
        } else {
            let this = Arc::clone(self);
            let waiting = tokio::task::spawn_blocking(move || Exit::reap_blocking(this.child()));
            waiting.await.unwrap_or_else(|e| Err(e.into()))
        };
        match reaped {
            Ok(exit) => exit,
            other => {
                log::error!("reap {}: {other:?}", self.name);
                Exit::unseen()
            }
        }
    }

    /// Records the end: streams get their end of file, then `announce` happens, then those who wait are woken,
    /// so that none of them can act before the exit was announced.
    pub fn record_end(&self, exit: Exit, announce: impl FnOnce()) {
        let mut phase = self.lock();
        *phase = Phase::Stopped(exit);
        // A created process that was killed holds its gate still.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.template.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.stdio.process_ended();
        announce();
        drop(phase);
        self.ended.send_replace(Some(exit));
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
