//! The servers of this node: finding them by their directories below `/run/containerd-shim-wamr`, and asking them.
//!
//! A directory may be that of a server that died, is about to start, or hangs; and a file may be anybody's. Each gets a
//! sentence, and none keeps the others from being shown.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use shim::control::{Answer, Request};
use shim::rendezvous::{ROOT, Rendezvous, crashed_log};
use shim::report::Report;

/// A server answers in milliseconds; a machine under load takes longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Far more than what a node's containers make.
const LONGEST: usize = 64 << 20;

/// What the servers say.
#[derive(Debug, Default)]
pub struct Heard {
    /// Of those that answer.
    pub reports: Vec<Report>,
    /// Directories without a server; nothing is missing.
    pub dead: Vec<PathBuf>,
    /// Why something may be missing, a sentence each.
    pub faults: Vec<String>,
}

/// Asks all servers of the node, at the same time.
///
/// # Errors
/// When their directories cannot be listed.
pub fn ask_all() -> Result<Heard, String> {
    ask_all_below(Path::new(ROOT))
}

fn ask_all_below(root: &Path) -> Result<Heard, String> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        // No server has ever run, or all have ended.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Heard::default()),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            return Err(format!("{} is for root to read: run wamrctl as root", root.display()));
        }
        Err(e) => return Err(format!("read {}: {e}", root.display())),
    };
    let places: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let places = places.into_iter().filter(|place| place.file_name() != crashed_log().file_name());
    let mut heard = Heard::default();
    std::thread::scope(|scope| {
        let asked: Vec<_> = places.map(|place| (place.clone(), scope.spawn(move || ask(&place)))).collect();
        for (place, answer) in asked {
            let answer = answer.join().unwrap_or_else(|_| Err("it could not be asked".to_owned()));
            match answer {
                Ok(Some(report)) => heard.reports.push(report),
                Ok(None) => heard.dead.push(place),
                Err(why) => heard.faults.push(format!("{}: {why}", place.display())),
            }
        }
    });
    heard.reports.sort_unstable_by(|a, b| (&a.namespace, a.pid).cmp(&(&b.namespace, b.pid)));
    Ok(heard)
}

/// Asks the server of one directory; `None` if none lives.
fn ask(place: &Path) -> Result<Option<Report>, String> {
    let kind = fs::symlink_metadata(place).map_err(|e| e.to_string())?.file_type();
    if !kind.is_dir() {
        return Err("it is no server's directory; if nobody else needs it, remove it".to_owned());
    }
    let deadline = Instant::now() + PATIENCE;
    match converse(&Rendezvous::at(place).control_socket(), deadline) {
        Ok(line) => understand(&line).map(Some),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(format!(
            "the server gives no answer within {PATIENCE:?}: see {}",
            place.join("log").display()
        )),
        Err(e) => Err(format!("ask the server: {e}")),
    }
}

fn understand(line: &str) -> Result<Report, String> {
    match Answer::parse(line) {
        Some(Answer::Report(json)) => serde_json::from_str(&json)
            .map_err(|e| format!("the server is of another release: its report: {e}")),
        Some(Answer::Error(why)) if why.contains("not understood") => {
            let advice = "use the wamrctl that came with it, or wait for its last container to end";
            Err(format!("the server is of an older release: {advice}"))
        }
        Some(Answer::Error(why)) => Err(format!("the server says: {why}")),
        _ => {
            let start: String = line.chars().take(60).collect();
            Err(format!("what answers there is no server of this release: it says {start:?}"))
        }
    }
}

/// One question, one line. At the deadline it fails, whatever the other side does.
fn converse(socket: &Path, deadline: Instant) -> io::Result<String> {
    let mut stream = connect_before(socket, deadline)?;
    stream.write_all(Request::List.line().as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if answer.last() == Some(&b'\n') {
            answer.pop();
            return String::from_utf8(answer).map_err(|_| io::Error::other("the answer is no text"));
        }
        if answer.len() > LONGEST {
            return Err(io::Error::other("the answer has no end"));
        }
    }
}

/// A socket that nobody accepts from lets the queue run full, and then `connect` waits: so long as may be written.
fn connect_before(socket: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(socket)?;
    let fd: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(left(deadline)?))?;
    connect(&fd, &address)?;
    Ok(UnixStream::from(fd))
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("wamrctl-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("a")).unwrap();
        root
    }

    fn before(milliseconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn nobody_has_to_be_there() {
        let heard = ask_all_below(Path::new("/nonexistent/wamr")).unwrap();
        assert!(heard.reports.is_empty() && heard.dead.is_empty() && heard.faults.is_empty());
    }

    #[test]
    fn a_dead_server_s_directory_is_told_from_what_is_no_directory() {
        let root = scratch("dead");
        drop(UnixListener::bind(root.join("a/control.sock")).unwrap());
        fs::create_dir(root.join("starting")).unwrap();
        fs::write(root.join("stranger"), "x").unwrap();
        fs::write(root.join("crashed.log"), "x").unwrap();
        let heard = ask_all_below(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((heard.dead.len(), heard.faults.len(), heard.reports.len()), (2, 1, 0), "{heard:?}");
        assert!(heard.faults[0].contains("stranger"), "{heard:?}");
    }

    #[test]
    fn one_that_never_answers_costs_the_deadline_and_no_more() {
        let root = scratch("mute");
        let socket = root.join("a/control.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let start = Instant::now();
        let silent = converse(&socket, before(200)).unwrap_err();
        // Nobody accepts: at some number the kernel's queue is full, and connecting itself has to wait.
        let mut waiting = Vec::new();
        let full = loop {
            match connect_before(&socket, before(200)) {
                Ok(stream) => waiting.push(stream),
                Err(e) => break e,
            }
        };
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
        assert!(matches!(full.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{full}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn one_that_talks_without_end_costs_the_deadline_and_no_more() {
        let root = scratch("talker");
        let socket = root.join("a/control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let talker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let error = converse(&socket, before(300)).unwrap_err();
        talker.join().unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    }

    #[test]
    fn older_releases_and_strangers_are_named() {
        assert!(understand("error \"list\" is not understood").unwrap_err().contains("older release"));
        assert!(understand("report {\"version\":1}").unwrap_err().contains("another release"));
        assert!(understand("SSH-2.0-OpenSSH").unwrap_err().contains("SSH-2.0"));
    }
}
