//! Templates: what a module is once it is loaded and instantiated, as a sealed file that all its containers map
//! copy-on-write. Made on first use by a confined process that ends then, so no process is kept for them.
//!
//! The server never looks into such a file: what loading a stranger's module leaves behind is that module's
//! business, in processes that run that module.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::aot::Tier;
use image::Digest;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tokio::sync::Notify;
use zygote::{Forked, Zygote};

use crate::config::Config;
use crate::server::Server;

/// A module of which no template could be made is loaded by each of its containers for so long.
const REFUSED: Duration = Duration::from_secs(300);
/// How long one is kept that no container uses and of which there is a better tier: the next container that may run
/// compiled takes that one, and one that may not can make it again.
const REPLACED: Duration = Duration::from_secs(10);
/// Most templates kept that no container uses.
const UNUSED: usize = 64;

/// What tells one template from another: all that is baked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The module's bytes.
    pub module: Digest,
    /// That of its compiled code; `None` for the interpreter.
    pub tier: Option<Tier>,
    /// Operand stack in bytes.
    pub stack_size: u32,
    /// Of a guest at its ready point: all that it was started with, and what it could see.
    pub warm: Option<Digest>,
}

impl Key {
    fn of_any_tier(self) -> Key {
        Key { tier: None, ..self }
    }
}

/// All templates of the server. Shared by the threads that make containers and the task that drops what is idle.
#[derive(Debug)]
pub struct Templates {
    /// Most bytes of templates that no container uses; 0 turns templates off.
    most_bytes: u64,
    /// How long one is kept that no container uses.
    idle: Duration,
    slots: Mutex<HashMap<Key, Arc<Mutex<Slot>>>>,
    /// Told whenever something may have to be dropped, or dropped at another time.
    changed: Arc<Notify>,
}

/// Locked while its template is made, so of many containers that start at once one makes it and the others wait.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// Could not be made from this zygote.
    Refused {
        zygote: Arc<Zygote>,
        until: Instant,
    },
    Ready(Arc<Template>),
}

/// One template. Its memory is the kernel's as long as this, or a process that maps it, lives.
#[derive(Debug)]
struct Template {
    image: File,
    bytes: u64,
    tier: Option<Tier>,
    warm: bool,
    /// Where its compiled code is, if not in the image.
    code: Option<InUse>,
    /// Addresses hold in children of this one only.
    zygote: Arc<Zygote>,
    /// A container of it stood before its guest's first instruction.
    proven: AtomicBool,
    users: AtomicUsize,
    last_used: Mutex<Instant>,
    changed: Arc<Notify>,
}

/// A template in use. Held for as long as a process that maps it lives.
#[derive(Debug)]
pub struct InUse(Arc<Template>);

impl Templates {
    /// None yet.
    pub fn new(config: &Config) -> Templates {
        Templates {
            most_bytes: config.templates_memory,
            idle: Duration::from_secs(config.template_idle),
            slots: Mutex::default(),
            changed: Arc::default(),
        }
    }

    /// A template, with its compiled code in `code` if not in itself; if there is none, `make` writes one to the empty file it is given, by a child of the zygote it is given,
    /// and returns its size in bytes. Blocks while it is made, by this caller or another one. `None` when there is to be none
    /// or it cannot be made: the container then does without, and says what is wrong with its module if something is. `name`
    /// is for the log.
    pub fn get(
        &self,
        server: &Server,
        key: Key,
        name: &Path,
        code: Option<InUse>,
        make: impl FnOnce(&Arc<Zygote>, &File) -> Result<u64, String>,
    ) -> Option<InUse> {
        if self.most_bytes == 0 {
            return None;
        }
        let slot = Arc::clone(self.slots().entry(key).or_default());
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let zygote = server.zygote.present();
        match &*slot {
            Slot::Ready(template) if Arc::ptr_eq(&template.zygote, &zygote) => {
                return Some(InUse::new(template));
            }
            Slot::Refused { zygote: by, until } if Arc::ptr_eq(by, &zygote) && Instant::now() < *until => {
                return None;
            }
            _ => {}
        }
        let template = self.make(&zygote, key, name, code, make);
        *slot = match &template {
            Some(template) => Slot::Ready(Arc::clone(template)),
            None => Slot::Refused { zygote, until: Instant::now() + REFUSED },
        };
        let in_use = template.as_ref().map(InUse::new);
        self.changed.notify_one();
        in_use
    }

