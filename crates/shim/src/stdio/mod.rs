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

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use self::fifo::{Held, HeldInput};
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
}

impl GuestEnds {
    /// In the order of their numbers.
    pub fn borrow(&self) -> [BorrowedFd<'_>; 3] {
        self.0.each_ref().map(AsFd::as_fd)
    }
}

/// Opens all three streams. `id` and `namespace` are told to logging programs.
///
/// # Errors
/// Names the stream and the path.
pub fn open(request: &Request, id: &str, namespace: &str) -> Result<(GuestEnds, Kept)> {
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
        ("binary", _) => return Err(Error::Invalid("stdout and stderr must name the same logging program".into())),
        _ => (output("stdout", &request.stdout, &mut held)?, output("stderr", &request.stderr, &mut held)?),
    };
    let kept = Kept { stdin: Mutex::new(held_input), output: Mutex::new(held) };
    Ok((GuestEnds([stdin, stdout, stderr]), kept))
}

impl Kept {
    /// No more input will come: the guest reads an end of file once it has read what is in the pipe.
    pub fn close_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The process is gone: readers get their end of file. What nobody has read yet stays readable until
    /// the process is deleted.
    pub fn process_ended(&self) {
        self.close_stdin();
        self.output.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(Held::writer_gone);
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
