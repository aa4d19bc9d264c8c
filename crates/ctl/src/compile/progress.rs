//! What is going on, on stderr: how long it takes already.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aot::Tier;

use crate::output::printable;

/// Back to the start of the line, and nothing on it.
const AGAIN: &str = "\r\x1b[K";

/// Shown until it is dropped.
#[derive(Debug)]
pub struct Progress {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// On a terminal a line that counts the seconds; elsewhere a line at the start and then every ten seconds.
    pub fn show(path: &Path, size: u64, tier: Tier) -> Progress {
        let what = format!("{} ({} KiB), tier {}", path.display(), size.div_ceil(1024), tier.name());
        let what = printable(&what);
        let (end, ended) = channel::<()>();
        let terminal = std::io::stderr().is_terminal();
        let every = Duration::from_secs(if terminal { 1 } else { 10 });
        let tell = move || {
            let start = Instant::now();
            let mut stderr = std::io::stderr();
            // Nobody has to read it.
            let _ = match terminal {
                true => write!(stderr, "compiling {what} …"),
                false => writeln!(stderr, "compiling {what}"),
            };
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let seconds = start.elapsed().as_secs();
                let _ = match terminal {
                    true => write!(stderr, "{AGAIN}compiling {what} … {seconds} s"),
                    false => writeln!(stderr, "compiling {what}: {seconds} s"),
                };
            }
            if terminal {
                let _ = write!(stderr, "{AGAIN}");
            }
        };
        let thread = std::thread::Builder::new().spawn(tell).ok();
        Progress { end: Some(end), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}
