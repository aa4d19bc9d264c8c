//! Running a program with a bound on its time.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// What a program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, as text.
    pub stderr: String,
}

impl Output {
    /// Its stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Itself, if its code was 0.
    ///
    /// # Panics
    /// With everything it wrote, if not.
    pub fn succeeded(self) -> Output {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.text(), self.stderr);
        self
    }
}

/// Runs a program to its end, with `input` as its stdin.
///
/// # Panics
/// When it does not end in time; it is killed.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    run_within(PATIENCE, command, input)
}

/// The same with a bound of one's own.
///
/// # Panics
/// When it does not end in time; it is killed.
pub fn run_within(patience: Duration, command: &mut Command, input: &[u8]) -> Output {
    use std::os::unix::process::ExitStatusExt;
    let words = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("start {words}: {e}"));
    // Whoever does not read its input may close it.
    let mut stdin = child.stdin.take().expect("piped");
    let _ = std::io::Write::write_all(&mut stdin, input);
    drop(stdin);
    let mut stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let until = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{words} did not end within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let take = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("a reader does not panic").expect("read a pipe")
    };
    Output {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        stdout: take(stdout),
        stderr: String::from_utf8_lossy(&take(stderr)).into_owned(),
    }
}
