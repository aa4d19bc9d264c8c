//! The server's side of the protocol with `start`, `delete` and `wamrctl`. It is answered also when the server is out of
//! descriptors: `start` with a refusal in words, `delete` with what gives descriptors back.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Server;
use crate::container;
use crate::control::{Answer, Request};

/// Longer than any container id.
const LONGEST_LINE: u64 = 1024;

/// Descriptors that a container needs while it is made and later has for itself, and what else may be going on.
const FOR_ONE_MORE: u64 = 64;

/// Answers until the process ends.
pub async fn serve(server: Arc<Server>, listener: UnixListener) {
    // Given up for a connection when nothing else is left.
    let mut spare = File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(Arc::clone(&server), stream));
            }
            Err(e) if spare.take().is_none() => {
                log::error!("accept a connection from start or delete: {e}; it waits");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => continue,
        }
        spare = spare.or_else(|| File::open("/dev/null").ok());
    }
}

fn most_descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

async fn converse(server: Arc<Server>, mut stream: UnixStream) {
    let mut line = String::new();
    // The kernel gives the lowest number that is free.
    let in_use = stream.as_raw_fd().unsigned_abs().into();
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader.take(LONGEST_LINE));
    let asked = tokio::time::timeout(Duration::from_secs(10), reader.read_line(&mut line));
    if !matches!(asked.await, Ok(Ok(_))) {
        return;
    }
    let answer = match Request::parse(line.trim_end_matches('\n')) {
        Some(request) => answer(&server, request, in_use).await,
        None => Answer::Error(format!("{line:?} is not understood")),
    };
    // The one who asked may be gone; what it asked for is done.
    let _ = writer.write_all(answer.line().as_bytes()).await;
}

async fn answer(server: &Arc<Server>, request: Request, in_use: u64) -> Answer {
    match request {
        Request::Reserve(id) if in_use.saturating_add(FOR_ONE_MORE) > most_descriptors() => {
            Answer::Error(format!(
                "no descriptors are left for container {id:?}: the server, process {}, may have {} (its \
                 RLIMIT_NOFILE, from containerd's LimitNOFILE); raise that or delete containers",
                std::process::id(),
                most_descriptors()
            ))
        }
        Request::Reserve(id) => {
            server.registry.reserve(&id);
            Answer::Ok
        }
        Request::List => match serde_json::to_string(&server.report()) {
            Ok(json) => Answer::Report(json),
            // A path that is no text.
            Err(e) => Answer::Error(format!("write the report: {e}")),
        },
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
