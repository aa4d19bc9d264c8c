//! Descriptors of a helper by number: how the server lays them out and how the helper takes them.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use command_fds::{CommandFdExt, FdMapping};
use serde::{Deserialize, Serialize};

use crate::request::Request;
use crate::{Error, Result};

/// The socket for the answer.
pub(crate) const ANSWER: RawFd = 0;
/// The file with the request.
pub(crate) const REQUEST: RawFd = 3;
/// The first of those that a [`Layout`] counts.
const FIRST: RawFd = 4;

/// What is there, in this order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Layout {
    stdio: bool,
    init: bool,
    gate: bool,
    cgroups: u16,
}

/// A request and which descriptors come with it, as it lies in the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub layout: Layout,
    pub request: Request,
}

/// The server's side: lent for the call.
#[derive(Debug, Default)]
pub(crate) struct Lent<'a> {
    /// Standard input, output and error.
    pub stdio: Option<[BorrowedFd<'a>; 3]>,
    /// Pidfd of the container's first process.
    pub init: Option<BorrowedFd<'a>>,
    /// What the new process waits on.
    pub gate: Option<BorrowedFd<'a>>,
    /// `cgroup.procs` files to write `0` to.
    pub cgroups: Vec<BorrowedFd<'a>>,
}

impl Lent<'_> {
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            stdio: self.stdio.is_some(),
            init: self.init.is_some(),
            gate: self.gate.is_some(),
            cgroups: self.cgroups.len() as u16,
        }
    }

    /// Gives a command these descriptors and the file with the request.
    pub(crate) fn map(&self, command: &mut std::process::Command, request: OwnedFd) -> Result<()> {
        let all = self.stdio.iter().flatten().chain(&self.init).chain(&self.gate).chain(&self.cgroups);
        let mut mappings = vec![FdMapping { parent_fd: request, child_fd: REQUEST }];
        for (child_fd, fd) in (FIRST..).zip(all) {
            let parent_fd = fd.try_clone_to_owned().map_err(Error::helper("copy a descriptor"))?;
            mappings.push(FdMapping { parent_fd, child_fd });
        }
        let clash = |e| Error::Helper { doing: "number descriptors", source: std::io::Error::other(e) };
        command.fd_mappings(mappings).map_err(clash)?;
        Ok(())
    }
}

/// The helper's side: owned.
#[derive(Debug)]
pub(crate) struct Inherited {
    pub stdio: Option<[OwnedFd; 3]>,
    pub init: Option<OwnedFd>,
    pub gate: Option<OwnedFd>,
    pub cgroups: Vec<OwnedFd>,
}

impl Inherited {
    /// Takes what the server laid out. Once per process.
    ///
    /// # Safety
    /// The process was started by [`Lent::map`] with this layout, and nothing else took these descriptors.
    pub(crate) unsafe fn take(layout: Layout) -> Inherited {
        // SAFETY: the caller vouches for it; each number is used once.
        let mut numbers = (FIRST..).map(|number| unsafe { OwnedFd::from_raw_fd(number) });
        let mut next = || numbers.next();
        let stdio = match layout.stdio {
            true => match (next(), next(), next()) {
                (Some(stdin), Some(stdout), Some(stderr)) => Some([stdin, stdout, stderr]),
                _ => None,
            },
            false => None,
        };
        let mut one = |there: bool| there.then(&mut next).flatten();
        Inherited {
            stdio,
            init: one(layout.init),
            gate: one(layout.gate),
            cgroups: (0..layout.cgroups).filter_map(|_| one(true)).collect(),
        }
    }
}
