//! What a helper, and the process it makes, say to the server: one packet each, with a terminal's descriptor if there
//! is one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Longest text of a failure, in characters.
const LONGEST: usize = 4000;
/// No packet is longer: four bytes per character, escaped.
const PACKET: usize = 64 * 1024;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A process was forked. It says itself whether it got ready.
    Forked(i32),
    /// All is done.
    Ready(Vec<String>),
    /// It cannot be done. If a process is left over, it is this one.
    Failed(String, Option<i32>),
}

impl Answer {
    pub(crate) fn failed(why: &str, left_over: Option<i32>) -> Answer {
        Answer::Failed(why.chars().take(LONGEST).collect(), left_over)
    }

    pub(crate) fn send(&self, socket: BorrowedFd<'_>, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("the descriptor does not fit"));
        }
        let data = [IoSlice::new(&bytes)];
        rustix::io::retry_on_intr(|| sendmsg(socket, &data, &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// `None` when nobody is left who could say anything.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Answer, Option<OwnedFd>)>> {
        let mut bytes = vec![0; PACKET];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::io::retry_on_intr(|| recvmsg(socket.as_fd(), &mut data, &mut ancillary, flags))?;
        let mut fd = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut rights) = message {
                fd = rights.next();
            }
        }
        if got.bytes == 0 {
            return Ok(None);
        }
        let answer = serde_json::from_slice(bytes.get(..got.bytes).unwrap_or_default())?;
        Ok(Some((answer, fd)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn an_answer_arrives_with_its_descriptor_and_a_long_one_is_cut() {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        Answer::Forked(7).send(a.as_fd(), Some(file.as_fd())).unwrap();
        let (answer, fd) = Answer::receive(b.as_fd()).unwrap().unwrap();
        assert!(matches!(answer, Answer::Forked(7)));
        assert!(fd.is_some());
        Answer::failed(&"\u{1}é".repeat(10_000), Some(3)).send(a.as_fd(), None).unwrap();
        let (answer, fd) = Answer::receive(b.as_fd()).unwrap().unwrap();
        assert!(matches!(answer, Answer::Failed(why, Some(3)) if why.chars().count() == LONGEST));
        assert!(fd.is_none());
        drop(a);
        assert!(Answer::receive(b.as_fd()).unwrap().is_none());
    }
}
