//! Entering cgroups is made quick while containers are being started, on cgroup v1.
//!
//! Held from the end of the first start of a burst, which is as slow as it always was, until none came for a while: a node
//! at rest is as if this were not there. One timer runs while it is held, none otherwise.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Server;
use crate::blocking::blocking;
use crate::error::Error;

/// How long it is held after the last start.
const HELD: Duration = Duration::from_secs(60);

/// Knows that a process has entered its cgroup.
#[derive(Debug, Default)]
pub struct QuickMoves {
    entered: Notify,
}

impl QuickMoves {
    /// A container or exec was made; others may follow.
    pub fn entered(&self) {
        self.entered.notify_one();
    }
}

/// As long as the server lives, or until it turns out to be useless: on v2, and where the kernel refuses.
pub async fn hold(server: Arc<Server>) {
    loop {
        server.quick_moves.entered.notified().await;
        let host = server.cgroups.clone();
        let quick = blocking(move || host.quick_moves().map_err(|e| Error::Internal(e.to_string()))).await;
        let _quick = match quick {
            Ok(Some(quick)) => quick,
            Ok(None) => return,
            Err(e) => return log::info!("processes enter their cgroups slowly: {e}"),
        };
        while tokio::time::timeout(HELD, server.quick_moves.entered.notified()).await.is_ok() {}
    }
}
