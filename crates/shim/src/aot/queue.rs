//! What is to be compiled: one module at a time and tier, each at most once.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::aot::{Key, Tier};

use super::Shared;
use super::compiler::Failure;
use super::make::{Made, make};

/// More modules than a node has; what does not fit is ordered again with the next start.
const LONGEST: usize = 256;
/// After a failure that was not the module's, it is left alone so long.
const PAUSE: Duration = Duration::from_secs(60);

/// The queue and its threads: one per tier, so that minutes for one module at the top tier do not keep another from
/// getting any code at all.
#[derive(Debug)]
pub struct Queue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Names of keys that wait or are being compiled.
    present: Vec<String>,
    /// Until when a key is left alone.
    paused: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Job {
    key: Key,
    contents: File,
    segue: bool,
    /// Where the module is in its container, for the log.
    path: PathBuf,
}

impl Queue {
    /// Starts the threads. They end with the process, and so, by the kernel, do the compilers they have started.
    pub fn start(shared: &Arc<Shared>) -> Queue {
        let queue = Queue(Arc::default());
        for tier in Tier::ALL {
            let (inner, shared) = (Arc::clone(&queue.0), Arc::clone(shared));
            let thread =
                std::thread::Builder::new().name(format!("aot-{}", tier.name())).stack_size(256 << 10);
            if let Err(e) = thread.spawn(move || inner.work(tier, &shared)) {
                log::error!("start a thread for the AOT compiler: {e}");
            }
        }
        queue
    }

    /// Whether a key waits or is being compiled.
    pub fn has(&self, key: &Key) -> bool {
        self.0.lock().present.iter().any(|name| name == key.name())
    }

    /// Whether there is anything to do.
    pub fn is_busy(&self) -> bool {
        !self.0.lock().present.is_empty()
    }

    /// Waits until there is nothing to do.
    pub fn wait_until_done(&self) {
        let busy = |state: &mut State| !state.present.is_empty();
        drop(self.0.changed.wait_while(self.0.lock(), busy));
    }

    /// Adds a module; false if it is not taken now.
    pub fn add(&self, key: Key, contents: File, segue: bool, path: PathBuf) -> bool {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.paused.retain(|_, until| *until > now);
        if state.paused.contains_key(key.name()) || state.waiting.len() >= LONGEST {
            return false;
        }
        // Two containers may have come here at once.
        if !state.present.iter().any(|name| name == key.name()) {
            state.present.push(key.name().to_owned());
            state.waiting.push_back(Job { key, contents, segue, path });
            self.0.changed.notify_all();
        }
        true
    }

    /// Waits until a key is done with, or the deadline.
    pub fn wait(&self, key: &Key, deadline: Instant) {
        let mut state = self.0.lock();
        while state.present.iter().any(|name| name == key.name()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, tier: Tier, shared: &Shared) {
        loop {
            let job = self.next(tier);
            // A panic costs this module its code, and nobody else.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compile(shared, &job)));
            let mut state = self.lock();
            state.present.retain(|name| name != job.key.name());
            if !matches!(done, Ok(true)) {
                state.paused.insert(job.key.name().to_owned(), Instant::now() + PAUSE);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn next(&self, tier: Tier) -> Job {
        let mut state = self.lock();
        loop {
            let next = state.waiting.iter().position(|job| job.key.tier() == tier);
            if let Some(job) = next.and_then(|next| state.waiting.remove(next)) {
                return job;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// False if it should be tried again some time.
fn compile(shared: &Shared, job: &Job) -> bool {
    let Job { key, contents, segue, path } = job;
    let Some(compiler) = shared.compiler.as_ref().filter(|_| !shared.broken.load(Ordering::Relaxed)) else {
        return false;
    };
    if let Err(why) = compiler.check() {
        log::warn!("modules without compiled code run interpreted: {why}");
        shared.broken.store(true, Ordering::Relaxed);
        return false;
    }
    let start = Instant::now();
    let outcome = make(&shared.cache, compiler, key, *segue, contents);
    let (tier, took) = (key.tier().name(), start.elapsed());
    match outcome {
        Ok(Made::There(_) | Made::GivenUp(_)) => true,
        Ok(Made::Code(code)) => {
            log::info!("{path:?} is compiled (tier {tier}, {} bytes, {took:.1?})", code.size);
            true
        }
        Err(Failure::Module(why)) => {
            log::warn!("{path:?} cannot be compiled (tier {tier}) and is left alone: {why}");
            true
        }
        Err(Failure::Machine(why)) => {
            log::warn!("{path:?} is not compiled now (tier {tier}): {why}");
            false
        }
    }
}
