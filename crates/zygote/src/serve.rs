//! The zygote's half: get warm, then fork a container process for every request until the server is gone.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jail::{Descriptors, NamespaceKind};
use serde::{Deserialize, Serialize};

use crate::code;
use crate::last_child::Notebook;
use crate::request::{DescriptorMap, ForkRequest};
use crate::{container, frame};

/// Answer to a [`ForkRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The child's process id; its pidfd is the one descriptor.
    Forked(i32),
    /// errno of `clone3` or of entering a pid namespace.
    Refused(i32),
    /// The request made no sense.
    Misunderstood(String),
}

/// What every child inherits, made once.
pub(crate) struct Warm {
    pub engine: wamr::Engine,
    pub filter: jail::Filter,
    pub zygote_root: jail::MinimalRoot,
}

/// Descriptors of one request, sorted.
pub(crate) struct Handed {
    pub gate: OwnedFd,
    pub stdio: [OwnedFd; 3],
    pub module: Option<OwnedFd>,
    pub image: Option<OwnedFd>,
    pub code: Option<OwnedFd>,
    pub output: Option<OwnedFd>,
    pub jail: Descriptors,
    join_pid: Option<OwnedFd>,
    cgroup_v2: Option<OwnedFd>,
}

/// Runs the zygote on the calling process, which must have one thread; `socket` is its end of the pair, `last_child` a
/// page shared with the server.
/// Returns when the server has closed its end.
///
/// # Errors
/// In words, when the process cannot be prepared or the server speaks another protocol.
pub fn serve(socket: OwnedFd, last_child: BorrowedFd<'_>) -> Result<(), String> {
    let notebook =
        Notebook::open(last_child).map_err(|e| format!("map the page shared with the server: {e}"))?;
    let own_pids: OwnedFd =
        std::fs::File::open("/proc/self/ns/pid").map_err(|e| format!("open /proc/self/ns/pid: {e}"))?.into();
    // Lives as long as the process, and so as long as what its children make of it.
    let warm: &'static Warm = Box::leak(Box::new(warm_up()?));
    // Of what warming up ran little is needed again.
    code::let_go();
    loop {
        let Some(mut request) = frame::receive(socket.as_fd()).map_err(|e| e.to_string())? else {
            return Ok(());
        };
        let (reply, pidfd) = match answer(warm, &notebook, own_pids.as_fd(), &request.bytes, request.fds) {
            Ok((pid, pidfd)) => (Reply::Forked(pid), Some(pidfd)),
            Err(refusal) => (refusal, None),
        };
        // Arguments and environments may hold secrets, and later children inherit this heap.
        request.bytes.fill(0);
        std::hint::black_box(&request.bytes);
        let bytes = postcard::to_allocvec(&reply).map_err(|e| e.to_string())?;
        let fds: Vec<BorrowedFd<'_>> = pidfd.iter().map(AsFd::as_fd).collect();
        frame::send(socket.as_fd(), &bytes, &fds).map_err(|e| e.to_string())?;
    }
}

/// Everything that is the same for all containers, so that no child has to do it.
fn warm_up() -> Result<Warm, String> {
    // The server's death ends the zygote also while it is busy; the socket's end does when it is not.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let _ = rustix::thread::set_name(c"wamr-zygote");
    // A huge page under a linear memory of a few pages would be charged to the container in full.
    disable_huge_pages().map_err(|e| format!("disable huge pages: {e}"))?;
    // Handlers are inherited: SIGTERM ends a guest although it is process 1 of its namespace, where the
    // default action would do nothing.
    wamr::signals::exit_on_termination().map_err(|e| format!("install signal handlers: {e}"))?;
    let engine = wamr::Engine::init().map_err(|e| format!("initialise WAMR: {e}"))?;
    let filter = jail::Filter::compile().map_err(|e| format!("compile the seccomp filter: {e}"))?;
    let zygote_root =
        jail::MinimalRoot::enter().map_err(|e| format!("make a minimal mount namespace: {e}"))?;
    Ok(Warm { engine, filter, zygote_root })
}

