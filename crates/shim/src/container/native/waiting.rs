//! A native process between its making and its owner.

use std::os::fd::AsFd;

use native::Made;

use crate::container::Process;
use crate::error::{Error, Result};
use crate::stdio::{self, Kept};

/// A process that is made but nobody's yet: killed and reaped when dropped.
pub struct Waiting(Option<Made>);

impl Waiting {
    /// Says what it could not be given.
    pub fn new(made: Made) -> Waiting {
        for warning in &made.warnings {
            log::warn!("{warning}");
        }
        Waiting(Some(made))
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.0.as_ref().map_or(0, |made| made.pid)
    }

    /// Connects its terminal.
    pub fn connect(&self, request: &stdio::Request, size: Option<(u16, u16)>) -> Result<Kept> {
        let terminal = self.0.as_ref().and_then(|made| made.terminal.as_ref());
        let terminal = terminal.ok_or_else(|| Error::Internal("no terminal came back".to_owned()))?;
        let terminal = terminal.try_clone().map_err(|e| Error::io("copy the terminal", &e))?;
        stdio::connect(request, size, terminal)
    }

    /// Hands it over.
    pub fn settle(mut self, name: String, request: stdio::Request, kept: Kept) -> Result<Process> {
        let made = self.0.take();
        let made = made.ok_or_else(|| Error::Internal("a process was lost while it was made".to_owned()))?;
        Ok(Process::native(name, made, request, kept))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(made) = &self.0 {
            // Both fail only if it is dead and reaped already.
            let _ = rustix::process::pidfd_send_signal(&made.pidfd, rustix::process::Signal::KILL);
            let child = made.monitor.as_ref().unwrap_or(&made.pidfd);
            let _ = crate::exit::Exit::reap_blocking(child.as_fd());
        }
    }
}
