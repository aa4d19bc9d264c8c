//! When the server ends: once it has no container, expects none, and has told containerd everything.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::blocking::blocking;
use crate::error::Error;

/// How long events may hold up the end when containerd is gone for good.
const EVENTS: Duration = Duration::from_secs(60);

/// Ends the process when nothing is left. A node that goes on starting containers keeps it warm: it stays for
/// the configured time after the last one.
pub async fn end_when_idle(server: Arc<Server>, mut ttrpc: ttrpc::asynchronous::Server) {
    loop {
        wait_until_idle(&server).await;
        tokio::time::sleep(Duration::from_secs(server.config.linger)).await;
        // Code for the next container of a module whose last one has ended.
        if server.is_idle() && server.aot.is_busy() {
            let waiting = Arc::clone(&server);
            // Cannot fail.
            let _ = blocking(move || {
                waiting.aot.wait_until_done();
                Ok(())
            })
            .await;
        }
        if !server.is_idle() {
            continue;
        }
        // Whoever holds the lock is a `start` that may be about to reserve: after it, ask again.
        let place = server.place.clone();
        let lock = match blocking(move || place.lock().map_err(|e| Error::io("lock it", &e))).await {
            Ok(lock) => lock,
            Err(e) => {
                log::error!("end the server of {}: {e}", server.place.directory().display());
                continue;
            }
        };
        if !server.is_idle() {
            continue;
        }
        // From here on no `start` finds this server: the next one starts another.
        server.place.remove(&lock);
        drop(lock);
        ttrpc.stop_listen().await;
        drain_events(&server).await;
        server.zygote.end();
        return;
    }
}

async fn wait_until_idle(server: &Server) {
    while !server.is_idle() {
        // A reservation that is never used ends by the clock, everything else tells.
        let patience =
            server.registry.reserved_for().unwrap_or(Duration::MAX).saturating_add(Duration::from_secs(1));
        let shrunk = server.registry.shrunk.notified();
        match patience < Duration::from_secs(3600) {
            true => drop(tokio::time::timeout(patience, shrunk).await),
            false => shrunk.await,
        }
    }
}

async fn drain_events(server: &Server) {
    let drained = async {
        while !server.publisher.is_drained() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(EVENTS, drained).await.is_err() {
        log::warn!("ending with events that containerd did not take");
    }
}
