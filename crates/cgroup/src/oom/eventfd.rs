//! v1: an eventfd per cgroup, registered through `cgroup.event_control` (kernel `cgroup-v1/memory.rst`, "OOM
//! Control").
//!
//! The kernel signals when memory has run out, **before** it picks a victim, kills it and counts. So a signal
//! whose counter has not moved is looked at again a little later, by a timer in the same epoll.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};

use super::Signalled;
use crate::{Error, Result, file};

/// The timer's token. Those of cgroups count up from 1.
const TIMER: u64 = 0;
/// Nanoseconds until the first second look; twice as long for every further one.
const FIRST_LOOK: i64 = 1_000_000;
/// Number of looks, about two seconds in all. Then nobody was killed: memory was freed in time.
const LOOKS: u32 = 11;

/// The eventfds and the timer, all in the epoll that is the watcher's descriptor.
#[derive(Debug)]
pub(super) struct EventFds {
    timer: OwnedFd,
    registered: HashMap<u64, OwnedFd>,
    last: u64,
    /// Those signalled but not counted yet, with the number of looks at them.
    unsettled: HashMap<u64, u32>,
}

impl EventFds {
    /// Gives the epoll as well.
    pub(super) fn new() -> Result<(OwnedFd, Self)> {
        let failed = |e: Errno| Error::io("make descriptors to watch", "memory.oom_control", e);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).map_err(failed)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN).map_err(failed)?;
        Ok((epoll, Self { timer, registered: HashMap::new(), last: TIMER, unsettled: HashMap::new() }))
    }

    /// Registers; costs one descriptor for as long as it is watched.
    pub(super) fn add(&mut self, epoll: &OwnedFd, oom_control: &Path) -> Result<u64> {
        let failed = |e: Errno| Error::io("watch", oom_control, e);
        let event =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let control =
            rustix::fs::open(oom_control, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        file::write(&oom_control.with_file_name("cgroup.event_control"), &line).map_err(failed)?;
        let token = self.last + 1;
        epoll::add(epoll, &event, EventData::new_u64(token), EventFlags::IN).map_err(failed)?;
        self.registered.insert(token, event);
        self.last = token;
        Ok(token)
    }

    /// Closing the eventfd ends the registration and takes it out of the epoll.
    pub(super) fn remove(&mut self, token: u64) {
        self.registered.remove(&token);
        self.unsettled.remove(&token);
    }

    /// What was signalled since the last call, and what is due for another look.
    pub(super) fn take(&mut self, epoll: &OwnedFd) -> Result<Signalled> {
        let mut signalled = Signalled::default();
        let mut events = Vec::with_capacity(64);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        loop {
            match epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), Some(&at_once)) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(Error::io("read events of", "memory.oom_control", errno)),
            }
            for event in events.drain(..) {
                let token = event.data.u64();
                let mut count = [0; 8];
                // Reading resets the timer or the eventfd; if it has nothing, it is reset already.
                if token == TIMER {
                    let _ = rustix::io::read(&self.timer, &mut count);
                    signalled.tokens.extend(self.unsettled.keys());
                } else if let Some(eventfd) = self.registered.get(&token) {
                    let _ = rustix::io::read(eventfd, &mut count);
                    signalled.tokens.push(token);
                }
            }
        }
        signalled.tokens.sort_unstable();
        signalled.tokens.dedup();
        Ok(signalled)
    }

    /// No further look is needed: the kill has been counted, or the cgroup is gone.
    pub(super) fn settled(&mut self, token: u64) {
        self.unsettled.remove(&token);
    }

    /// Nothing has been counted yet.
    pub(super) fn look_again(&mut self, token: u64) {
        let looks = self.unsettled.entry(token).or_default();
        *looks += 1;
        if *looks > LOOKS {
            self.unsettled.remove(&token);
            return;
        }
        // The shortest wait that any of them has: a look too many at another is harmless.
        let shift = self.unsettled.values().min().map_or(0, |looks| looks - 1);
        let value = Timespec { tv_sec: 0, tv_nsec: (FIRST_LOOK << shift).min(999_999_999) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        if let Err(errno) = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once) {
            log::warn!("an OOM kill may be reported late: {errno}");
        }
    }
}
