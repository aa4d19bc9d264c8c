//! Terminals inside containers: made from the container's own `devpts`, so that `tty` names a file that is there.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, major, minor, openat};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

/// `DEVPTS_SUPER_MAGIC` of `linux/magic.h`.
const DEVPTS: u64 = 0x1cd1;

/// Its name in the directory it is bound in.
pub(crate) const CONSOLE: &str = "console.sock";

/// The socket through which a runtime hands over the terminal of a container's first process.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    pub(crate) fn bind(directory: &Path) -> Result<ConsoleSocket, String> {
        let failed = |e: std::io::Error| format!("make the console socket: {e}");
        let path = directory.join(CONSOLE);
        // The address holds 107 bytes; this process has no other use for its working directory.
        std::env::set_current_dir(directory).map_err(failed)?;
        let listener = UnixListener::bind(CONSOLE).map_err(failed)?;
        std::env::set_current_dir("/").map_err(failed)?;
        Ok(ConsoleSocket { listener, path })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The terminal that was sent. What sent it has ended its part by now, so nothing is waited for.
    pub(crate) fn receive(self) -> Result<OwnedFd, String> {
        let failed = |e: std::io::Error| format!("take the terminal over: {e}");
        self.listener.set_nonblocking(true).map_err(failed)?;
        let (connection, _) = self.listener.accept().map_err(failed)?;
        let (mut name, mut space) = ([0; 256], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(&mut name)];
        recvmsg(&connection, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .map_err(|e| failed(e.into()))?;
        let mut rights = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
            _ => None,
        });
        rights.next().ok_or_else(|| "take the terminal over: none was sent".to_owned())
    }
}

/// Opens a terminal in the container whose mount namespace this process has joined: (server's end, process's end).
pub(crate) fn open() -> Result<(OwnedFd, OwnedFd), String> {
    let failed = |e: rustix::io::Errno| {
        format!("open a terminal in the container: {e} (is devpts mounted at /dev/pts?)")
    };
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let master = openat(CWD, "/dev/pts/ptmx", flags, Mode::empty()).map_err(failed)?;
    // The image may have put anything there.
    let (stat, file_system) = (rustix::fs::fstat(&master), rustix::fs::fstatfs(&master));
    let (stat, file_system) = (stat.map_err(failed)?, file_system.map_err(failed)?);
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if file_system.f_type as u64 != DEVPTS || !character || device != (5, 2) {
        return Err("open a terminal in the container: /dev/pts/ptmx is not the kernel's".to_owned());
    }
    unlockpt(&master).map_err(failed)?;
    let process = peer(&master).map_err(failed)?;
    Ok((master, process))
}

/// The process's end.
pub(crate) fn peer(master: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    ioctl_tiocgptpeer(master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
}

/// Makes a terminal the controlling one of this session.
pub(crate) fn control(terminal: &OwnedFd) -> Result<(), String> {
    rustix::process::ioctl_tiocsctty(terminal.as_fd())
        .map_err(|e| format!("control terminal {}: {e}", terminal.as_raw_fd()))
}
