//! The server's half: start the zygote, ask it to fork.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use jail::NamespaceKind;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process, setrlimit, waitid,
};

use crate::last_child::LastChild;
use crate::request::DescriptorMap;
use crate::serve::Reply;
use crate::{Error, ForkRequest, Gate, Result, frame};

/// Main-thread stack of the zygote and so of every container process, in bytes. WAMR touches all of it once,
/// in the zygote; a container pays only for what it writes itself.
const STACK: u64 = 1 << 20;

/// A running zygote. Requests are answered one at a time; each takes a fraction of a millisecond.
#[derive(Debug)]
pub struct Zygote {
    line: Mutex<Line>,
    process: Mutex<Child>,
    pid: u32,
}

#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    /// Requests so far.
    asked: u32,
    last_child: LastChild,
}

/// Descriptors that go with a [`ForkRequest`]. They are only lent: the caller closes its own.
#[derive(Debug, Clone)]
pub struct ForkDescriptors<'a> {
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The module's file; not needed beside an image to map.
    pub module: Option<BorrowedFd<'a>>,
    /// The image to map, sealed.
    pub image: Option<BorrowedFd<'a>>,
    /// The image that has the compiled code, where that to map is of a guest that has run.
    pub code: Option<BorrowedFd<'a>>,
    /// Where to write an image: an empty file, or a pipe.
    pub output: Option<BorrowedFd<'a>>,
    /// Detached root mount.
    pub root: Option<BorrowedFd<'a>>,
    /// Detached mounts, one per `confinement.mounts`.
    pub mounts: Vec<BorrowedFd<'a>>,
    /// Namespaces to join.
    pub join: Vec<(NamespaceKind, BorrowedFd<'a>)>,
    /// v1: `cgroup.procs` files to write `0` to.
    pub cgroup_procs: Vec<BorrowedFd<'a>>,
    /// v2: directory to be forked into.
    pub cgroup_v2: Option<BorrowedFd<'a>>,
}

