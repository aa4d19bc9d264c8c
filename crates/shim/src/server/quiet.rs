//! What is done when a moment is quiet: memory that a burst of calls needed goes back to the host.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::blocking::blocking;

/// After the server's start and after the first removal. A burst of removals is one occasion, and a server that does nothing is not woken.
const AFTER: Duration = Duration::from_secs(3);

/// Knows that something was removed.
#[derive(Debug, Default)]
pub struct Quiet {
    removed: Notify,
}

impl Quiet {
    /// A container or an exec is gone.
    pub fn removed(&self) {
        self.removed.notify_one();
    }
}

/// As long as the server lives.
pub async fn give_memory_back(server: Arc<super::Server>) {
    loop {
        // The first time for what starting needed.
        tokio::time::sleep(AFTER).await;
        // Cannot fail.
        let _ = blocking(|| {
            zygote::give_free_memory_back();
            Ok(())
        })
        .await;
        server.quiet.removed.notified().await;
    }
}
