//! All containers of this server, and the question whether it is still needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::Container;
use crate::error::{Error, Result};

/// How long a `start` may take to be followed by its Create.
const RESERVATION: Duration = Duration::from_secs(60);

/// Shared by all calls.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// Told whenever something was removed.
    pub shrunk: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    slots: HashMap<String, Slot>,
    reserved: HashMap<String, Reservation>,
}

/// A Create that is to come. Given up: containerd deleted the container first, and its Create, overtaken on the way
/// by the Delete, must not make one that nobody knows of.
#[derive(Debug)]
struct Reservation {
    since: Instant,
    given_up: bool,
}

#[derive(Debug)]
enum Slot {
    /// A Create is on its way. Given up: containerd asked for its removal meanwhile. Whoever waits for it to be
    /// over sees the sender go.
    Creating {
        given_up: bool,
        over: watch::Sender<()>,
    },
    Live(Arc<Container>),
}

/// The right to add one container under an id nobody else can take meanwhile; given back when dropped.
#[derive(Debug)]
pub struct Claim<'r> {
    registry: &'r Registry,
    id: String,
    settled: bool,
}

impl Registry {
    /// `start` ran: a Create for this id will come.
    pub fn reserve(&self, id: &str) {
        let reservation = Reservation { since: Instant::now(), given_up: false };
        self.lock().reserved.insert(id.to_owned(), reservation);
    }

    /// Takes an id for a Create.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NotFound`] when it was deleted before.
    pub fn claim(&self, id: &str) -> Result<Claim<'_>> {
        let mut inner = self.lock();
        if inner.slots.contains_key(id) {
            return Err(Error::Exists(format!("container {id:?} exists already")));
        }
        if inner.reserved.remove(id).is_some_and(|reservation| reservation.given_up) {
            return Err(Error::NotFound(format!("container {id:?} was deleted before it was created")));
        }
        inner.slots.insert(id.to_owned(), Slot::Creating { given_up: false, over: watch::Sender::new(()) });
        Ok(Claim { registry: self, id: id.to_owned(), settled: false })
    }

    /// Uses up the reservation of an id that is not for a container: a sandbox's.
    ///
    /// # Errors
    /// [`Error::Exists`] for a container's id; [`Error::NotFound`] when it was deleted before.
    pub fn redeem(&self, id: &str) -> Result<()> {
        self.claim(id).map(drop)
    }

    /// Finds a container.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::State`] while it is being created.
    pub fn get(&self, id: &str) -> Result<Arc<Container>> {
        self.lock().get(id)
    }

    /// All that are complete.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let inner = self.lock();
        let live = inner.slots.values().filter_map(|slot| match slot {
            Slot::Live(container) => Some(Arc::clone(container)),
            Slot::Creating { .. } => None,
        });
        live.collect()
    }

    /// Gives an id up on containerd's behalf. Returns a container that is complete. One under construction is thrown
    /// away when it is done, and that is waited for: until then its bundle is in use, and containerd removes it next.
    /// When there is none yet, none will come either.
    pub async fn give_up(&self, id: &str) -> Option<Arc<Container>> {
        let mut over = match self.mark_given_up(id) {
            Ok(found) => return found,
            Err(over) => over,
        };
        // Nothing is ever sent: this ends when the slot does.
        let _ = over.changed().await;
        None
    }

    fn mark_given_up(&self, id: &str) -> std::result::Result<Option<Arc<Container>>, watch::Receiver<()>> {
        let mut inner = self.lock();
        inner.give_up_reservation(id);
        self.shrunk.notify_one();
        match inner.slots.get_mut(id) {
            Some(Slot::Live(container)) => Ok(Some(Arc::clone(container))),
            Some(Slot::Creating { given_up, over }) => {
                *given_up = true;
                Err(over.subscribe())
            }
            None => Ok(None),
        }
    }

    /// Whether this very container is still known.
    pub fn holds(&self, container: &Arc<Container>) -> bool {
        matches!(self.lock().slots.get(&container.id), Some(Slot::Live(known)) if Arc::ptr_eq(known, container))
    }

    /// Forgets a deleted container. False if it was forgotten before.
    pub fn remove(&self, container: &Arc<Container>) -> bool {
        let mut inner = self.lock();
        let same = matches!(inner.slots.get(&container.id), Some(Slot::Live(known)) if Arc::ptr_eq(known, container));
        if same {
            inner.slots.remove(&container.id);
        }
        drop(inner);
        self.shrunk.notify_one();
        same
    }

    /// Whether there is no container and none is expected.
    pub fn is_idle(&self) -> bool {
        let mut inner = self.lock();
        inner.reserved.retain(|_, reservation| reservation.since.elapsed() < RESERVATION);
        inner.slots.is_empty() && inner.reserved.values().all(|reservation| reservation.given_up)
    }

    /// When the last of the present reservations runs out, if there are any.
    pub fn reserved_for(&self) -> Option<Duration> {
        let inner = self.lock();
        let open = inner.reserved.values().filter(|reservation| !reservation.given_up);
        open.map(|reservation| RESERVATION.saturating_sub(reservation.since.elapsed())).max()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn get(&self, id: &str) -> Result<Arc<Container>> {
        match self.slots.get(id) {
            Some(Slot::Live(container)) => Ok(Arc::clone(container)),
            Some(Slot::Creating { .. }) => {
                Err(Error::State(format!("container {id:?} is still being created")))
            }
            None => Err(Error::NotFound(format!("container {id:?} not found"))),
        }
    }

    fn give_up_reservation(&mut self, id: &str) {
        if let Some(reservation) = self.reserved.get_mut(id) {
            reservation.given_up = true;
        }
    }
}

