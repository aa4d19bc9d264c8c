//! OOM kills, of all containers by one watcher: `TaskOOM` goes out before the `TaskExit` it leads to.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use cgroup::OomWatcher;
use containerd_shim_protos::events::task::TaskOOM;
use containerd_shim_protos::topics;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::container::Container;
use crate::events::Publisher;

/// The watcher, and how many kills of each container were reported.
#[derive(Debug)]
pub struct Oom {
    watcher: OomWatcher<String>,
    reported: Mutex<HashMap<String, u64>>,
}

impl Oom {
    /// A watcher of nothing yet.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(host: &cgroup::Host) -> cgroup::Result<Oom> {
        Ok(Oom { watcher: OomWatcher::new(host)?, reported: Mutex::default() })
    }

    /// Begins to watch a container.
    ///
    /// # Errors
    /// When its cgroup is gone or the process is out of descriptors.
    pub fn watch(&self, container: &Container) -> cgroup::Result<()> {
        self.watcher.watch(container.id.clone(), &container.cgroup)
    }

    /// Ends that.
    pub fn unwatch(&self, id: &str) {
        self.watcher.unwatch(&id.to_owned());
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Reports kills that were not reported yet. Called when the watcher sees one and when a process ended, whichever
    /// comes first.
    pub fn report_if_killed(&self, publisher: &Publisher, container: &Container) {
        let kills = self.watcher.kills(&container.id);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if kills > reported.get(&container.id).copied().unwrap_or(0) {
            reported.insert(container.id.clone(), kills);
            let event = TaskOOM { container_id: container.id.clone(), ..TaskOOM::default() };
            publisher.publish(topics::TASK_OOM_EVENT_TOPIC, &event);
        }
    }
}

/// Reports kills as they happen, as long as the server lives.
pub async fn report(server: Arc<super::Server>) {
    let descriptor: std::io::Result<OwnedFd> = server.oom.watcher.as_fd().try_clone_to_owned();
    #[expect(deprecated, reason = "its replacement is unsafe; an owned descriptor is what that asks for")]
    let watched = descriptor.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE));
    let watched = match watched {
        Ok(watched) => watched,
        Err(e) => return log::error!("watch for OOM kills: {e}; they are reported when a container ends"),
    };
    while let Ok(mut ready) = watched.readable().await {
        match server.oom.watcher.drain() {
            Ok(ids) => {
                for container in ids.iter().filter_map(|id| server.registry.get(id).ok()) {
                    server.oom.report_if_killed(&server.publisher, &container);
                }
            }
            Err(e) => log::error!("look for OOM kills: {e}"),
        }
        ready.clear_ready();
    }
}
