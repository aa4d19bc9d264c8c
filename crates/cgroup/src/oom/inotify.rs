//! v2: the kernel reports a modification of `memory.events` whenever one of its counters has grown. One
//! inotify instance serves all cgroups; a token is a watch descriptor.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::Signalled;
use crate::{Error, Result};

pub(super) fn new() -> Result<OwnedFd> {
    let instance = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
    instance.map_err(|e| Error::io("make inotify instance for", "memory.events", e))
}

pub(super) fn add(instance: &OwnedFd, events: &Path) -> Result<u64> {
    let watch = inotify::add_watch(instance, events, WatchFlags::MODIFY)
        .map_err(|e| Error::io("watch", events, e))?;
    Ok(watch.cast_unsigned().into())
}

pub(super) fn remove(instance: &OwnedFd, token: u64) {
    if let Ok(watch) = i32::try_from(token) {
        // The kernel has dropped it by itself if the cgroup is gone.
        let _ = inotify::remove_watch(instance, watch);
    }
}

/// What was signalled since the last call.
pub(super) fn take(instance: &OwnedFd) -> Result<Signalled> {
    let mut signalled = Signalled::default();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(instance, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) => {
                signalled.overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                signalled.tokens.push(event.wd().cast_unsigned().into());
            }
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("read events of", "memory.events", errno)),
        }
    }
    signalled.tokens.sort_unstable();
    signalled.tokens.dedup();
    Ok(signalled)
}