impl Claim<'_> {
    /// Puts the finished container in. The claim comes back when containerd gave it up meanwhile: the caller ends the
    /// container and holds the claim until nothing is left of it.
    ///
    /// # Errors
    /// That claim.
    pub fn settle(mut self, container: &Arc<Container>) -> std::result::Result<(), Self> {
        let mut inner = self.registry.lock();
        if let Some(Slot::Creating { given_up: true, .. }) = inner.slots.get(&self.id) {
            drop(inner);
            return Err(self);
        }
        inner.slots.insert(self.id.clone(), Slot::Live(Arc::clone(container)));
        drop(inner);
        self.settled = true;
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.registry.lock().slots.remove(&self.id);
            self.registry.shrunk.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_taken_once_and_free_again_after_a_failed_create() {
        let registry = Registry::default();
        let claim = registry.claim("a").unwrap();
        assert!(matches!(registry.claim("a"), Err(Error::Exists(_))));
        assert!(matches!(registry.get("a"), Err(Error::State(_))));
        assert!(!registry.is_idle());
        drop(claim);
        assert!(matches!(registry.get("a"), Err(Error::NotFound(_))));
        assert!(registry.is_idle());
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn giving_up_a_container_under_construction_waits_until_nothing_is_left_of_it() {
        let registry = Registry::default();
        let claim = registry.claim("a").unwrap();
        let mut over = registry.mark_given_up("a").unwrap_err();
        assert!(over.has_changed().is_ok());
        drop(claim);
        assert!(over.has_changed().is_err());
        assert!(wait(over.changed()).is_err());
        assert!(wait(registry.give_up("a")).is_none());
    }

    #[test]
    fn a_create_that_its_delete_overtook_is_refused_and_the_next_one_is_not() {
        let registry = Registry::default();
        registry.reserve("a");
        assert!(wait(registry.give_up("a")).is_none());
        assert!(registry.is_idle());
        assert!(matches!(registry.claim("a"), Err(Error::NotFound(_))));
        registry.reserve("a");
        assert!(wait(registry.give_up("a")).is_none());
        registry.reserve("a");
        assert!(registry.claim("a").is_ok());
    }

    #[test]
    fn a_reservation_keeps_the_server_until_the_create_comes_or_is_given_up() {
        let registry = Registry::default();
        registry.reserve("a");
        assert!(!registry.is_idle());
        drop(registry.claim("a").unwrap());
        assert!(registry.is_idle());
        registry.reserve("b");
        assert!(wait(registry.give_up("b")).is_none());
        assert!(registry.is_idle());
    }
}
