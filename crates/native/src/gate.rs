//! What a made process waits on, held by the server until Start.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::SendFlags;

use crate::answer::Answer;

/// Name of libcontainer's socket in a container's state directory.
const SOCKET: &str = "notify.sock";

/// Lets a process run, once.
#[derive(Debug)]
pub enum Gate {
    /// A container's first process listens on libcontainer's socket in this directory.
    Socket(OwnedFd),
    /// The container's monitor listens, and says how it went.
    Monitor(OwnedFd),
    /// A process that joined a container reads from a pipe; it ends when this end closes unused.
    Pipe(OwnedFd),
}

impl Gate {
    /// The gate of a container that libcontainer keeps its state of in `state`.
    pub(crate) fn of_container(state: &Path) -> io::Result<Gate> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Gate::Socket(rustix::fs::open(state, flags, Mode::empty())?))
    }

    /// Lets it run. With a monitor it blocks until the runtime has started it.
    ///
    /// # Errors
    /// When the process is gone, or the runtime's reason.
    pub fn open(self) -> io::Result<()> {
        match self {
            Gate::Socket(directory) => {
                // A socket's address holds 107 bytes, and bundles have longer paths.
                let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
                UnixStream::connect(path)?.write_all(b"start container")
            }
            Gate::Monitor(line) => {
                rustix::net::send(&line, b"S", SendFlags::NOSIGNAL)?;
                match Answer::receive(line.as_fd())? {
                    Some((Answer::Failed(why, _), _)) => Err(io::Error::other(why)),
                    Some(_) => Ok(()),
                    None => Err(io::ErrorKind::BrokenPipe.into()),
                }
            }
            Gate::Pipe(end) => std::fs::File::from(end).write_all(b"S"),
        }
    }
}
