//! One message with any number of descriptors over a `SOCK_SEQPACKET` pair.
//!
//! A packet carries at most [`INLINE`] bytes and [`FDS_PER_PACKET`] descriptors (the kernel's `SCM_MAX_FD`
//! is 253). A longer payload travels in a memfd, which is then the first descriptor; more descriptors
//! follow in further packets. The layout of the first packet's head, native byte order, one machine:
//! `u32 payload length, u32 descriptors in all, u32 payload is in a memfd`.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};

use crate::Error;

const HEAD: usize = 12;
const INLINE: usize = 32 * 1024;
const FDS_PER_PACKET: usize = 250;
/// No spec that containerd can hand over (4 MiB per ttrpc message) comes near this.
const LONGEST: usize = 16 << 20;
const MOST_FDS: usize = 4096;

/// A received message.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its payload.
    pub bytes: Vec<u8>,
    /// Its descriptors, in the sender's order. Fewer than were sent when this process may have no more.
    pub fds: Vec<OwnedFd>,
}

/// Sends `payload` and copies of `fds`. Blocks while the peer's queue is full.
pub(crate) fn send(socket: BorrowedFd<'_>, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let memfd = (payload.len() > INLINE).then(|| in_memfd(payload)).transpose().map_err(Error::Gone)?;
    let all: Vec<BorrowedFd<'_>> = memfd.iter().map(AsFd::as_fd).chain(fds.iter().copied()).collect();

    let mut head = [0u8; HEAD];
    for (slot, word) in head.chunks_exact_mut(4).zip([payload.len(), all.len(), usize::from(memfd.is_some())])
    {
        let word = u32::try_from(word).map_err(|_| Error::Protocol("message is too long".into()))?;
        slot.copy_from_slice(&word.to_ne_bytes());
    }
    let inline = if memfd.is_some() { &[][..] } else { payload };
    let mut packets = all.chunks(FDS_PER_PACKET);
    send_packet(socket, &[IoSlice::new(&head), IoSlice::new(inline)], packets.next().unwrap_or_default())?;
    for more in packets {
        send_packet(socket, &[IoSlice::new(b"+")], more)?;
    }
    Ok(())
}

/// Receives one message; `None` when the peer has closed its end.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> Result<Option<Frame>, Error> {
    let mut fds = Vec::new();
    // Asked for first, so that no more memory is touched than the message needs: what the zygote touches
    // here, every child it forks afterwards carries along.
    let peek = RecvFlags::PEEK | RecvFlags::TRUNC;
    let (_, length) = rustix::io::retry_on_intr(|| recv(socket, &mut [0u8; 0][..], peek))
        .map_err(|e| Error::Gone(e.into()))?;
    if length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    let (length, mut whole) = receive_packet(socket, &mut bytes, &mut fds)?;
    let word = |at: usize| -> Result<usize, Error> {
        let word = bytes.get(at..at + 4).filter(|_| length >= HEAD).and_then(|w| w.try_into().ok());
        word.map(|w| u32::from_ne_bytes(w) as usize)
            .ok_or_else(|| Error::Protocol("message without a head".into()))
    };
    let (payload, expected, in_memfd) = (word(0)?, word(4)?, word(8)? == 1);
    if payload > LONGEST || expected > MOST_FDS {
        return Err(Error::Protocol(format!(
            "message of {payload} bytes and {expected} descriptors is too long"
        )));
    }
    // All packets are taken off the queue, or the rest of this message would be taken for the next.
    for _ in 1..expected.div_ceil(FDS_PER_PACKET) {
        let (length, complete) = receive_packet(socket, &mut [0], &mut fds)?;
        whole &= complete;
        if length == 0 {
            return Ok(None);
        }
    }
    if fds.len() < expected && (whole || in_memfd) {
        return Err(Error::Protocol("message lost descriptors (is the descriptor limit reached?)".into()));
    }
    if in_memfd {
        let file = std::fs::File::from(fds.remove(0));
        bytes.resize(payload, 0);
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).map_err(Error::Gone)?;
    } else if length == HEAD + payload {
        bytes.copy_within(HEAD..length, 0);
        bytes.truncate(payload);
    } else {
        return Err(Error::Protocol(format!("message of {length} bytes where {payload} were announced")));
    }
    Ok(Some(Frame { bytes, fds }))
}

fn in_memfd(payload: &[u8]) -> io::Result<OwnedFd> {
    let file = std::fs::File::from(memfd_create("wamr-request", MemfdFlags::CLOEXEC)?);
    std::os::unix::fs::FileExt::write_all_at(&file, payload, 0)?;
    Ok(file.into())
}

fn send_packet(socket: BorrowedFd<'_>, data: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Error::Protocol("descriptors do not fit".into()));
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, data, &mut ancillary, SendFlags::NOSIGNAL))
        .map(drop)
        .map_err(|e| Error::Gone(e.into()))
}

/// Returns the packet's length, and whether all its descriptors came along: the kernel drops those that this process
/// may not have.
fn receive_packet(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<(usize, bool), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_PER_PACKET))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(into)];
    let got =
        rustix::io::retry_on_intr(|| recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC))
            .map_err(|e| Error::Gone(e.into()))?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((got.bytes, !got.flags.contains(ReturnFlags::CTRUNC)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn round_trip(length: usize, fds: usize) {
        let (a, b) = pair();
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let files: Vec<OwnedFd> =
            (0..fds).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
        let sent = payload.clone();
        let sender = std::thread::spawn(move || {
            let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            send(a.as_fd(), &sent, &fds).unwrap();
        });
        let frame = receive(b.as_fd()).unwrap().unwrap();
        sender.join().unwrap();
        assert_eq!(frame.bytes, payload);
        assert_eq!(frame.fds.len(), fds);
        assert!(receive(b.as_fd()).unwrap().is_none(), "peer closed, nothing more may come");
    }

    #[test]
    fn carries_messages_of_every_size_with_any_number_of_descriptors() {
        for (length, fds) in [(0, 0), (1, 1), (INLINE, 250), (INLINE + 1, 250), (3 << 20, 251), (100, 700)] {
            round_trip(length, fds);
        }
    }

    #[test]
    fn refuses_a_message_without_a_head() {
        let (a, b) = pair();
        rustix::net::send(&a, b"short", SendFlags::empty()).unwrap();
        assert!(matches!(receive(b.as_fd()), Err(Error::Protocol(_))));
    }
}