fn disable_huge_pages() -> std::io::Result<()> {
    // SAFETY: `PR_SET_THP_DISABLE` takes a flag and three zeros, and touches no memory of ours.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn answer(
    warm: &'static Warm,
    notebook: &Notebook,
    own_pids: BorrowedFd<'_>,
    bytes: &[u8],
    fds: Vec<OwnedFd>,
) -> Result<(i32, OwnedFd), Reply> {
    let (map, request): (DescriptorMap, ForkRequest<'_>) =
        postcard::from_bytes(bytes).map_err(|e| Reply::Misunderstood(format!("request: {e}")))?;
    let handed = sort(&map, fds).ok_or_else(|| Reply::Misunderstood("descriptors are missing".into()))?;

    // A pid namespace is joined by the parent: it takes effect on children only (setns(2)).
    if let Some(pids) = &handed.join_pid {
        enter_pid_namespace(pids.as_fd())?;
    }
    let namespaces = jail::clone_flags(&request.confinement);
    let (cgroup, note) = (handed.cgroup_v2.as_ref().map(AsFd::as_fd), notebook.line(map.number));
    // SAFETY: the zygote starts no thread.
    let side = unsafe { jail::fork_sibling(namespaces, cgroup, Some(note)) };
    match side {
        Ok(jail::Side::Child) => container::run(warm, &request, handed),
        Ok(jail::Side::Parent(pid, pidfd)) => {
            if handed.join_pid.is_some() {
                enter_pid_namespace(own_pids)?;
            }
            Ok((pid, pidfd))
        }
        Err(e) => {
            if handed.join_pid.is_some() {
                enter_pid_namespace(own_pids)?;
            }
            Err(Reply::Refused(e.raw_os_error().unwrap_or(libc::EIO)))
        }
    }
}

fn enter_pid_namespace(namespace: BorrowedFd<'_>) -> Result<(), Reply> {
    rustix::thread::move_into_link_name_space(namespace, Some(rustix::thread::LinkNameSpaceType::ProcessID))
        .map_err(|e| Reply::Refused(e.raw_os_error()))
}

fn sort(map: &DescriptorMap, fds: Vec<OwnedFd>) -> Option<Handed> {
    let mut fds = VecDeque::from(fds);
    let gate = fds.pop_front()?;
    let stdio = [fds.pop_front()?, fds.pop_front()?, fds.pop_front()?];
    let module = if map.module { Some(fds.pop_front()?) } else { None };
    let image = if map.image { Some(fds.pop_front()?) } else { None };
    let code = if map.code { Some(fds.pop_front()?) } else { None };
    let output = if map.output { Some(fds.pop_front()?) } else { None };
    let root = if map.root { Some(fds.pop_front()?) } else { None };
    let mounts = take(&mut fds, map.mounts.into())?;
    let mut join = Vec::with_capacity(map.join.len());
    let mut join_pid = None;
    for kind in &map.join {
        match kind {
            NamespaceKind::Pid => join_pid = Some(fds.pop_front()?),
            kind => join.push((*kind, fds.pop_front()?)),
        }
    }
    let cgroup_procs = take(&mut fds, map.cgroup_procs.into())?;
    let cgroup_v2 = if map.cgroup_v2 { Some(fds.pop_front()?) } else { None };
    fds.is_empty().then_some(Handed {
        gate,
        stdio,
        module,
        image,
        code,
        output,
        jail: Descriptors { root, mounts, join, cgroup_procs },
        join_pid,
        cgroup_v2,
    })
}

fn take(fds: &mut VecDeque<OwnedFd>, count: usize) -> Option<Vec<OwnedFd>> {
    (fds.len() >= count).then(|| fds.drain(..count).collect())
}
