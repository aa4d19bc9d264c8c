//! Pods as containerd's Sandbox API has them (`containerd.runtime.sandbox.v1`): a sandbox without a pause container,
//! a pause image or, but for a shared pid namespace, a process.

mod files;
mod join;
mod namespaces;
mod pod;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::namespaces::Held;
pub use self::pod::Pod;
use crate::container::{self, Process};
use crate::error::{Error, Result};
use crate::exit::{Exit, Instant};
use crate::server::Server;

/// One pod.
#[derive(Debug)]
pub struct Sandbox {
    /// Its id within the containerd namespace.
    pub id: String,
    /// Its settings.
    pub pod: Pod,
    bundle: PathBuf,
    netns: Option<PathBuf>,
    state: Mutex<State>,
    ended: watch::Sender<Option<Exit>>,
}

/// Where a sandbox stands.
#[derive(Debug)]
enum State {
    Created,
    Ready { since: Instant, held: Arc<Held> },
    Stopped { since: Option<Instant>, exit: Exit },
}

/// What `SandboxStatus` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Whether containers can be made in it.
    pub ready: bool,
    /// See [`Sandbox::pid`].
    pub pid: u32,
    /// When it was started.
    pub since: Option<Instant>,
    /// When and how it ended.
    pub exit: Option<Exit>,
}

/// All sandboxes of a server.
#[derive(Debug, Default)]
pub struct Sandboxes(Mutex<HashMap<String, Arc<Sandbox>>>);

impl Sandboxes {
    /// Adds one; it is not started.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Invalid`] for what a pod of wasm containers cannot have.
    pub fn create(&self, id: &str, bundle: PathBuf, netns: &str, pod: Pod) -> Result<()> {
        if pod.user_namespace {
            return Err(Error::Invalid(
                "user namespaces are not supported: run the pod without them (hostUsers: true)".to_owned(),
            ));
        }
        let sandbox = Sandbox {
            id: id.to_owned(),
            pod,
            bundle,
            netns: Some(netns).filter(|path| !path.is_empty()).map(PathBuf::from),
            state: Mutex::new(State::Created),
            ended: watch::Sender::new(None),
        };
        match self.lock().entry(id.to_owned()) {
            Entry::Occupied(_) => Err(Error::Exists(format!("sandbox {id:?} exists already"))),
            Entry::Vacant(free) => {
                free.insert(Arc::new(sandbox));
                Ok(())
            }
        }
    }

    /// Finds one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = self.lock().get(id).cloned();
        found.ok_or_else(|| Error::NotFound(format!("sandbox {id:?} not found")))
    }

    /// Takes one out.
    pub fn remove(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.lock().remove(id)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Sandbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sandbox {
    /// Makes the pod's namespaces and files.
    ///
    /// # Errors
    /// [`Error::State`] unless it is new; in words what could not be made.
    pub async fn start(self: &Arc<Self>, server: &Arc<Server>) -> Result<Status> {
        let (this, of_server) = (Arc::clone(self), Arc::clone(server));
        let holder = container::blocking(move || this.make(&of_server)).await?;
        if let Some(holder) = holder {
            tokio::spawn(watch_holder(Arc::clone(self), holder));
        }
        Ok(self.status())
    }

    fn make(&self, server: &Server) -> Result<Option<Arc<Process>>> {
        let mut state = self.lock();
        if !matches!(*state, State::Created) {
            return Err(Error::State(format!("sandbox {:?} was started before", self.id)));
        }
        files::write(&self.bundle, &self.pod, &self.hostname())?;
        let held = Held::new(server, &self.id, &self.pod, self.netns.as_deref())?;
        let holder = held.holder.clone();
        *state = State::Ready { since: Instant::now(), held: Arc::new(held) };
        Ok(holder)
    }

    /// Ends it: its namespaces go with the last container in them. Again: nothing.
    pub fn stop(&self) {
        self.end(Exit { status: 0, at: Instant::now() });
    }

    fn end(&self, exit: Exit) {
        let mut state = self.lock();
        let since = match &*state {
            State::Stopped { .. } => return,
            State::Ready { since, held } => {
                if let Some(holder) = &held.holder {
                    // Fails only if it has ended already.
                    let _ = holder.kill(9);
                }
                Some(*since)
            }
            State::Created => None,
        };
        *state = State::Stopped { since, exit };
        drop(state);
        self.ended.send_replace(Some(exit));
    }

    /// Waits for its end.
    pub async fn wait(&self) -> Exit {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(exit) = *ended.borrow_and_update() {
                return exit;
            }
            if ended.changed().await.is_err() {
                return Exit::unseen();
            }
        }
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        let state = self.lock();
        let (ready, since, exit) = match &*state {
            State::Created => (false, None, None),
            State::Ready { since, .. } => (true, Some(*since), None),
            State::Stopped { since, exit } => (false, *since, Some(*exit)),
        };
        let holder = match &*state {
            State::Ready { held, .. } => held.holder.as_ref(),
            _ => None,
        };
        // containerd writes this number into the specs of the pod's containers, as /proc/<pid>/ns/<kind>. Those
        // are replaced by what the pod holds (`join.rs`), so without a holder the server's own does.
        let pid = holder.map_or(std::process::id(), |holder| holder.pid as u32);
        Status { ready, pid, since, exit }
    }

    fn held(&self) -> Result<Arc<Held>> {
        match &*self.lock() {
            State::Ready { held, .. } => Ok(Arc::clone(held)),
            State::Created => Err(Error::State(format!("sandbox {:?} is not started", self.id))),
            State::Stopped { .. } => Err(Error::State(format!("sandbox {:?} has ended", self.id))),
        }
    }

    fn hostname(&self) -> String {
        if !self.pod.hostname.is_empty() && self.pod.network != pod::Mode::Node {
            return self.pod.hostname.clone();
        }
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pod ends with process 1 of its pid namespace.
async fn watch_holder(sandbox: Arc<Sandbox>, holder: Arc<Process>) {
    let exit = holder.reap().await;
    holder.record_end(exit, || {});
    sandbox.end(exit);
}
