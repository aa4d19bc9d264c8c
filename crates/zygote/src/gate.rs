//! The line between the server and one container process: "I am ready" one way, "start" the other.
//!
//! Made before the fork as a `SOCK_SEQPACKET` pair; both ends see the other's death as an end of file, so
//! a container that is never started ends with the server, and a server never waits for a dead container.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::code;

/// What a container process says once, when it stands before its guest's first instruction.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ready {
    /// Parts of the confinement the kernel would not grant and that are not walls (a resource limit above
    /// the hard limit, say), in words.
    pub warnings: Vec<String>,
    /// Where the guest's memory cap can be moved while it runs.
    pub memory_cap: Option<MemoryCap>,
}

/// The place of a guest's cap on linear memory in its process, as `wamr::MemoryCap`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MemoryCap {
    address: u64,
    bytes_per_page: u64,
    most_pages: u64,
}

impl From<wamr::MemoryCap> for MemoryCap {
    fn from(cap: wamr::MemoryCap) -> MemoryCap {
        MemoryCap { address: cap.address, bytes_per_page: cap.bytes_per_page, most_pages: cap.most_pages }
    }
}

impl MemoryCap {
    /// Writes a new cap, in pages of 64 KiB, through the process's `/proc/<pid>/mem`. The guest is not interrupted:
    /// it sees the new cap at its next `memory.grow`. Where its memory is larger already, it can only not grow.
    ///
    /// # Errors
    /// Those of writing: the process is gone, or the caller may not trace it.
    pub fn set(&self, memory: &File, pages: u32) -> io::Result<()> {
        let bytes = u64::from(pages) * (64 << 10);
        let own_pages = (bytes / self.bytes_per_page.max(1)).min(self.most_pages);
        let number = u32::try_from(own_pages).unwrap_or(u32::MAX);
        memory.write_all_at(&number.to_ne_bytes(), self.address)
    }
}

#[derive(Serialize, Deserialize)]
enum Word {
    Ready(Ready),
    Failed(String),
}

/// The server's end.
#[derive(Debug)]
pub struct Gate(OwnedFd);

impl Gate {
    /// Makes both ends: the server's, and the one that goes with the fork request.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn pair() -> io::Result<(Gate, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Gate(ours), theirs))
    }

    /// Waits until the container process is ready to start.
    ///
    /// # Errors
    /// [`Error::Container`] with its own words when it says that it cannot run the guest,
    /// [`Error::NotReady`] when it died or was silent for `patience`.
    pub fn wait_ready(&self, patience: Duration) -> Result<Ready, Error> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => {
                    return Err(Error::NotReady(format!(
                        "the container process was not ready after {patience:?}"
                    )));
                }
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Error::Gone(e.into())),
            }
        }
        let mut buffer = vec![0u8; 16 * 1024];
        let (length, _) =
            recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()).map_err(|e| Error::Gone(e.into()))?;
        if length == 0 {
            return Err(Error::NotReady("the container process ended before it was ready".into()));
        }
        match buffer.get(..length).map(postcard::from_bytes) {
            Some(Ok(Word::Ready(ready))) => Ok(ready),
            Some(Ok(Word::Failed(why))) => Err(Error::Container(why)),
            _ => Err(Error::Protocol("the container process sent something unknown".into())),
        }
    }

    /// Lets the guest run.
    ///
    /// # Errors
    /// When the container process is gone.
    pub fn open(&self) -> io::Result<()> {
        send(&self.0, b"S", SendFlags::NOSIGNAL).map(drop).map_err(Into::into)
    }
}

/// In the container process: says that it is ready and waits to be started. False when the server is gone.
pub(crate) fn ready_and_wait(gate: BorrowedFd<'_>, ready: Ready) -> bool {
    say(gate, &Word::Ready(ready));
    // While the server is told and Start is on its way.
    code::let_go();
    let mut byte = [0u8];
    loop {
        match recv(gate.as_fd(), &mut byte, RecvFlags::empty()) {
            Ok((length, _)) => return length == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// In a builder: says that the image is written.
pub(crate) fn finished(gate: BorrowedFd<'_>) {
    say(gate, &Word::Ready(Ready::default()));
}

/// In the container process: says why the guest cannot run.
pub(crate) fn failed(gate: BorrowedFd<'_>, mut why: String) {
    // One packet; a call stack or a list of imports has no business being longer.
    if let Some((cut, _)) = why.char_indices().nth(4000) {
        why.truncate(cut);
    }
    say(gate, &Word::Failed(why));
}

fn say(gate: BorrowedFd<'_>, word: &Word) {
    if let Ok(bytes) = postcard::to_allocvec(word) {
        // A server that is gone is noticed by the `recv` that follows.
        let _ = send(gate, &bytes, SendFlags::NOSIGNAL);
    }
}
