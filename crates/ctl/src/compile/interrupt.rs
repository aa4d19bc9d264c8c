//! Ctrl-C: the compiler and its cgroup go before this process does.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::signal::unix::{SignalKind, signal};

/// By when everything is cleaned up.
const LATEST: Duration = Duration::from_secs(5);

/// A pipe whose other end is closed by SIGINT or SIGTERM, which from here on do nothing else.
///
/// # Errors
/// In words.
pub fn pipe() -> Result<OwnedFd, String> {
    let failed = |e: std::io::Error| format!("wait for signals: {e}");
    let (stopped, end) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    drop(entered);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        drop(end);
        // Whatever it waits for, such as a server that compiles the same module.
        std::thread::sleep(LATEST);
        std::process::exit(1);
    };
    std::thread::Builder::new().spawn(wait).map_err(failed)?;
    Ok(stopped)
}
