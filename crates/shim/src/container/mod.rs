//! A container: its processes, its cgroup, and what happens to them together.

mod create;
mod file_system;
mod phase;
mod process;
mod registry;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cgroup::Cgroup;

pub use create::{Creation, check_id, create};
pub use phase::Phase;
pub use process::Process;
pub use registry::Registry;
pub use watch::watch;

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::record::Record;

/// One container, alive or ended but not yet deleted.
#[derive(Debug)]
pub struct Container {
    /// Its id within the containerd namespace.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Its first process.
    pub init: Arc<Process>,
    /// Its control group.
    pub cgroup: Cgroup,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    /// Held by the calls that change the container, so that two of them never interleave.
    pub busy: tokio::sync::Mutex<()>,
}

impl Container {
    /// The process an exec id names; the first one for an empty id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn process(&self, exec_id: &str) -> Result<Arc<Process>> {
        if exec_id.is_empty() {
            return Ok(Arc::clone(&self.init));
        }
        let execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        let exec = execs.get(exec_id).cloned();
        exec.ok_or_else(|| Error::NotFound(format!("exec {exec_id:?} of container {:?} not found", self.id)))
    }

    /// Process ids of everything that runs in the container. Never empty before the container is deleted:
    /// containerd takes a task without processes for a leak when it restarts, and would throw the exit status
    /// of one that ended meanwhile away.
    pub fn pids(&self) -> Vec<i32> {
        match self.cgroup.pids() {
            Ok(pids) if !pids.is_empty() => pids,
            _ => vec![self.init.pid],
        }
    }

    /// Removes what the kernel and the disk hold of it. Every process is dead or gets killed. Blocks.
    ///
    /// # Errors
    /// When the cgroup cannot be emptied or removed: the container can then be deleted again.
    pub fn dismantle(&self) -> Result<()> {
        let failed = |e: cgroup::Error| Error::Internal(format!("clean up container {:?}: {e}", self.id));
        self.cgroup.kill().map_err(failed)?;
        self.cgroup.remove().map_err(failed)?;
        Record::remove(&self.bundle);
        Ok(())
    }

    /// How the first process ended, killing it if it has not. Blocks only this task.
    pub async fn end(&self) -> Exit {
        // Fails only if it has ended already.
        let _ = self.init.kill(9);
        self.init.wait().await
    }
}
