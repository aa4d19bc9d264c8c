//! The one-line protocol between `start`, `delete` or `wamrctl` and a running server.
//!
//! | asked | answered | meaning |
//! |---|---|---|
//! | `reserve ID` | `ok` | a container is about to be created: do not end before it came or a minute passed |
//! | `drop ID` | `gone`, or `dropped STATUS SECONDS NANOS PID` | containerd gave ID up: kill it if it lives, clean up after it |
//! | `list` | `report JSON` | who are you and what runs; changes nothing |
//!
//! Anything else is answered `error TEXT`.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::exit::Exit;

/// What is asked of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Keep the server alive for a container to come.
    Reserve(String),
    /// Get rid of a container.
    Drop(String),
    /// Tell what runs.
    List,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Reserved.
    Ok,
    /// No such container: nothing to drop.
    Gone,
    /// Dropped: how it had ended, and its process id.
    Dropped(Exit, i32),
    /// What runs: a [`Report`](crate::report::Report) as JSON, on one line.
    Report(String),
    /// Refused.
    Error(String),
}

/// Tries before a server that closes connections is taken for a broken one instead of a dying one: 2 s.
const DYING: u32 = 400;

/// Asks the server that listens at `socket` one question. `None` when no server lives.
///
/// A server that dies with the question in hand is no living server: its kernel resets the connection, and the next
/// try finds nobody.
///
/// # Errors
/// When a living server does not answer in time, or not in this protocol.
pub fn ask(socket: &Path, request: &Request) -> io::Result<Option<Answer>> {
    for _ in 0..DYING {
        let Ok(stream) = UnixStream::connect(socket) else { return Ok(None) };
        match converse(stream, request) {
            Err(e) if is_death(&e) => std::thread::sleep(Duration::from_millis(5)),
            answered => return answered.map(Some),
        }
    }
    Err(io::Error::other("it closes every connection without an answer"))
}

/// Whether a server lives.
pub fn is_alive(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

fn converse(mut stream: UnixStream, request: &Request) -> io::Result<Answer> {
    // A server takes microseconds for either request, but a drop waits for a process to die.
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.line().as_bytes())?;
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Answer::parse(line.trim_end_matches('\n'))
        .ok_or_else(|| io::Error::other(format!("it answered {line:?}")))
}

fn is_death(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof)
}

impl Request {
    /// The line that is sent, with its end.
    pub fn line(&self) -> String {
        match self {
            Request::Reserve(id) => format!("reserve {id}\n"),
            Request::Drop(id) => format!("drop {id}\n"),
            Request::List => "list\n".to_owned(),
        }
    }

    /// Reads a line without its end.
    pub fn parse(line: &str) -> Option<Request> {
        if line == "list" {
            return Some(Request::List);
        }
        match line.split_once(' ')? {
            ("reserve", id) if !id.is_empty() => Some(Request::Reserve(id.to_owned())),
            ("drop", id) if !id.is_empty() => Some(Request::Drop(id.to_owned())),
            _ => None,
        }
    }
}

impl Answer {
    /// The line that is sent, with its end.
    pub fn line(&self) -> String {
        match self {
            Answer::Ok => "ok\n".to_owned(),
            Answer::Gone => "gone\n".to_owned(),
            Answer::Dropped(exit, pid) => {
                format!("dropped {} {} {} {pid}\n", exit.status, exit.at.seconds, exit.at.nanos)
            }
            Answer::Report(json) => format!("report {json}\n"),
            Answer::Error(text) => format!("error {}\n", text.replace('\n', " ")),
        }
    }

    /// Reads a line without its end.
    pub fn parse(line: &str) -> Option<Answer> {
        let mut words = line.split(' ');
        match words.next()? {
            "ok" => Some(Answer::Ok),
            "gone" => Some(Answer::Gone),
            "dropped" => {
                let mut number = || words.next()?.parse::<i64>().ok();
                let (status, seconds, nanos, pid) = (number()?, number()?, number()?, number()?);
                let at = crate::exit::Instant { seconds, nanos: i32::try_from(nanos).ok()? };
                Some(Answer::Dropped(
                    Exit { status: u32::try_from(status).ok()?, at },
                    i32::try_from(pid).ok()?,
                ))
            }
            "report" => Some(Answer::Report(line.strip_prefix("report ")?.to_owned())),
            "error" => Some(Answer::Error(line.strip_prefix("error ")?.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Instant;

    #[test]
    fn what_is_written_is_read_back() {
        for request in [Request::Reserve("a b".into()), Request::Drop("x".into()), Request::List] {
            assert_eq!(Request::parse(request.line().trim_end()), Some(request));
        }
        let exit = Exit { status: 137, at: Instant { seconds: 5, nanos: 7 } };
        for answer in
            [Answer::Ok, Answer::Gone, Answer::Dropped(exit, 12), Answer::Error("no such thing".into())]
        {
            assert_eq!(Answer::parse(answer.line().trim_end()), Some(answer));
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for line in ["", "reserve", "reserve ", "list ", "list x", "frobnicate x"] {
            assert_eq!(Request::parse(line), None);
        }
        for line in ["dropped 1 2", "report"] {
            assert_eq!(Answer::parse(line), None);
        }
    }
}
