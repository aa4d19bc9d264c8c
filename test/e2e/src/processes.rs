//! What runs, read from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};

/// A process, told from a later one with the same id by its start time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its name, as `ps` shows it.
    pub comm: String,
    /// Its parent's id.
    pub parent: i32,
    started: u64,
    zombie: bool,
}

impl Process {
    /// The process of an id, if there is one.
    pub fn of(pid: i32) -> Option<Process> {
        // `proc_pid_stat(5)`: the name stands in parentheses and may hold anything.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<_> = tail.split_whitespace().collect();
        Some(Process {
            pid,
            comm: head.split_once('(')?.1.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            zombie: fields.first() == Some(&"Z"),
        })
    }

    /// All of them.
    pub fn all() -> Vec<Process> {
        let entries = fs::read_dir("/proc").expect("read /proc").flatten();
        entries.filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Its arguments.
    pub fn arguments(&self) -> Vec<String> {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
    }

    /// Whether it is still there. A dead one that waits for pid 1 to reap it is not.
    pub fn is_there(&self) -> bool {
        Process::of(self.pid)
            .is_some_and(|now| now.started == self.started && !(now.zombie && now.parent == 1))
    }

    /// Whether it runs: neither gone nor waiting to be reaped.
    pub fn is_alive(&self) -> bool {
        Process::of(self.pid).is_some_and(|now| now.started == self.started && !now.zombie)
    }

    /// Its children.
    pub fn children(&self) -> Vec<Process> {
        Process::all().into_iter().filter(|other| other.parent == self.pid).collect()
    }

    /// All that descend from it.
    pub fn descendants(&self) -> Vec<Process> {
        let all = Process::all();
        let mut found = vec![self.clone()];
        let mut next = 0;
        while let Some(parent) = found.get(next).map(|process| process.pid) {
            found.extend(all.iter().filter(|process| process.parent == parent).cloned());
            next += 1;
        }
        found.split_off(1)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid).expect("ids are positive");
        rustix::process::kill_process(pid, signal).unwrap_or_else(|e| panic!("signal {}: {e}", self.pid));
    }

    /// Its open descriptors: number and what is behind it.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect();
        found.sort();
        found
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count)
    }

    /// Its private memory, in bytes (`Private_*` of `smaps_rollup`).
    pub fn private_memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let private = text.lines().filter(|line| line.starts_with("Private_"));
        let kib = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.sum::<u64>() * 1024
    }
}

/// The shim's long-lived process.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Its folder below `/run/containerd-shim-wamr`.
    pub place: PathBuf,
}

impl Server {
    /// Those of a namespace of the containerd at `socket`.
    pub fn find(socket: &Path, namespace: &str) -> Vec<Server> {
        let server = |process: Process| {
            let arguments = process.arguments();
            let after =
                |flag: &str| arguments.iter().skip_while(|argument| *argument != flag).nth(1).cloned();
            let serves = arguments.iter().any(|argument| argument == "serve")
                && after("-namespace").as_deref() == Some(namespace)
                && after("-address").map(PathBuf::from).as_deref() == Some(socket);
            serves.then(|| Server { process, place: after("-rendezvous").unwrap_or_default().into() })
        };
        let servers: Vec<_> = Process::all().into_iter().filter_map(server).collect();
        // One that forks is for a moment two processes with the same arguments: the child is not another server.
        let pids: Vec<_> = servers.iter().map(|server| server.process.pid).collect();
        servers.into_iter().filter(|server| !pids.contains(&server.process.parent)).collect()
    }

    /// Its zygotes, by their name: their command line is that of every guest they forked.
    pub fn zygotes(&self) -> Vec<Process> {
        self.process.children().into_iter().filter(|process| process.comm.contains("zygote")).collect()
    }
}