    /// A template that is there, once whoever makes it now is done.
    pub fn made(&self, server: &Server, key: &Key) -> Option<InUse> {
        let slot = Arc::clone(self.slots().get(key)?);
        match &*lock(&slot) {
            Slot::Ready(template) if Arc::ptr_eq(&template.zygote, &server.zygote.present()) => {
                Some(InUse::new(template))
            }
            _ => None,
        }
    }

    fn make(
        &self,
        zygote: &Arc<Zygote>,
        key: Key,
        name: &Path,
        code: Option<InUse>,
        make: impl FnOnce(&Arc<Zygote>, &File) -> Result<u64, String>,
    ) -> Option<Arc<Template>> {
        let started = Instant::now();
        let (name, tier) = (name.display(), key.tier.map_or("interpreted", Tier::name));
        let kind = if key.warm.is_some() { "warm template" } else { "template" };
        let made = image_file().and_then(|image| {
            let bytes = make(zygote, &image)?;
            // The builder is dead: nobody else can write to it, and from here on nobody can at all.
            let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            fcntl_add_seals(&image, seals).map_err(|e| format!("seal it: {e}"))?;
            Ok((image, bytes))
        });
        match made {
            Ok((image, bytes)) => {
                log::info!(
                    "{kind} of {name} ({tier}, {:?}): {bytes} bytes in {:?}",
                    key.module,
                    started.elapsed()
                );
                Some(Arc::new(Template {
                    image,
                    bytes,
                    tier: key.tier,
                    warm: key.warm.is_some(),
                    code,
                    zygote: Arc::clone(zygote),
                    proven: AtomicBool::new(false),
                    users: AtomicUsize::new(0),
                    last_used: Mutex::new(Instant::now()),
                    changed: Arc::clone(&self.changed),
                }))
            }
            // Somebody asked for it.
            Err(why) if key.warm.is_some() => {
                log::warn!("{name} is not started warm: {why}");
                None
            }
            Err(why) => {
                log::info!("no template of {name} ({tier}, {:?}): {why}", key.module);
                None
            }
        }
    }

    /// Drops what nobody needs. Returns when the next one is due.
    fn drop_idle(&self, server: &Server) -> Option<Instant> {
        let zygote = server.zygote.present();
        self.forget_refusals();
        // When each is due.
        let mut unused: Vec<(Instant, Key, Arc<Template>)> = Vec::new();
        let ready = self.ready();
        let best = best_tiers(&ready);
        for (key, template) in ready {
            // Of no use: its zygote is gone, or its module loads and cannot be run.
            let useless = !Arc::ptr_eq(&template.zygote, &zygote) || !template.proven.load(Ordering::Relaxed);
            if useless {
                self.remove(&key, &template);
            } else if template.users.load(Ordering::Acquire) == 0 {
                let replaced = best.get(&key.of_any_tier()).is_some_and(|best| key.tier < *best);
                let idle = if replaced { self.idle.min(REPLACED) } else { self.idle };
                let due = *lock(&template.last_used) + idle;
                unused.push((due, key, template));
            }
        }
        unused.sort_unstable_by_key(|(due, ..)| *due);
        let mut bytes: u64 = unused.iter().map(|(_, _, template)| template.bytes).sum();
        let mut left = unused.len();
        for (due, key, template) in &unused {
            if *due > Instant::now() && bytes <= self.most_bytes && left <= UNUSED {
                return Some(*due);
            }
            self.remove(key, template);
            bytes = bytes.saturating_sub(template.bytes);
            left -= 1;
        }
        None
    }

