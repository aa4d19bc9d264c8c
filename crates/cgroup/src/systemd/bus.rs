//! A conversation with systemd's manager over its own socket.
//!
//! That socket is root's alone and is what `systemctl` uses as root: no bus daemon in between, no subscription,
//! every signal of the manager. One connection per call: systemd sends those signals to whoever stays connected,
//! so somebody would have to read them for ever. Connecting is a third of what making a scope costs.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::message::{self, Body, Incoming, Writer};

const SOCKET: &str = "/run/systemd/private";

/// How long systemd may take. It does one thing at a time, and reloading a large host takes it seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why systemd did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The conversation broke down.
    Io(io::Error),
    /// It said no: the error's D-Bus name and systemd's words.
    Refused(String, String),
    /// It tried: the job's result, like `failed` or `timeout`.
    Job(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "{SOCKET}: {e}"),
            Self::Refused(_, text) => f.write_str(text),
            Self::Job(result) => write!(f, "its job ended as {result:?}: see journalctl"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl Failure {
    /// Whether it is the error of this name in `org.freedesktop.systemd1`.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self, Self::Refused(full, _) if full.strip_prefix("org.freedesktop.systemd1.") == Some(name))
    }
}

/// A connection. Lives for one call and its job, on the calling thread.
pub(crate) struct Bus {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
    /// Jobs that ended before anybody asked: path and result.
    ended: Vec<(String, String)>,
}

impl Bus {
    /// Connects and says who we are (D-Bus Specification, "Authentication Protocol").
    pub(crate) fn connect() -> Result<Self, Failure> {
        let mut bus = Self {
            stream: UnixStream::connect(SOCKET)?,
            deadline: Instant::now() + PATIENCE,
            serial: 0,
            ended: Vec::new(),
        };
        bus.stream.set_write_timeout(Some(PATIENCE))?;
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.stream.write_all(format!("\0AUTH EXTERNAL {user}\r\nBEGIN\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            bus.read_exact(&mut byte)?;
            line.extend(byte);
        }
        if line.starts_with(b"OK ") {
            return Ok(bus);
        }
        let answer = String::from_utf8_lossy(&line).trim_end().to_owned();
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("not let in: {answer}")).into())
    }

    /// Calls a method of the manager and waits for its answer.
    pub(crate) fn call(&mut self, member: &str, signature: &str, body: Writer) -> Result<Body, Failure> {
        self.serial += 1;
        self.stream.write_all(&message::call(self.serial, member, signature, body))?;
        loop {
            match message::receive(&mut *self)? {
                Incoming::Return(serial, body) if serial == self.serial => return Ok(body),
                Incoming::Error(serial, name, text) if serial == self.serial => {
                    return Err(Failure::Refused(name, text));
                }
                other => self.note(other),
            }
        }
    }

    /// The same for a method that answers with a job, whose end is waited for as well.
    pub(crate) fn run_job(&mut self, member: &str, signature: &str, body: Writer) -> Result<(), Failure> {
        let answer = self.call(member, signature, body)?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("{member} gave no job"));
        let job = answer.read().string().ok_or_else(invalid)?.to_owned();
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(path, _)| *path == job) {
                return if result == "done" { Ok(()) } else { Err(Failure::Job(result.clone())) };
            }
            let other = message::receive(&mut *self)?;
            self.note(other);
        }
    }

    /// Keeps what a signal says about jobs: `JobRemoved(u id, o job, s unit, s result)`.
    fn note(&mut self, message: Incoming) {
        let Incoming::Signal(name, body) = message else { return };
        let mut values = body.read();
        if name == "JobRemoved"
            && let (Some(_), Some(job), Some(_), Some(result)) =
                (values.u32(), values.string(), values.string(), values.string())
        {
            self.ended.push((job.to_owned(), result.to_owned()));
        }
    }
}

impl Read for Bus {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.stream.set_read_timeout(Some(left))?;
        match self.stream.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(late()),
            result => result,
        }
    }
}
