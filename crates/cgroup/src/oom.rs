//! Noticing that the kernel killed for want of memory, for all containers at once.

mod eventfd;
mod inotify;

use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Cgroup, Controller, Error, Host, Result, Version, file};
use eventfd::EventFds;

/// Watches the OOM killer in any number of cgroups, by one descriptor.
///
/// Owned by the server and shared between its threads; no call blocks. The descriptor is readable when
/// [`OomWatcher::drain`] has something to look at. `Id` is what a caller knows its containers by.
#[derive(Debug)]
pub struct OomWatcher<Id> {
    /// v1: an epoll over eventfds. v2: an inotify instance.
    descriptor: OwnedFd,
    /// Held for a few system calls at a time.
    watched: Mutex<Watched<Id>>,
}

#[derive(Debug)]
struct Watched<Id> {
    /// v1 only.
    eventfds: Option<EventFds>,
    /// By what the kernel's signals carry.
    by_token: HashMap<u64, Watch<Id>>,
    tokens: HashMap<Id, u64>,
}

#[derive(Debug)]
struct Watch<Id> {
    id: Id,
    /// The file with the `oom_kill` counter.
    counter: PathBuf,
    /// Its value when it was last reported.
    seen: u64,
}

/// What has been signalled.
#[derive(Debug, Default)]
struct Signalled {
    /// Sorted, each once.
    tokens: Vec<u64>,
    /// The kernel lost some: anything may have happened.
    overflow: bool,
}

impl<Id: Clone + Eq + Hash> OomWatcher<Id> {
    /// A watcher for the version in force.
    ///
    /// # Errors
    /// [`Error::Io`] if the process or the user may have no more descriptors or inotify instances.
    pub fn new(host: &Host) -> Result<Self> {
        let (descriptor, eventfds) = match host.version() {
            Version::V1 => EventFds::new().map(|(epoll, eventfds)| (epoll, Some(eventfds)))?,
            Version::V2 => (inotify::new()?, None),
        };
        let watched = Watched { eventfds, by_token: HashMap::new(), tokens: HashMap::new() };
        Ok(Self { descriptor, watched: Mutex::new(watched) })
    }

    /// Begins to watch a cgroup, best before anything runs in it: earlier kills are not reported. An id that
    /// is already watched moves to this cgroup.
    ///
    /// # Errors
    /// [`Error::Without`] if there is no memory controller, [`Error::Io`].
    pub fn watch(&self, id: Id, cgroup: &Cgroup) -> Result<()> {
        let without = Error::Without { action: "watch the OOM killer for", controller: Controller::Memory };
        let counter = cgroup.oom_file().ok_or(without)?;
        let mut watched = self.watched();
        watched.forget(&self.descriptor, &id);
        let token = match &mut watched.eventfds {
            Some(eventfds) => eventfds.add(&self.descriptor, &counter)?,
            None => inotify::add(&self.descriptor, &counter)?,
        };
        let watch = Watch { id: id.clone(), counter, seen: cgroup.oom_kills() };
        // v2: two ids for one cgroup have one watch in the kernel. The later one gets it.
        if let Some(before) = watched.by_token.insert(token, watch) {
            watched.tokens.remove(&before.id);
        }
        watched.tokens.insert(id, token);
        Ok(())
    }

    /// Stops watching. An unknown id is fine.
    pub fn unwatch(&self, id: &Id) {
        self.watched().forget(&self.descriptor, id);
    }

    /// The containers in which the kernel has killed since the last call, each once. To be called when the
    /// descriptor is readable.
    ///
    /// # Errors
    /// [`Error::Io`]: of the descriptor, not of a single cgroup.
    pub fn drain(&self) -> Result<Vec<Id>> {
        let mut guard = self.watched();
        let watched = &mut *guard;
        let signalled = match &mut watched.eventfds {
            Some(eventfds) => eventfds.take(&self.descriptor)?,
            None => inotify::take(&self.descriptor)?,
        };
        let tokens =
            if signalled.overflow { watched.by_token.keys().copied().collect() } else { signalled.tokens };
        let mut killed = Vec::new();
        for token in tokens {
            let Some(watch) = watched.by_token.get_mut(&token) else { continue };
            // The signal alone does not mean a kill: v1 gives it before one, and when the cgroup is removed;
            // v2 for every counter in the file.
            let count = file::read_if_there(&watch.counter).and_then(|text| file::keyed(&text, "oom_kill"));
            let grown = count.filter(|count| *count > watch.seen);
            if let Some(count) = grown {
                watch.seen = count;
                killed.push(watch.id.clone());
            }
            if let Some(eventfds) = &mut watched.eventfds {
                if grown.is_some() || count.is_none() {
                    eventfds.settled(token)
                } else {
                    eventfds.look_again(token)
                }
            }
        }
        Ok(killed)
    }

    /// Number of kills known of a watched container: as its cgroup counts them now, or, where that is gone (systemd
    /// removes a scope as soon as its last process has ended), as [`OomWatcher::drain`] has seen them. 0 for an
    /// unknown id.
    pub fn kills(&self, id: &Id) -> u64 {
        let watched = self.watched();
        let Some(watch) = watched.tokens.get(id).and_then(|token| watched.by_token.get(token)) else {
            return 0;
        };
        let now = file::read_if_there(&watch.counter).and_then(|text| file::keyed(&text, "oom_kill"));
        now.unwrap_or(0).max(watch.seen)
    }