impl<'a> ForkDescriptors<'a> {
    /// Of a process that is given its streams and nothing else.
    pub fn new(stdio: [BorrowedFd<'a>; 3]) -> ForkDescriptors<'a> {
        ForkDescriptors {
            stdio,
            module: None,
            image: None,
            code: None,
            output: None,
            root: None,
            mounts: Vec::new(),
            join: Vec::new(),
            cgroup_procs: Vec::new(),
            cgroup_v2: None,
        }
    }
}

/// A forked container process. The server is its parent.
#[derive(Debug)]
pub struct Forked {
    /// Process id in the server's pid namespace.
    pub pid: i32,
    /// Refers to that very process for as long as it is held.
    pub pidfd: OwnedFd,
    /// The line to it.
    pub gate: Gate,
}

impl Zygote {
    /// Starts `program zygote` with its end of the socket as descriptor 0 and a page shared with it as descriptor 1.
    ///
    /// To be called on the server's **main** thread: the kernel sends a container process its
    /// `PR_SET_PDEATHSIG` when the *thread* that started the zygote ends.
    ///
    /// # Errors
    /// [`Error::Spawn`].
    pub fn spawn(program: &Path) -> Result<Zygote> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|e| Error::Spawn(e.into()))?;
        let last_child = LastChild::new().map_err(Error::Spawn)?;
        let page = last_child.file().try_clone().map_err(Error::Spawn)?;
        // The stack's size is fixed by exec, so the limit is lowered around it; the old one is put back here
        // and, by the zygote, there.
        let before = getrlimit(Resource::Stack);
        let small = Rlimit { current: Some(STACK), maximum: before.maximum };
        setrlimit(Resource::Stack, small).map_err(|e| Error::Spawn(e.into()))?;
        let child = Command::new(program)
            .arg0("containerd-shim-wamr-v1")
            .arg("zygote")
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(page))
            .stderr(Stdio::inherit())
            .current_dir("/")
            .spawn();
        let restored = setrlimit(Resource::Stack, before);
        let process = child.map_err(Error::Spawn)?;
        restored.map_err(|e| Error::Spawn(e.into()))?;
        let line = Line { socket: ours, asked: 0, last_child };
        Ok(Zygote { line: Mutex::new(line), pid: process.id(), process: Mutex::new(process) })
    }

    /// Process id of the zygote.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Forks one container process.
    ///
    /// # Errors
    /// [`Error::Fork`] when the kernel refuses (its errno says which limit), [`Error::Gone`] when the zygote
    /// is dead. No process is left then, also if it died after it had forked.
    pub fn fork(&self, request: &ForkRequest<'_>, fds: &ForkDescriptors<'_>) -> Result<Forked> {
        let (gate, far_end) = Gate::pair().map_err(Error::Fork)?;
        let mut map = DescriptorMap {
            number: 0,
            module: fds.module.is_some(),
            image: fds.image.is_some(),
            code: fds.code.is_some(),
            output: fds.output.is_some(),
            root: fds.root.is_some(),
            mounts: count(fds.mounts.len())?,
            join: fds.join.iter().map(|(kind, _)| *kind).collect(),
            cgroup_procs: count(fds.cgroup_procs.len())?,
            cgroup_v2: fds.cgroup_v2.is_some(),
        };
        let all: Vec<BorrowedFd<'_>> = std::iter::once(far_end.as_fd())
            .chain(fds.stdio)
            .chain(fds.module)
            .chain(fds.image)
            .chain(fds.code)
            .chain(fds.output)
            .chain(fds.root)
            .chain(fds.mounts.iter().copied())
            .chain(fds.join.iter().map(|(_, fd)| *fd))
            .chain(fds.cgroup_procs.iter().copied())
            .chain(fds.cgroup_v2)
            .collect();

        // A request whose answer was not read would answer the next one, so both happen under the lock.
        let mut line = self.line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        line.asked = line.asked.wrapping_add(1);
        map.number = line.asked;
        let bytes = postcard::to_allocvec(&(map, request)).map_err(|e| Error::Protocol(e.to_string()))?;
        let mut answer = line.ask(&bytes, &all).inspect_err(|error| {
            if matches!(error, Error::Gone(_)) {
                self.end();
                line.last_child.of(line.asked).into_iter().for_each(end_child);
            }
        })?;
        drop(line);
        match postcard::from_bytes(&answer.bytes) {
            Ok(Reply::Forked(pid)) => {
                let Some(pidfd) = answer.fds.pop() else {
                    // Out of descriptors: a child without one could be neither watched nor ended later.
                    end_child(pid);
                    return Err(Error::Fork(io::Error::from_raw_os_error(libc::EMFILE)));
                };
                Ok(Forked { pid, pidfd, gate })
            }
            Ok(Reply::Refused(errno)) => Err(Error::Fork(io::Error::from_raw_os_error(errno))),
            Ok(Reply::Misunderstood(why)) => Err(Error::Protocol(why)),
            Err(e) => Err(Error::Protocol(e.to_string())),
        }
    }

    /// Ends the zygote, if it is not dead already, and reaps it. Containers live on.
    pub fn end(&self) {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Fails only if it was reaped before.
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Line {
    fn ask(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<frame::Frame> {
        frame::send(self.socket.as_fd(), bytes, fds)?;
        let gone = || Error::Gone(io::Error::from(io::ErrorKind::ConnectionReset));
        frame::receive(self.socket.as_fd())?.ok_or_else(gone)
    }
}

/// Kills and reaps a child of this process, whose id is nobody else's until then.
fn end_child(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    // Both fail only if it is gone.
    let _ = kill_process(pid, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
}

fn count(n: usize) -> Result<u16> {
    u16::try_from(n).map_err(|_| Error::Protocol(format!("{n} descriptors are too many")))
}
