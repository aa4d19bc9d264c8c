//! The process that runs a guest up to its ready point and writes what it is then: as confined as its container, in a
//! cgroup beside it with the same limits, and over when the image is written.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cgroup::Cgroup;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use zygote::{ForkDescriptors, ForkRequest, Forked};

use super::launch::entry_descriptors;
use super::templates::InUse;
use super::warm_root::WarmRoot;
use super::warm_start::WarmStart;
use crate::emptied::Emptied;
use crate::exit::Exit;
use crate::server::Server;

/// How long a guest may take to be ready. An interpreter written for another decade takes seconds, interpreted.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes moved at once.
const PIECE: usize = 1 << 20;

/// Writes the guest at its ready point to the empty file `image`, and returns the file's size in bytes. The image comes
/// through a pipe: who writes to memory is charged for it, and the cgroup of this process is soon gone.
///
/// # Errors
/// In words, for the log. Nothing is left either way.
pub fn build(
    server: &Server,
    start: &WarmStart<'_>,
    request: &ForkRequest<'_>,
    cold: &InUse,
    image: &File,
) -> Result<u64, String> {
    let deadline = Instant::now() + PATIENCE;
    let root = WarmRoot::new(server.place.directory(), start)?;
    let cgroup =
        Cgroup::plan(&server.cgroups, &start.cgroup).and_then(|place| place.make(&start.plan.limits));
    let cgroup =
        Emptied { cgroup: cgroup.map_err(|e| e.to_string())?, of: "a guest on its way to its ready point" };
    let streams = Streams::new()?;
    let (pipe, far_pipe) = pipe("the image")?;
    // Fewer turns; it works without.
    let _ = fcntl_setpipe_size(&pipe, PIECE);
    let entry = cgroup.cgroup.entry().map_err(|e| e.to_string())?;
    let (cgroup_procs, cgroup_v2) = entry_descriptors(&entry);
    let descriptors = ForkDescriptors {
        image: Some(cold.image()),
        output: Some(far_pipe.as_fd()),
        root: Some(root.root()),
        mounts: root.mounts(),
        cgroup_procs,
        cgroup_v2,
        ..ForkDescriptors::new(streams.guest_ends())
    };
    let process = Ended(cold.fork(request, &descriptors).map_err(|e| e.to_string())?);
    drop(descriptors);
    drop(far_pipe);
    cgroup.cgroup.adopt(process.0.pid, &start.plan.limits).map_err(|e| e.to_string())?;

    let received = receive(pipe.as_fd(), image, server.config.templates_memory, deadline);
    // It has said its last word, or is made to.
    let said = received.is_ok().then(|| process.0.gate.wait_ready(PATIENCE));
    drop(process);
    let killed = cgroup.cgroup.oom_kills() > 0;
    match said {
        Some(Ok(_)) => streams.check()?,
        Some(Err(zygote::Error::Container(why))) => return Err(why),
        _ if killed => return Err("being ready takes more than its memory limit".to_owned()),
        Some(Err(why)) => return Err(why.to_string()),
        None => {}
    }
    received
}

/// Copies what comes to the file.
fn receive(pipe: BorrowedFd<'_>, image: &File, most: u64, deadline: Instant) -> Result<u64, String> {
    let mut bytes = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(format!("it was not ready after {PATIENCE:?}")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(format!("wait for its image: {e}")),
        }
        match splice(pipe, None, image, None, PIECE, SpliceFlags::NONBLOCK) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes += count as u64,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(e) => return Err(format!("receive its image: {e}")),
        }
        if bytes > most {
            return Err(format!("its image has more than the {most} bytes of templates_memory"));
        }
    }
}

/// What the guest reads and writes, of which it may do neither: a copy could not get what is read, and nobody what is
/// written. Pipes, as containers have, with a byte to read in the first.
struct Streams([(OwnedFd, OwnedFd); 3]);

impl Streams {
    fn new() -> Result<Streams, String> {
        let streams = [pipe("standard input")?, pipe("standard output")?, pipe("standard error")?];
        retry_on_intr(|| rustix::io::write(&streams[0].1, b"\n")).map_err(|e| format!("fill a pipe: {e}"))?;
        Ok(Streams(streams))
    }

    fn guest_ends(&self) -> [BorrowedFd<'_>; 3] {
        let [(stdin, _), (_, stdout), (_, stderr)] = &self.0;
        [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]
    }

    /// Once the guest is over.
    fn check(&self) -> Result<(), String> {
        let [stdin, stdout, stderr] = self.0.each_ref().map(|(end, _)| ioctl_fionread(end));
        match (stdin, stdout, stderr) {
            (Ok(1), Ok(0), Ok(0)) => Ok(()),
            (Ok(0), ..) => Err("it read its standard input before it was ready".to_owned()),
            (Err(e), ..) | (_, Err(e), _) | (.., Err(e)) => Err(format!("look at its streams: {e}")),
            _ => Err("it wrote to its standard output or error before it was ready".to_owned()),
        }
    }
}

/// Its end to read from, then the other one.
fn pipe(what: &str) -> Result<(OwnedFd, OwnedFd), String> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("make a pipe for {what}: {e}"))
}

/// Killed and reaped when dropped.
struct Ended(Forked);

impl Drop for Ended {
    fn drop(&mut self) {
        Exit::force(self.0.pidfd.as_fd());
    }
}
