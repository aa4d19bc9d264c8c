//! A process's standard streams: what containerd names by path or URI, as descriptors for the guest.
//!
//! | given | guest gets | server keeps |
//! |---|---|---|
//! | nothing | `/dev/null` | nothing |
//! | path of a FIFO | the FIFO itself | both ends open, so that a containerd that goes away neither kills the guest with EPIPE nor loses what is in the pipe |
//! | `file:///path` | the file, appended to | nothing |
//! | `binary:///path?key=value` | a pipe into that program | the program, reaped at its end |
//!
//! The server copies nothing: 100 MB of output pass it by.

mod binary;
mod fifo;
mod terminal;

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use self::fifo::{Held, HeldInput};
use self::terminal::Terminal;
use crate::error::{Error, Result};

/// What containerd asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Standard input.
    pub stdin: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether they are a terminal.
    pub terminal: bool,
}

/// Descriptors for the guest, closed here once the guest has them.
#[derive(Debug)]
pub struct GuestEnds([OwnedFd; 3]);

/// What the server keeps open while the process lives.
#[derive(Debug, Default)]
pub struct Kept {
    stdin: Mutex<Option<HeldInput>>,
    output: Mutex<Vec<Held>>,
    terminal: Mutex<Option<Terminal>>,
}

impl GuestEnds {
    /// In the order of their numbers.
    pub fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        self.0.each_ref().map(AsFd::as_fd)
    }
}

/// Opens all three streams. `console` is a terminal's first size (rows, columns); `id` and `namespace` are told to
/// logging programs.
///
/// # Errors
/// Names the stream and the path.
pub fn open(
    request: &Request,
    console: Option<(u16, u16)>,
    id: &str,
    namespace: &str,
) -> Result<(GuestEnds, Kept)> {
    if request.terminal {
        return open_terminal(request, console);
    }
    let (stdin, held_input) = match request.stdin.as_str() {
        "" => (null()?, None),
        path => {
            let (end, held) = fifo::input(&path_of("stdin", path)?).map_err(|e| failed("stdin", path, &e))?;
            (end, Some(held))
        }
    };
    let mut held = Vec::new();
    let (stdout, stderr) = match scheme(&request.stdout) {
        ("binary", _) if request.stderr.is_empty() || request.stderr == request.stdout => {
            binary::start(&request.stdout, id, namespace)?
        }
        ("binary", _) => {
            return Err(Error::Invalid("stdout and stderr must name the same logging program".into()));
        }
        _ => (output("stdout", &request.stdout, &mut held)?, output("stderr", &request.stderr, &mut held)?),
    };
    let kept = Kept { stdin: Mutex::new(held_input), output: Mutex::new(held), terminal: Mutex::default() };
    Ok((GuestEnds([stdin, stdout, stderr]), kept))
}

/// Connects the server's end of a terminal that a native process has brought along. As [`open`] otherwise.
///
/// # Errors
/// As [`open`].
pub fn connect(request: &Request, console: Option<(u16, u16)>, master: OwnedFd) -> Result<Kept> {
    let (stdin, stdout) = terminal_paths(request)?;
    let terminal = terminal::connect(master, stdin, stdout, console);
    let terminal = terminal.map_err(|e| Error::io("connect the terminal", &e))?;
    Ok(Kept { terminal: Mutex::new(Some(terminal)), ..Kept::default() })
}

fn terminal_paths(request: &Request) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
    let path = |name, given: &str| (!given.is_empty()).then(|| path_of(name, given)).transpose();
    Ok((path("stdin", &request.stdin)?, path("stdout", &request.stdout)?))
}

fn open_terminal(request: &Request, console: Option<(u16, u16)>) -> Result<(GuestEnds, Kept)> {
    let (stdin, stdout) = terminal_paths(request)?;
    let failed = |e: std::io::Error| Error::io("open a terminal", &e);
    let (end, terminal) = terminal::open(stdin, stdout, console).map_err(failed)?;
    let copy = || end.try_clone().map_err(failed);
    let ends = GuestEnds([copy()?, copy()?, end.try_clone().map_err(failed)?]);
    Ok((ends, Kept { terminal: Mutex::new(Some(terminal)), ..Kept::default() }))
}

impl Kept {
    /// Sets the size of the terminal.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner);
        match terminal.as_ref().and_then(|terminal| terminal.resize(rows, columns)) {
            Some(resized) => resized.map_err(|e| Error::io("resize the terminal", &e)),
            None => Err(Error::Invalid("the process has no terminal to resize".to_owned())),
        }
    }

    /// No more input will come: the guest reads an end of file once it has read what is in the pipe.
    pub fn close_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until everything that an ended process wrote was read, and until somebody has opened each FIFO: a client opens
    /// them beside its calls, and would wait for ever for a writer that has come and gone.
    pub async fn all_read_by_clients(&self) {
        let opened = || {
            let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            output.iter_mut().all(Held::has_another_reader)
        };
        until(opened).await;
        self.all_read().await;
    }

    /// Waits until everything that an ended process wrote was read.
    pub async fn all_read(&self) {
        let read = || {
            let terminal = self.terminal.lock().unwrap_or_else(PoisonError::into_inner);
            let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            output.retain_mut(Held::writer_gone);
            output.is_empty() && !terminal.as_ref().is_some_and(Terminal::has_unread)
        };
        until(read).await;
    }

    /// The process is gone: readers get their end of file. What nobody has read yet stays readable until
    /// the process is deleted.
    pub fn process_ended(&self) {
        self.close_stdin();
        if let Some(terminal) = &mut *self.terminal.lock().unwrap_or_else(PoisonError::into_inner) {
            terminal.hang_up();
        }
        self.output.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(Held::writer_gone);
    }
}

/// Asks again and again, soon at first. The kernel has no news of what a reader of a pipe does.
async fn until(condition: impl Fn() -> bool) {
    let mut pause = Duration::from_millis(1);
    while !condition() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn output(name: &str, given: &str, held: &mut Vec<Held>) -> Result<OwnedFd> {
    match scheme(given) {
        ("", "") => null(),
        ("file", path) => append(Path::new(path)).map_err(|e| failed(name, given, &e)),
        ("" | "fifo", _) => {
            let (end, keep) = fifo::output(&path_of(name, given)?).map_err(|e| failed(name, given, &e))?;
            held.extend(keep);
            Ok(end)
        }
        (other, _) => Err(Error::Invalid(format!(
            "{name} {given:?}: scheme {other:?} is unknown; a FIFO's path, file:// and binary:// are known"
        ))),
    }
}

fn scheme(given: &str) -> (&str, &str) {
    given.split_once("://").unwrap_or(("", given))
}

fn path_of(name: &str, given: &str) -> Result<PathBuf> {
    let path = Path::new(scheme(given).1);
    if !path.is_absolute() {
        return Err(Error::Invalid(format!("{name} {given:?} is not an absolute path")));
    }
    Ok(path.to_owned())
}

fn failed(name: &str, given: &str, error: &std::io::Error) -> Error {
    Error::io(format!("open {name} {given:?}"), error)
}

fn null() -> Result<OwnedFd> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/null");
    file.map(OwnedFd::from).map_err(|e| Error::io("open /dev/null", &e))
}

fn append(path: &Path) -> std::io::Result<OwnedFd> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    File::options().append(true).create(true).mode(0o644).open(path).map(OwnedFd::from)
}
