//! The first line of each log file in a folder, as soon as it is there: the kernel tells of it, nobody polls.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::sync::oneshot::{self, Sender};

/// How long a container may take to say its line.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Files that somebody waits for, by name.
type Waiting = Arc<Mutex<HashMap<String, Sender<Instant>>>>;

/// Watches one folder on a thread, which ends when the folder is removed.
#[derive(Debug)]
pub struct LogLines {
    waiting: Waiting,
}

impl LogLines {
    /// Watches `folder`, which must exist.
    pub fn watch(folder: &Path) -> Result<LogLines> {
        let events = inotify::init(CreateFlags::CLOEXEC).context("ask for inotify")?;
        inotify::add_watch(&events, folder, WatchFlags::MODIFY)
            .with_context(|| format!("watch {}", folder.display()))?;
        let waiting = Waiting::default();
        let (folder, told) = (folder.to_owned(), Arc::clone(&waiting));
        std::thread::spawn(move || {
            if let Err(e) = tell(&events, &folder, &told) {
                eprintln!("benchmark: the watch of {} ended: {e:#}", folder.display());
            }
        });
        Ok(LogLines { waiting })
    }

    /// When the file `name` gets its first line. To be asked before that can happen.
    pub fn expect(&self, name: &str) -> impl Future<Output = Result<Instant>> + use<> {
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), tell);
        async move {
            let said = tokio::time::timeout(PATIENCE, told).await;
            said.map_err(|_| anyhow!("said nothing on stdout within {PATIENCE:?}"))?
                .context("the watch of logs ended")
        }
    }
}

/// Tells those who wait, until the folder is gone.
fn tell(events: &OwnedFd, folder: &Path, waiting: &Waiting) -> Result<()> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut reader = inotify::Reader::new(events, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e).context("read inotify's events"),
        };
        if event.events().contains(ReadFlags::IGNORED) {
            return Ok(());
        }
        let now = Instant::now();
        let Some(name) = event.file_name().and_then(|name| name.to_str().ok()) else { continue };
        // A file that was emptied is modified as well.
        let said = fs::read(folder.join(name)).is_ok_and(|text| text.contains(&b'\n'));
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if said && let Some(tell) = waiting.remove(name) {
            // Who gave up waiting has an error already.
            let _ = tell.send(now);
        }
    }
}
