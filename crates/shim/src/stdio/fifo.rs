//! FIFOs made by containerd, given to the guest as they are.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionread;

/// The server's hold on an output FIFO.
///
/// Both ends: the reading one keeps the pipe and what is in it alive while no reader is there, the writing
/// one keeps a reader that comes back from seeing an end of file between two writers.
#[derive(Debug)]
pub struct Held {
    reader: OwnedFd,
    writer: Option<OwnedFd>,
}

/// The server's hold on an input FIFO: a writing end that keeps the guest from seeing an end of file when a
/// client detaches. Dropped by `CloseIO`.
#[derive(Debug)]
pub struct HeldInput(#[expect(dead_code, reason = "held for its writing end")] OwnedFd);

impl Held {
    /// Lets go of the writing end; readers see the end of file once they have read everything. False when
    /// there is nothing left to read, so that this hold can go altogether.
    pub fn writer_gone(&mut self) -> bool {
        self.writer = None;
        ioctl_fionread(&self.reader).is_ok_and(|unread| unread > 0)
    }
}

impl Held {
    /// Whether anybody else has the FIFO open for reading. To be asked once the process is gone: the kernel tells only
    /// whether there is a reader at all, so ours is closed for a moment, while the writing end keeps what is in the pipe.
    pub fn has_another_reader(&mut self) -> bool {
        let Some(writer) = &self.writer else { return true };
        let link = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let Ok(null) = OpenOptions::new().read(true).open("/dev/null") else { return true };
        self.reader = null.into();
        let mut ends = [PollFd::new(writer, PollFlags::OUT)];
        let polled = poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let alone = polled.is_ok() && ends.iter().any(|end| end.revents().contains(PollFlags::ERR));
        match open(Path::new(&link), OFlags::RDONLY) {
            Ok(reader) => self.reader = reader,
            // Without a hold of ours the reader that is there has to do.
            Err(e) => log::warn!("hold a stream of an ended process: {e}"),
        }
        !alone
    }
}

/// Opens a FIFO for the guest to write to. Anything but a FIFO is just opened for appending, with no hold.
pub fn output(path: &Path) -> io::Result<(OwnedFd, Option<Held>)> {
    if !path.metadata()?.file_type().is_fifo() {
        return Ok((OpenOptions::new().append(true).open(path)?.into(), None));
    }
    // The reading end first: without one, opening the writing end without waiting fails with ENXIO.
    let reader = open(path, OFlags::RDONLY)?;
    let writer = open(path, OFlags::WRONLY)?;
    let guest = open(path, OFlags::WRONLY)?;
    set_blocking(&guest)?;
    Ok((guest, Some(Held { reader, writer: Some(writer) })))
}

/// Opens a FIFO for the guest to read from.
pub fn input(path: &Path) -> io::Result<(OwnedFd, HeldInput)> {
    let guest = open(path, OFlags::RDONLY)?;
    let writer = open(path, OFlags::WRONLY)?;
    set_blocking(&guest)?;
    Ok((guest, HeldInput(writer)))
}

fn open(path: &Path, mode: OFlags) -> io::Result<OwnedFd> {
    // Never waits for the other end: a client that does not come must not block the server.
    let mut options = OpenOptions::new();
    match mode {
        OFlags::RDONLY => options.read(true),
        _ => options.write(true),
    };
    options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path).map(OwnedFd::from)
}

/// The guest's end blocks, as programs expect. The flag belongs to the open file, so this is an open of its own.
fn set_blocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    fcntl_setfl(fd, flags - OFlags::NONBLOCK)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn fifo(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("wamr-fifo-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        path
    }

    #[test]
    fn another_reader_is_told_from_our_own_and_nothing_is_lost() {
        let path = fifo("another");
        let (mut guest, held) = {
            let (guest, held) = output(&path).unwrap();
            (std::fs::File::from(guest), held)
        };
        let mut held = held.unwrap();
        guest.write_all(b"last words").unwrap();
        drop(guest);
        assert!(!held.has_another_reader());
        let mut reader = std::fs::File::from(open(&path, OFlags::RDONLY).unwrap());
        assert!(held.has_another_reader());
        assert!(held.writer_gone());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn output_outlives_its_reader_and_ends_with_the_process() {
        let path = fifo("out");
        let (guest, held) = output(&path).unwrap();
        let mut held = held.unwrap();
        let mut guest = std::fs::File::from(guest);
        guest.write_all(b"before ").unwrap();
        // A reader comes, reads a little and goes away, as containerd does when it is restarted.
        let mut first = std::fs::File::open(&path).unwrap();
        let mut some = [0; 3];
        first.read_exact(&mut some).unwrap();
        drop(first);
        guest.write_all(b"after").unwrap();
        drop(guest);
        let mut second = std::fs::File::open(&path).unwrap();
        assert!(held.writer_gone(), "there is something left to read");
        let mut rest = String::new();
        second.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ore after");
        assert!(!held.writer_gone(), "all was read");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn input_ends_when_it_is_closed_and_not_before() {
        let path = fifo("in");
        let (guest, held) = input(&path).unwrap();
        let mut guest = std::fs::File::from(guest);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(b"hello").unwrap();
        let mut five = [0; 5];
        guest.read_exact(&mut five).unwrap();
        drop(held);
        assert_eq!(guest.read(&mut five).unwrap(), 0);
        std::fs::remove_file(&path).unwrap();
    }
}
