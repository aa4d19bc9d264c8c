//! Entering cgroups is made quick while containers are being started, on cgroup v1.
//!
//! Held from the end of the first start of a burst, which is as slow as it always was, until none came for a while: a node
//! at rest is as if this were not there. One timer runs while it is held, none otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::Server;
use crate::blocking::blocking;
use crate::error::Error;

/// How long it is held after the last start.
const HELD: Duration = Duration::from_secs(60);

/// Knows that a process has entered its cgroup.
#[derive(Debug)]
pub struct QuickMoves {
    /// Off by configuration, on v2, and where the kernel refuses.
    useless: AtomicBool,
    entered: Notify,
}

impl QuickMoves {
    /// `wanted` is what is configured.
    pub fn new(wanted: bool, cgroups: &cgroup::Host) -> QuickMoves {
        let useless = AtomicBool::new(!wanted || cgroups.version() == cgroup::Version::V2);
        QuickMoves { useless, entered: Notify::new() }
    }

    /// A container or exec was made; others may follow.
    pub fn entered(&self) {
        if !self.useless.load(Ordering::Relaxed) {
            self.entered.notify_one();
        }
    }
}

/// As long as the server lives, or until it turns out to be useless.
pub async fn hold(server: Arc<Server>) {
    let moves = &server.quick_moves;
    while !moves.useless.load(Ordering::Relaxed) {
        moves.entered.notified().await;
        let host = server.cgroups.clone();
        let quick = blocking(move || host.quick_moves().map_err(|e| Error::Internal(e.to_string()))).await;
        if let Err(e) = &quick {
            log::info!("processes enter their cgroups slowly: {e}");
            moves.useless.store(true, Ordering::Relaxed);
        }
        while tokio::time::timeout(HELD, moves.entered.notified()).await.is_ok() {}
        drop(quick);
    }
}
