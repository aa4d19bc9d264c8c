//! The server's side of the protocol with `start` and `delete`.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Server;
use crate::container;
use crate::control::{Answer, Request};

/// Longer than any container id.
const LONGEST_LINE: u64 = 1024;

/// Answers until the process ends.
pub async fn serve(server: Arc<Server>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(Arc::clone(&server), stream));
            }
            Err(e) => {
                // Out of descriptors, most likely: those who wait are served once there are some again.
                log::error!("accept a connection from start or delete: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(server: Arc<Server>, mut stream: UnixStream) {
    let mut line = String::new();
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader.take(LONGEST_LINE));
    let asked = tokio::time::timeout(Duration::from_secs(10), reader.read_line(&mut line));
    if !matches!(asked.await, Ok(Ok(_))) {
        return;
    }
    let answer = match Request::parse(line.trim_end_matches('\n')) {
        Some(request) => answer(&server, request).await,
        None => Answer::Error(format!("{line:?} is not understood")),
    };
    // The one who asked may be gone; what it asked for is done.
    let _ = writer.write_all(answer.line().as_bytes()).await;
}

async fn answer(server: &Arc<Server>, request: Request) -> Answer {
    match request {
        Request::Reserve(id) => {
            server.registry.reserve(&id);
            Answer::Ok
        }
        // A sandbox has no process of its own to tell of.
        Request::Drop(id) if server.remove_sandbox(&id) => Answer::Gone,
        Request::Drop(id) => {
            let Some(container) = server.registry.give_up(&id).await else { return Answer::Gone };
            let _busy = container.busy.lock().await;
            match container::remove(server, &container).await {
                Ok(exit) => Answer::Dropped(exit, container.init.pid),
                Err(e) => Answer::Error(e.to_string()),
            }
        }
    }
}
