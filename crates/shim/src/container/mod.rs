//! A container: its processes, its cgroup, and what happens to them together.

mod about;
mod build_template;
mod build_warm;
mod create;
mod exec;
mod file_system;
mod launch;
mod lifecycle;
mod native;
mod pause;
mod phase;
mod process;
mod registry;
mod templates;
mod warm_root;
mod warm_start;
mod wasm;
mod watch;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cgroup::{Cgroup, Limits, Memory, Version};

pub use crate::blocking::blocking;
pub use about::About;
pub use create::{Creation, check_id};
pub use launch::Parts;
pub use lifecycle::{create, delete, exec, pause, remove, resume, start};
pub use native::{Native, discard, remove as remove_native, unmount};
pub use phase::Phase;
pub use process::Process;
pub use registry::Registry;
pub use templates::{Templates, drop_idle};

use crate::config::AotMode;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::record::Record;
use crate::spec;

const SIGKILL: u32 = 9;

/// What a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The holder of a pod's namespaces.
    Sandbox,
    /// A wasm guest.
    Wasm,
    /// A Linux program.
    Native,
}

/// One container, alive or ended but not yet deleted.
#[derive(Debug)]
pub struct Container {
    /// What it is.
    pub kind: Kind,
    /// Its id within the containerd namespace.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// What is only shown.
    pub about: About,
    /// Its first process.
    pub init: Arc<Process>,
    /// Its control group.
    pub cgroup: Cgroup,
    /// Operand stack for its modules, in bytes.
    pub stack_size: u32,
    /// What the sockets of its modules may be used with: what all of these allow.
    pub sockets: Vec<network::Policy>,
    /// Whether its modules run compiled.
    pub aot: AotMode,
    /// Cap on linear memory for its modules, in pages of 64 KiB. Follows Update.
    pub max_memory_pages: Mutex<Option<u32>>,
    /// Of a native container.
    pub native: Option<Native>,
    execs: Mutex<HashMap<String, Arc<Process>>>,
    /// Held by the calls that change the container, so that two of them never interleave.
    pub busy: tokio::sync::Mutex<()>,
    /// Held for reading until a Kill is answered, for writing when the end is told: a holder ends in no time, and
    /// containerd, once it knows, deletes the task and closes the very connection on which it waits for that answer.
    pub kills: tokio::sync::RwLock<()>,
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

    /// Adds an exec.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn add_exec(&self, exec_id: &str, process: &Arc<Process>) -> Result<()> {
        let mut execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        match execs.entry(exec_id.to_owned()) {
            Entry::Occupied(_) => Err(Error::Exists(format!("{} exists already", process.name))),
            Entry::Vacant(free) => {
                free.insert(Arc::clone(process));
                Ok(())
            }
        }
    }

    /// Forgets an exec.
    pub fn remove_exec(&self, exec_id: &str) {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).remove(exec_id);
    }

    /// All that were not deleted yet.
    pub fn execs(&self) -> Vec<Arc<Process>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Kills what is left in the cgroup. Blocks.
    ///
    /// # Errors
    /// When something survives.
    pub fn kill_rest(&self) -> Result<()> {
        self.cgroup
            .kill()
            .map_err(|e| Error::Internal(format!("end the processes of {}: {e}", self.init.name)))
    }

    /// Changes limits while the container runs; absent ones stay. Blocks.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit the kernel or the present use does not allow.
    pub fn update(&self, limits: &Limits) -> Result<()> {
        if let Some(exit) = self.init.phase().exit() {
            return Err(Error::State(format!("{} has ended with status {}", self.init.name, exit.status)));
        }
        let limit = limits.memory.limit.filter(|limit| *limit != 0);
        let pages = match self.kind {
            Kind::Native => None,
            _ => spec::memory_pages(limit).map_err(|e| Error::Invalid(e.to_string()))?,
        };
        // The kernel of a v2 host would meet such a limit by killing; that of v1 refuses by itself, with EBUSY.
        let memory = Memory { check_before_update: self.cgroup.version() == Version::V2, ..limits.memory };
        self.cgroup.apply(&Limits { memory, ..limits.clone() }).map_err(|error| match error {
            cgroup::Error::Refused { limit, value, source, .. }
                if source.kind() == ErrorKind::ResourceBusy =>
            {
                Error::Invalid(format!("cannot set {limit} to {value}: more than that is in use"))
            }
            other => launch::cgroup_error(other),
        })?;
        if limit.is_some() {
            *self.max_memory_pages.lock().unwrap_or_else(PoisonError::into_inner) = pages;
            for process in self.execs().iter().chain([&self.init]) {
                process.cap_memory(pages.unwrap_or(spec::MOST_PAGES))?;
            }
        }
        Ok(())
    }

    /// Freezes every process. Blocks.
    ///
    /// # Errors
    /// As [`Phase::pause`]; when the kernel does not freeze them in time, they go on.
    pub fn pause(&self) -> Result<()> {
        self.init.advance(|phase| {
            let next = phase.pause(&self.init.name)?;
            self.cgroup
                .freeze()
                .map_err(|e| launch::cgroup_failed(format_args!("pause {}", self.init.name), &e))?;
            Ok(next)
        })
    }

    /// Lets them go on. Blocks.
    ///
    /// # Errors
    /// As [`Phase::resume`].
    pub fn resume(&self) -> Result<()> {
        self.init.advance(|phase| {
            let next = phase.resume(&self.init.name)?;
            self.cgroup
                .thaw()
                .map_err(|e| launch::cgroup_failed(format_args!("resume {}", self.init.name), &e))?;
            Ok(next)
        })
    }

    /// Signals one process, or with `all` every process in the cgroup. A frozen process cannot die, so SIGKILL
    /// also thaws, unless it is for an exec alone: that one ends on Resume. Blocks.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn kill(&self, process: &Process, signal: u32, all: bool) -> Result<()> {
        process.kill(signal)?;
        if all {
            let others = self.cgroup.pids().unwrap_or_default().into_iter().filter(|pid| *pid != process.pid);
            others.for_each(|pid| signal_pid(pid, signal));
        }
        let whole = all || process.pid == self.init.pid;
        if signal == SIGKILL && whole && self.init.phase() == Phase::Paused {
            self.cgroup.thaw().map_err(|e| Error::Internal(format!("kill {}: {e}", process.name)))?;
        }
        Ok(())
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
        native::remove(&self.bundle);
        Record::remove(&self.bundle);
        Ok(())
    }

    /// How the first process ended, killing it if it has not. Blocks only this task.
    pub async fn end(&self) -> Exit {
        // Fails only if it has ended already.
        if self.init.kill(SIGKILL).is_ok()
            && self.init.phase() == Phase::Paused
            && let Err(e) = self.cgroup.thaw()
        {
            log::error!("thaw {} to end it: {e}", self.init.name);
        }
        self.init.wait().await
    }
}

/// To a process of the cgroup that may be gone by now.
fn signal_pid(pid: i32, signal: u32) {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    if let (Some(process), Ok(number)) = (process, i32::try_from(signal)) {
        let _ = zygote::signal(process.as_fd(), number);
    }
}
