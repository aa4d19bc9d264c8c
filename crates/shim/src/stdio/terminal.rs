//! Pseudo-terminals (`--tty`): the guest has one end, the server copies between the other and containerd's FIFOs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// The server's end of a terminal, and the tasks that copy.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    input: Option<JoinHandle<()>>,
}

/// Opens a terminal. Returns the guest's end. `stdin` and `stdout` are the FIFOs it is connected to.
///
/// Must be called within the runtime.
pub fn open(
    stdin: Option<PathBuf>,
    stdout: Option<PathBuf>,
    size: Option<(u16, u16)>,
) -> io::Result<(OwnedFd, Terminal)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let guest = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
    let mut terminal = Terminal { master, input: None };
    if let Some((rows, columns)) = size {
        terminal.resize(rows, columns)?;
    }
    if let Some(path) = stdin {
        let fifo = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let master = pipe::Sender::from_owned_fd_unchecked(terminal.master.try_clone()?)?;
        terminal.input = Some(tokio::spawn(copy_input(fifo, master)));
    }
    if let Some(path) = stdout {
        // Both ways, so that a containerd that goes away does not end the terminal.
        let fifo = pipe::OpenOptions::new().read_write(true).open_sender(path)?;
        let master = pipe::Receiver::from_owned_fd_unchecked(terminal.master.try_clone()?)?;
        tokio::spawn(copy_output(master, fifo));
    }
    Ok((guest, terminal))
}

impl Terminal {
    /// Tells the guest's terminal its size.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.master.as_fd(), size).map_err(Into::into)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(input) = &self.input {
            input.abort();
        }
    }
}

/// Until the guest's end is closed by everybody: reading then fails with EIO.
async fn copy_output(mut master: pipe::Receiver, mut fifo: pipe::Sender) {
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer).await {
        if fifo.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            break;
        }
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