    fn watched(&self) -> MutexGuard<'_, Watched<Id>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Id: Eq + Hash> Watched<Id> {
    fn forget(&mut self, descriptor: &OwnedFd, id: &Id) {
        let Some(token) = self.tokens.remove(id) else { return };
        self.by_token.remove(&token);
        match &mut self.eventfds {
            Some(eventfds) => eventfds.remove(token),
            None => inotify::remove(descriptor, token),
        }
    }
}

impl<Id> AsFd for OomWatcher<Id> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl<Id> AsRawFd for OomWatcher<Id> {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::testbed::{Bed, Child};
    use crate::{Limits, Memory, Path};

    /// Waits for the descriptor as the server does, and drains, until something is reported or the time is
    /// over.
    fn reported(watcher: &OomWatcher<u64>, limit: Duration) -> Vec<u64> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let mut poll = [rustix::event::PollFd::new(watcher, rustix::event::PollFlags::IN)];
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if rustix::event::poll(&mut poll, Some(&timeout)).unwrap() > 0 {
                let ids = watcher.drain().unwrap();
                if !ids.is_empty() {
                    return ids;
                }
            }
        }
        Vec::new()
    }

    #[test]
    fn an_oom_kill_is_reported_once_and_only_for_its_own_container() {
        let bed = Bed::new();
        let limits = Limits {
            memory: Memory { limit: Some(8 << 20), swap: Some(8 << 20), ..Memory::default() },
            ..Limits::default()
        };
        let hungry = bed.create("hungry", &limits);
        let other = bed.create("other", &limits);
        let watcher = OomWatcher::new(&bed.host).unwrap();
        watcher.watch(1, &hungry).unwrap();
        watcher.watch(2, &other).unwrap();
        assert_eq!(watcher.drain().unwrap(), []);

        let mut child = Child::enter(&hungry, || crate::testbed::touch(64 << 20));
        assert_eq!(reported(&watcher, Duration::from_secs(5)), [1]);
        assert_eq!(child.wait_signal(), Some(libc::SIGKILL));
        assert!(hungry.oom_kills() >= 1);
        assert_eq!(other.oom_kills(), 0);
        assert_eq!(reported(&watcher, Duration::from_millis(100)), []);

        // A second one in the same container is reported again.
        Child::enter(&hungry, || crate::testbed::touch(64 << 20)).wait_signal();
        assert_eq!(reported(&watcher, Duration::from_secs(5)), [1]);

        // v1 signals the removal as well, which is no kill.
        hungry.remove().unwrap();
        other.remove().unwrap();
        assert_eq!(reported(&watcher, Duration::from_millis(100)), []);
        assert_eq!(hungry.oom_kills(), 0);
        // What was seen is remembered for as long as it is watched.
        assert_eq!((watcher.kills(&1), watcher.kills(&2)), (2, 0));
        watcher.unwatch(&1);
        assert_eq!(watcher.kills(&1), 0);
        watcher.unwatch(&1);
        watcher.unwatch(&2);
    }

    #[test]
    fn an_exhausted_limit_above_is_reported_for_the_container_that_was_hit() {
        let bed = Bed::new();
        let limits = Limits {
            memory: Memory { limit: Some(8 << 20), swap: Some(8 << 20), ..Memory::default() },
            ..Limits::default()
        };
        let pod = bed.create("pod", &limits);
        let hit = bed.create("pod/hit", &Limits::default());
        let spared = bed.create("pod/spared", &Limits::default());
        let watcher = OomWatcher::new(&bed.host).unwrap();
        watcher.watch(1, &hit).unwrap();
        watcher.watch(2, &spared).unwrap();
        let sleeper = Child::enter(&spared, crate::testbed::sleep);
        Child::enter(&hit, || crate::testbed::touch(64 << 20)).wait_signal();
        assert_eq!(reported(&watcher, Duration::from_secs(5)), [1]);
        assert_eq!(reported(&watcher, Duration::from_millis(100)), []);
        drop(sleeper);
        pod.remove().unwrap();
    }

    #[test]
    fn an_id_that_is_not_watched_any_more_is_not_reported() {
        let bed = Bed::new();
        let limits =
            Limits { memory: Memory { limit: Some(8 << 20), ..Memory::default() }, ..Limits::default() };
        let cgroup = bed.create("c", &limits);
        let watcher = OomWatcher::new(&bed.host).unwrap();
        watcher.watch(1, &cgroup).unwrap();
        watcher.unwatch(&1);
        Child::enter(&cgroup, || crate::testbed::touch(64 << 20)).wait_signal();
        assert_eq!(reported(&watcher, Duration::from_millis(100)), []);
        cgroup.remove().unwrap();
    }

    /// The file is a plain one: what is tested is inotify and the counting, not the kernel's events.
    #[test]
    fn v2_counters_in_a_plain_file_are_told_apart() {
        let tree = crate::testbed::Tree::new(&[
            ("c/memory.events", "low 0\noom 0\noom_kill 1\n"),
            ("c/cgroup.procs", ""),
        ]);
        let host = tree.host();
        let cgroup = Cgroup::open(&host, &Path::parse("/c").unwrap()).unwrap();
        let watcher = OomWatcher::new(&host).unwrap();
        watcher.watch(7, &cgroup).unwrap();
        tree.write("c/memory.events", "low 5\noom 1\noom_kill 1\n");
        assert_eq!(reported(&watcher, Duration::from_millis(100)), []);
        tree.write("c/memory.events", "low 5\noom 1\noom_kill 3\n");
        assert_eq!(reported(&watcher, Duration::from_secs(1)), [7]);
        assert_eq!(reported(&watcher, Duration::from_millis(50)), []);
    }
}
