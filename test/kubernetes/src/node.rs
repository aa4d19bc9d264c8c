//! The namespaces a cluster lives in, and the programs in them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use e2e::{Network, Output, run_within, test_folder};

use crate::{PATIENCE, eventually, wait_for};

/// Process, mount and network namespaces that end together with their first process, `node.sh`.
#[derive(Debug)]
pub struct Node {
    folder: PathBuf,
    /// Where programs are looked for, inside.
    path: String,
    first: Mutex<Option<(Child, ChildStdin)>>,
    /// The first process, as the host counts.
    pid: u32,
}

impl Node {
    /// Starts the first process. `path` is the PATH of everything inside.
    pub(crate) fn start(folder: &Path, path: &str) -> Node {
        let mut child = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount", "--net"])
            .arg(test_folder().join("kubernetes/node.sh"))
            .arg(folder)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.join("node.log")).expect("make the node's log"))
            .spawn()
            .expect("run unshare");
        let input = child.stdin.take().expect("piped");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("hear from the node");
        let log = fs::read_to_string(folder.join("node.log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "the node's first process says: {log}");
        let id = child.id();
        let pid =
            fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("ask for unshare's child");
        let pid = pid.trim().parse().expect("unshare has one child");
        Node {
            folder: folder.to_owned(),
            path: path.to_owned(),
            first: Mutex::new(Some((child, input))),
            pid,
        }
    }

    /// Starts a component of `component.sh` in the background.
    pub fn begin(&self, component: &str) {
        let _ = fs::remove_file(self.pid_file(component));
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, input) = first.as_mut().expect("the node runs");
        writeln!(input, "{component}").expect("tell the node");
        wait_for("a component's process id", || self.pid_of(component));
    }

    /// Ends a component as a power cut would: SIGKILL.
    pub fn kill(&self, component: &str) {
        let pid = self.pid_of(component).expect("the component runs");
        self.run(&["bash", "-c", &format!("kill -KILL {pid}")]).succeeded();
        eventually("a killed component to be gone", || !self.runs(component));
    }

    /// Whether a component runs.
    pub fn runs(&self, component: &str) -> bool {
        let Some(pid) = self.pid_of(component) else { return false };
        self.run(&["test", "-d", &format!("/proc/{pid}")]).code == 0
    }

    /// What a component wrote to its log.
    pub fn log(&self, component: &str) -> String {
        fs::read_to_string(self.folder.join("log").join(component)).unwrap_or_default()
    }

    /// Runs a program inside, to its end.
    pub fn run(&self, words: &[&str]) -> Output {
        run_within(PATIENCE, &mut self.command(words), b"")
    }

    /// A program to be run inside.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--pid", "--mount", "--net", "--"]);
        command.args(words).env("PATH", &self.path);
        command
    }

    /// The network inside, for clients of a test's own.
    pub fn network(&self) -> Network {
        Network::at(Path::new(&format!("/proc/{}/ns/net", self.pid)))
    }

    /// Ends the namespaces and all that is in them.
    pub(crate) fn end(&self) {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((mut child, input)) = first {
            drop(input);
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn pid_file(&self, component: &str) -> PathBuf {
        self.folder.join("pid").join(component)
    }

    fn pid_of(&self, component: &str) -> Option<u32> {
        fs::read_to_string(self.pid_file(component)).ok()?.trim().parse().ok()
    }
}
