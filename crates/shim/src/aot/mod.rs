//! Compiled code for containers: the best there is for a module, and better code in the making.
//!
//! The server never compiles and never loads code. It starts `wamr-aotc` for one module at a time ([`compiler`]), keeps
//! what comes back in the cache, and has a template made of it instead of the module. Without the compiler, or where the
//! cache cannot be trusted, containers run interpreted and the log says why, once.

mod compiler;
mod make;
mod queue;
mod wanted;

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ::aot::{Cache, Key, Target, Tier};
use image::{Digest, Module};

pub use self::compiler::{Compiler, Failure};
pub use self::make::{Made, contents, make};
use self::queue::Queue;
use self::wanted::{Known, wanted};
use crate::config::{AotMode, Config};

/// Modules whose starts are counted: far more than the images of a node.
const COUNTED: usize = 4096;

/// Compiled code, for all containers of a server. Shared by reference between its threads.
#[derive(Debug)]
pub struct Aot {
    /// Made for the first container that may use it; `None` if it cannot be had.
    works: OnceLock<Option<Works>>,
    cgroups: cgroup::Host,
    starts: Mutex<HashMap<Digest, u32>>,
}

#[derive(Debug)]
struct Works {
    shared: Arc<Shared>,
    target: Target,
    /// `None` without a compiler: code that is there already is used all the same.
    queue: Option<Queue>,
}

/// What the queue's threads share with the containers' calls.
#[derive(Debug)]
struct Shared {
    cache: Cache,
    compiler: Option<Compiler>,
    /// The compiler turned out to be of no use.
    broken: AtomicBool,
}

/// Code for one container.
#[derive(Debug)]
pub struct Code {
    /// The AOT file.
    pub file: File,
    /// What it is worth.
    pub tier: Tier,
}

impl Aot {
    /// Nothing is opened or started before a container needs it.
    pub fn new(cgroups: &cgroup::Host) -> Aot {
        Aot { works: OnceLock::new(), cgroups: cgroups.clone(), starts: Mutex::default() }
    }

    /// The best code for a module that is about to be started, and better code ordered if that pays. Blocks as long as
    /// it takes to look, and in mode eager until there is quick code or there will be none.
    pub fn code(&self, config: &Config, mode: AotMode, module: &Module) -> Option<Code> {
        if mode == AotMode::Off {
            return None;
        }
        let works = self.works.get_or_init(|| Works::new(config, &self.cgroups)).as_ref()?;
        let starts = self.count(module.digest);
        let found = works.best(module, |_| true);
        let ordered = works.order_wanted(module, found.as_ref(), starts);
        if found.is_some() || mode != AotMode::Eager || ordered != Some(Tier::Quick) {
            // Nobody waits for the top tier: it takes minutes.
            return found;
        }
        works.wait(module, Tier::Quick, config.aot_time.saturating_add(EAGER_SLACK));
        let found = works.best(module, |_| true);
        works.order_wanted(module, found.as_ref(), starts);
        found
    }

    /// The best code below a tier: for who cannot use that of the tier.
    pub fn code_below(&self, module: &Module, tier: Tier) -> Option<Code> {
        self.works.get()?.as_ref()?.best(module, |below| below < tier)
    }

    /// Whether something is being compiled, or waits for it.
    pub fn is_busy(&self) -> bool {
        self.queue().is_some_and(Queue::is_busy)
    }

    /// Blocks until nothing is.
    pub fn wait_until_done(&self) {
        if let Some(queue) = self.queue() {
            queue.wait_until_done();
        }
    }

    fn queue(&self) -> Option<&Queue> {
        self.works.get()?.as_ref()?.queue.as_ref()
    }

    fn count(&self, module: Digest) -> u32 {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.len() >= COUNTED && !starts.contains_key(&module) {
            // Those that are started often come back soon.
            starts.clear();
        }
        let count = starts.entry(module).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }
}

/// An eager container waits for the compile before its own, too.
const EAGER_SLACK: Duration = Duration::from_secs(30);

impl Works {
    fn new(config: &Config, cgroups: &cgroup::Host) -> Option<Works> {
        let interpreted = |why: &dyn std::fmt::Display| log::warn!("containers run interpreted: {why}");
        if config.templates_memory == 0 {
            interpreted(&"compiled code is run from templates, and templates_memory is 0");
            return None;
        }
        let cache =
            Cache::open(&config.aot_cache, config.aot_cache_size).map_err(|e| interpreted(&e)).ok()?;
        let target = Target::host().map_err(|e| interpreted(&format!("read /proc/cpuinfo: {e}"))).ok()?;
        if let Err(e) = cache.trim() {
            log::warn!("{e}");
        }
        let compiler = Compiler::find(config, cgroups)
            .map_err(|why| log::warn!("modules without compiled code run interpreted: {why}"))
            .ok();
        let compiles = compiler.is_some();
        let shared = Arc::new(Shared { cache, compiler, broken: AtomicBool::new(false) });
        let queue = compiles.then(|| Queue::start(&shared));
        Some(Works { shared, target, queue })
    }

    fn key(&self, module: &Module, tier: Tier) -> Key {
        Key::new(module.digest.as_bytes(), zygote::AOT_IDENTITY, &self.target, tier)
    }

    fn best(&self, module: &Module, wanted: impl Fn(Tier) -> bool) -> Option<Code> {
        Tier::ALL.into_iter().rev().filter(|tier| wanted(*tier)).find_map(|tier| {
            let found = self.shared.cache.find(&self.key(module, tier))?;
            Some(Code { file: found.file, tier })
        })
    }

    /// Has a module compiled at the tier that pays next, and says which; `found` is the best code there is.
    fn order_wanted(&self, module: &Module, found: Option<&Code>, starts: u32) -> Option<Tier> {
        let known = |tier| match found {
            // Better code counts for this tier, too: nothing is looked up then.
            Some(code) if code.tier >= tier => Known::Code,
            _ if self.shared.cache.failure(&self.key(module, tier)).is_some() => Known::Failed,
            _ => Known::Nothing,
        };
        let tier = wanted(known(Tier::Quick), known(Tier::Top), starts)?;
        self.order(module, tier).then_some(tier)
    }

    /// Has a module compiled. False if there is nothing to wait for.
    fn order(&self, module: &Module, tier: Tier) -> bool {
        let Some(queue) = self.queue.as_ref().filter(|_| !self.shared.broken.load(Ordering::Relaxed)) else {
            return false;
        };
        let key = self.key(module, tier);
        if queue.has(&key) {
            return true;
        }
        match contents(module) {
            Ok(contents) => queue.add(key, contents, tier.segue(&self.target), module.path.clone()),
            Err(why) => {
                log::warn!("{:?} is not compiled: {why}", module.path);
                false
            }
        }
    }

    fn wait(&self, module: &Module, tier: Tier, patience: Duration) {
        let Some(queue) = &self.queue else { return };
        queue.wait(&self.key(module, tier), Instant::now() + patience);
    }
}