    /// Forgets a template that no container began to use meanwhile.
    fn remove(&self, key: &Key, template: &Arc<Template>) {
        let mut slots = self.slots();
        let Some(slot) = slots.get(key) else { return };
        // One that is locked is being made anew.
        let Ok(found) = slot.try_lock() else { return };
        let same = matches!(&*found, Slot::Ready(ready) if Arc::ptr_eq(ready, template));
        let unused = template.users.load(Ordering::Acquire) == 0;
        drop(found);
        if same && unused {
            slots.remove(key);
        }
    }

    /// What may be tried again is as good as what was never tried.
    fn forget_refusals(&self) {
        self.slots().retain(|_, slot| match slot.try_lock().as_deref() {
            Ok(Slot::Refused { until, .. }) => Instant::now() < *until,
            _ => true,
        });
    }

    fn ready(&self) -> Vec<(Key, Arc<Template>)> {
        let slots = self.slots();
        let ready = slots.iter().filter_map(|(key, slot)| match &*slot.try_lock().ok()? {
            Slot::Ready(template) => Some((*key, Arc::clone(template))),
            _ => None,
        });
        ready.collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Arc<Mutex<Slot>>>> {
        lock(&self.slots)
    }
}

impl InUse {
    fn new(template: &Arc<Template>) -> InUse {
        template.users.fetch_add(1, Ordering::AcqRel);
        InUse(Arc::clone(template))
    }

    /// Of the compiled code in it, which its containers are to run; `None` if they are to be interpreted.
    pub fn tier(&self) -> Option<Tier> {
        self.0.tier
    }

    /// Whether it is of a guest at its ready point.
    pub fn is_warm(&self) -> bool {
        self.0.warm
    }

    /// Whether its containers are children of this zygote.
    pub fn is_of(&self, zygote: &Arc<Zygote>) -> bool {
        Arc::ptr_eq(&self.0.zygote, zygote)
    }

    /// The same once more.
    pub fn again(&self) -> InUse {
        InUse::new(&self.0)
    }

    /// The file with the compiled code of that to map, if it is another one.
    pub fn code(&self) -> Option<BorrowedFd<'_>> {
        self.0.code.as_ref().map(InUse::image)
    }

    /// The file to map.
    pub fn image(&self) -> BorrowedFd<'_> {
        self.0.image.as_fd()
    }

    /// Says that a container of it is ready: it is worth being kept.
    pub fn proven(&self) {
        self.0.proven.store(true, Ordering::Relaxed);
    }

    /// Forks from the zygote that the template was made by.
    ///
    /// # Errors
    /// Those of [`Zygote::fork`]; with [`zygote::Error::Gone`] the template is of no use any more.
    pub fn fork(
        &self,
        request: &zygote::ForkRequest<'_>,
        descriptors: &zygote::ForkDescriptors<'_>,
    ) -> zygote::Result<Forked> {
        self.0.zygote.fork(request, descriptors)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *lock(&self.0.last_used) = Instant::now();
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// Drops templates when their time has come, as long as the server lives.
pub async fn drop_idle(server: Arc<Server>) {
    loop {
        let changed = server.templates.changed.notified();
        match server.templates.drop_idle(&server) {
            Some(due) => drop(tokio::time::timeout_at(due.into(), changed).await),
            None => changed.await,
        }
    }
}

/// The best of the tiers of which containers run, by key of any tier.
fn best_tiers(ready: &[(Key, Arc<Template>)]) -> HashMap<Key, Option<Tier>> {
    let mut best: HashMap<Key, Option<Tier>> = HashMap::new();
    for (key, template) in ready {
        if template.proven.load(Ordering::Relaxed) {
            let best = best.entry(key.of_any_tier()).or_default();
            *best = key.tier.max(*best);
        }
    }
    best
}

fn image_file() -> Result<File, String> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    memfd_create("wamr-template", flags).map(File::from).map_err(|e| format!("make a file in memory: {e}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
