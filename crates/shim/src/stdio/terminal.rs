//! Pseudo-terminals (`--tty`): the guest has one end, the server copies between the other and containerd's FIFOs.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::ioctl_fionread;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// The server's end of a terminal, and the tasks that copy.
#[derive(Debug)]
pub struct Terminal {
    master: Option<OwnedFd>,
    input: Option<Copying>,
    output: Option<Copying>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Copying(JoinHandle<()>);

/// Opens a terminal. Returns the guest's end. `stdin` and `stdout` are the FIFOs it is connected to.
///
/// Must be called within the runtime.
pub fn open(
    stdin: Option<PathBuf>,
    stdout: Option<PathBuf>,
    size: Option<(u16, u16)>,
) -> io::Result<(OwnedFd, Terminal)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let guest = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    Ok((guest, connect(master, stdin, stdout, size)?))
}

/// Connects the server's end of a terminal with the FIFOs `stdin` and `stdout`.
///
/// Must be called within the runtime.
pub fn connect(
    master: OwnedFd,
    stdin: Option<PathBuf>,
    stdout: Option<PathBuf>,
    size: Option<(u16, u16)>,
) -> io::Result<Terminal> {
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    if let Some((rows, columns)) = size {
        set_size(master.as_fd(), rows, columns)?;
    }
    let mut input = None;
    if let Some(path) = stdin {
        let fifo = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let master = pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?;
        input = Some(Copying(tokio::spawn(copy_input(fifo, master))));
    }
    let mut output = None;
    if let Some(path) = stdout {
        // Both ways, so that a containerd that goes away does not end the terminal.
        let fifo = pipe::OpenOptions::new().read_write(true).open_sender(path)?;
        let master = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
        output = Some(Copying(tokio::spawn(copy_output(master, fifo))));
    }
    Ok(Terminal { master: Some(master), input, output })
}

impl Terminal {
    /// Tells the guest's terminal its size. `None` when the process has ended.
    pub fn resize(&self, rows: u16, columns: u16) -> Option<io::Result<()>> {
        self.master.as_ref().map(|master| set_size(master.as_fd(), rows, columns))
    }

    /// Whether something the guest wrote was not read yet.
    pub fn has_unread(&self) -> bool {
        self.output.as_ref().is_some_and(|output| !output.0.is_finished())
    }

    /// The process has ended. Its last words are copied as long as this is held, for whoever comes to read them.
    pub fn hang_up(&mut self) {
        self.master = None;
        self.input = None;
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn set_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).map_err(Into::into)
}

/// Until the guest's end is closed by everybody: reading then fails with EIO.
async fn copy_output(mut master: pipe::Receiver, mut fifo: pipe::Sender) {
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer).await {
        if fifo.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            break;
        }
    }
    // What is in the FIFO ends with the last who has it open.
    while ioctl_fionread(&fifo).is_ok_and(|unread| unread > 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn copy_input(mut fifo: pipe::Receiver, mut master: pipe::Sender) {
    let mut buffer = [0u8; 1024];
    while let Ok(length @ 1..) = fifo.read(&mut buffer).await {
        if master.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            break;
        }
    }
}
