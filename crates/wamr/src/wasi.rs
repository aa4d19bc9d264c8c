//! What a guest sees of the world: WASI preview 1.

use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use wamr_sys as sys;

use crate::module::ErrorBuffer;
use crate::{Error, Instance, Policy, Result, network};

/// The guest's first preopened directory.
const FIRST_PREOPEN: u32 = 3;

/// A guest's arguments, environment, directories, stdio and listening sockets.
#[derive(Debug)]
pub struct Wasi<'a> {
    /// Arguments; the first is the program's name.
    pub args: &'a [&'a str],
    /// Environment, each `NAME=value`.
    pub env: &'a [&'a str],
    /// Directories, in the order of the guest's descriptors from 3 on.
    pub preopens: Vec<Preopen<'a>>,
    /// Descriptors of this process for the guest's 0, 1 and 2. They are duplicated and stay the caller's.
    pub stdio: [RawFd; 3],
    /// Sockets for the guest's descriptors after its directories. It is told of them by `LISTEN_FDS`, their number, and
    /// `LISTEN_FDS_FIRST_FD`, the first one, which take the place of variables of these names in `env`.
    pub listeners: Vec<OwnedFd>,
    /// What its own sockets may be used with: what all of these allow. They hold for all guests of this process.
    pub sockets: Vec<Policy>,
}

/// A directory that a guest may use, and everything below it. Neither `..` nor symbolic links lead out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preopen<'a> {
    /// Name in the guest.
    pub guest: &'a str,
    /// Path in this process.
    pub host: &'a str,
    /// Nothing below can be changed through it: opening for writing fails with `EROFS`, other changes with
    /// `ENOTCAPABLE`. (The mount should be read-only too: this wall stands only as long as the sandbox.)
    pub read_only: bool,
}

impl Instance<'_> {
    /// Gives the guest this world instead of the one it has. Meant for the container's own process, after
    /// the fork and after it has entered its root file system.
    ///
    /// # Errors
    /// [`Error::Nul`], [`Error::Stdio`], [`Error::Preopen`] or [`Error::Wasi`]. After an error the guest
    /// has no WASI at all, until another call succeeds.
    pub fn set_wasi(&mut self, wasi: Wasi<'_>) -> Result<()> {
        let args = c_strings("argument", wasi.args)?;
        let first_listener = FIRST_PREOPEN + wasi.preopens.len() as u32;
        let env = environment(wasi.env, first_listener, wasi.listeners.len());
        let env = c_strings("environment variable", &env)?;
        let stdio =
            [duplicate(wasi.stdio[0], 0)?, duplicate(wasi.stdio[1], 1)?, duplicate(wasi.stdio[2], 2)?];
        let (mut args, mut env) = (pointers(&args), pointers(&env));
        let fds = [stdio[0].as_raw_fd(), stdio[1].as_raw_fd(), stdio[2].as_raw_fd()];
        let mut reason = ErrorBuffer::new();
        // SAFETY: the instance exists and runs no guest code now; WAMR copies the strings, and does not
        // close stdio, which is kept beside the instance.
        let replaced = unsafe {
            sys::glue_wasi_replace(
                self.raw,
                args.as_mut_ptr(),
                args.len() as u32,
                env.as_mut_ptr(),
                env.len() as u32,
                fds.as_ptr(),
                reason.start(),
                reason.size(),
            )
        };
        if !replaced {
            return Err(Error::Wasi(reason.text()));
        }
        self.stdio = Some(stdio);
        network::set_policies(wasi.sockets);
        for (guest_fd, preopen) in (FIRST_PREOPEN..).zip(&wasi.preopens) {
            self.preopen(guest_fd, preopen)?;
        }
        for (guest_fd, listener) in (first_listener..).zip(wasi.listeners) {
            self.give_socket(guest_fd, listener)?;
        }
        Ok(())
    }

    fn give_socket(&mut self, guest_fd: u32, socket: OwnedFd) -> Result<()> {
        // SAFETY: the instance exists and runs no guest code now; it takes the descriptor on success.
        if !unsafe { sys::glue_wasi_socket(self.raw, guest_fd, socket.as_raw_fd()) } {
            return Err(Error::Wasi(format!("no memory for descriptor {guest_fd}, a listening socket")));
        }
        let _ = socket.into_raw_fd();
        Ok(())
    }

    fn preopen(&mut self, guest_fd: u32, preopen: &Preopen<'_>) -> Result<()> {
        let guest = c_string("name of a directory", preopen.guest)?;
        let host = c_string("path of a directory", preopen.host)?;
        // SAFETY: the path ends with NUL.
        let fd = unsafe { libc::open(host.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
        if fd < 0 {
            let source = io::Error::last_os_error();
            let (host, guest) = (preopen.host.to_owned(), preopen.guest.to_owned());
            return Err(Error::Preopen { host, guest, source });
        }
        // SAFETY: just opened, and nobody else knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: the instance exists and runs no guest code now; it takes the descriptor on success.
        let taken = unsafe {
            sys::glue_wasi_preopen(self.raw, guest_fd, guest.as_ptr(), fd.as_raw_fd(), preopen.read_only)
        };
        if !taken {
            return Err(Error::Wasi(format!("no memory for directory {:?}", preopen.guest)));
        }
        let _ = fd.into_raw_fd();
        Ok(())
    }
}

/// WAMR takes descriptors 0 to 2 for what their number says and does not look at them: a terminal would
/// not be one to the guest, and a file could not be rewound. So it gets other numbers.
fn duplicate(fd: RawFd, guest_fd: usize) -> Result<OwnedFd> {
    // SAFETY: two numbers; the kernel checks them.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) } {
        -1 => Err(Error::Stdio { fd, guest_fd, source: io::Error::last_os_error() }),
        // SAFETY: the kernel just made it.
        new => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
    }
}

/// The environment with what the guest has to know of its listeners, in the form of systemd's socket activation.
/// `LISTEN_PID` goes: a guest does not know its process id.
fn environment<'a>(given: &[&'a str], first_listener: u32, listeners: usize) -> Vec<Cow<'a, str>> {
    let given = given.iter().map(|variable| Cow::Borrowed(*variable));
    if listeners == 0 {
        return given.collect();
    }
    let ours = ["LISTEN_FDS=", "LISTEN_FDS_FIRST_FD=", "LISTEN_PID=", "LISTEN_FDNAMES="];
    given
        .filter(|variable| !ours.iter().any(|name| variable.starts_with(name)))
        .chain([
            Cow::Owned(format!("LISTEN_FDS={listeners}")),
            Cow::Owned(format!("LISTEN_FDS_FIRST_FD={first_listener}")),
        ])
        .collect()
}

fn c_string(what: &'static str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Nul { what, text: text.to_owned() })
}

fn c_strings(what: &'static str, texts: &[impl AsRef<str>]) -> Result<Vec<CString>> {
    texts.iter().map(|text| c_string(what, text.as_ref())).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}
