//! One run of `wamr-aotc`: its own cgroup, a time limit, and whose fault it is when nothing comes of it.
//!
//! What confines it beyond that, it does itself before it looks at the module: see `jail::seclude`.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::aot::Tier;
use cgroup::{Cgroup, Cpu, Limits, Memory};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use crate::config::Config;
use crate::emptied::Emptied;

const PROGRAM: &str = "wamr-aotc";
/// Where compilers have their cgroups, each named by the process that made it.
const CGROUPS: &str = "/containerd-shim-wamr";
const PREFIX: &str = "aotc-";
/// Where packages put it.
const PLACES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/opt/containerd/bin"];
/// Exit status of the compiler for "this machine cannot do it now".
const MACHINE: i32 = 3;
/// Threads of one compile.
const PIDS: i64 = 64;
/// More of what it said is not kept.
const WORDS: u64 = 2000;

/// The compiler, as it was found.
#[derive(Debug)]
pub struct Compiler {
    program: PathBuf,
    cgroups: cgroup::Host,
    memory: u64,
    time: Duration,
    /// Ends a compile when its other end is closed.
    stop: Option<OwnedFd>,
    /// Whether its code is for this runtime; asked once.
    fits: OnceLock<Result<(), String>>,
}

/// Why there is no code.
#[derive(Debug)]
pub enum Failure {
    /// This module cannot be compiled, now or later.
    Module(String),
    /// It could be, in other circumstances.
    Machine(String),
}

impl Compiler {
    /// Where the configuration says, or beside this program, or where packages put it.
    ///
    /// # Errors
    /// In words: where it was looked for.
    pub fn find(config: &Config, cgroups: &cgroup::Host) -> Result<Compiler, String> {
        let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM)));
        let places: Vec<PathBuf> = match &config.aot_compiler {
            Some(given) => vec![given.clone()],
            None => beside.into_iter().chain(PLACES.map(|place| Path::new(place).join(PROGRAM))).collect(),
        };
        match places.iter().find(|place| place.is_file()) {
            Some(program) => Ok(Compiler {
                program: program.clone(),
                cgroups: cgroups.clone(),
                memory: config.aot_memory,
                time: config.aot_time,
                stop: None,
                fits: OnceLock::new(),
            }),
            None => {
                let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
                Err(format!("there is no {PROGRAM} ({})", places.join(", ")))
            }
        }
    }

    /// The same, given up as soon as the other end of a pipe is closed.
    #[must_use]
    pub fn until(self, stop: OwnedFd) -> Compiler {
        Compiler { stop: Some(stop), ..self }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether its code is for the runtime of this program.
    ///
    /// # Errors
    /// In words: what to do.
    pub fn check(&self) -> Result<(), String> {
        let ask = || {
            let program = self.program.display();
            let mut command = Command::new(&self.program);
            command.arg("--identity").env_clear().current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
            let output = command.output().map_err(|e| format!("{program} does not run: {e}"))?;
            let said = String::from_utf8_lossy(&output.stdout);
            let ours = ::aot::identity(zygote::AOT_IDENTITY);
            match said.trim() == ours {
                true => Ok(()),
                false => Err(format!(
                    "{program} compiles for WAMR {:?} and this is {ours:?}: install both of one release",
                    said.trim(),
                )),
            }
        };
        self.fits.get_or_init(ask).clone()
    }

    /// Compiles `module` into `code`. Blocks. The thread that calls it must live as long: the compiler ends with it.
    ///
    /// # Errors
    /// [`Failure`]; nothing of the process is left.
    pub fn run(&self, tier: Tier, segue: bool, module: &File, code: &File) -> Result<(), Failure> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let machine = |what: &str, why: &dyn std::fmt::Display| Failure::Machine(format!("{what}: {why}"));
        let name =
            format!("{CGROUPS}/{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if let Ok(above) = cgroup::Path::parse(CGROUPS) {
            self.cgroups.sweep(&above, is_left_over);
        }
        let limit = i64::try_from(self.memory).unwrap_or(i64::MAX);
        let limits = Limits {
            memory: Memory { limit: Some(limit), ..Memory::default() },
            // Containers come first.
            cpu: Cpu { shares: Some(2), ..Cpu::default() },
            pids: Some(PIDS),
            ..Limits::default()
        };
        let group = cgroup::Path::parse(&name)
            .and_then(|path| Cgroup::create(&self.cgroups, &path, &limits))
            .map_err(|e| machine("make the compiler's cgroup", &e))?;
        let group = Emptied { cgroup: group, of: "the compiler" };
        // Grows in the compiler's cgroup, whose limit bounds it.
        let words = memfd_create("aotc-words", MemfdFlags::CLOEXEC).map(File::from);
        let mut words = words.map_err(|e| machine("make room for the compiler's words", &e))?;

        let copy = |file: &File| file.try_clone().map_err(|e| machine("copy a descriptor", &e));
        let mut command = Command::new(&self.program);
        command.args(["--tier", tier.name()]);
        if segue {
            command.arg("--segue");
        }
        for directory in group.cgroup.directories() {
            command.arg("--cgroup").arg(directory.join("cgroup.procs"));
        }
        command.env_clear().current_dir("/").stdin(copy(module)?).stdout(copy(code)?).stderr(copy(&words)?);
        let mut child = command.spawn().map_err(|e| machine("start the compiler", &e))?;
        let ended = wait(&child, self.time, self.stop.as_ref());
        if ended != Ok(End::ByItself) {
            // Fails only if it is dead and reaped.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|e| machine("wait for the compiler", &e))?;
        ended.map_err(|e| machine("wait for the compiler", &e)).and_then(|end| match end {
            End::ByItself => self.judge(status, &group.cgroup, &mut words),
            End::TooLate => Err(Failure::Module(format!("it is not done after {:?}", self.time))),
            End::Stopped => Err(Failure::Machine("it was interrupted".to_owned())),
        })
    }

    fn judge(&self, status: ExitStatus, group: &Cgroup, words: &mut File) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        // What cannot be read is left out.
        let _ = words.rewind();
        let _ = words.take(WORDS).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Err(match (status.code(), status.signal()) {
            (Some(MACHINE), _) => Failure::Machine(said),
            (Some(_), _) if !said.is_empty() => Failure::Module(said),
            _ if group.oom_kills() > 0 => {
                Failure::Module(format!("it takes more than {} bytes of memory (aot_memory)", self.memory))
            }
            // Not the kernel for want of memory, and not this server: somebody who wanted it gone.
            (_, Some(libc::SIGKILL)) => Failure::Machine("the compiler was killed".to_owned()),
            _ => Failure::Module(format!("the compiler crashed ({status}): {said}")),
        })
    }
}

/// Whether a cgroup is that of a process which ended without removing it, killed for instance. One that lives may be
/// about to put its compiler in; a number that another process has by now is left for later.
fn is_left_over(name: &str) -> bool {
    let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
    maker.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

/// What a wait for a child ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ByItself,
    TooLate,
    Stopped,
}

/// Waits until a child ends, at most so long, or until the other end of `stop` is closed.
fn wait(child: &std::process::Child, time: Duration, stop: Option<&OwnedFd>) -> rustix::io::Result<End> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(rustix::io::Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = std::time::Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let watched = [Some(&pidfd), stop].into_iter().flatten();
        let mut watched: Vec<_> = watched.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) => return Ok(End::TooLate),
            Ok(_) => {
                let ended = watched.first().is_some_and(|child| !child.revents().is_empty());
                return Ok(if ended { End::ByItself } else { End::Stopped });
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cgroup_of_a_process_that_ended_is_left_over() {
        let mut child = Command::new("true").spawn().unwrap();
        let name = format!("{PREFIX}{}-0", child.id());
        // A process that nobody has waited for still has its number.
        assert!(!is_left_over(&name));
        child.wait().unwrap();
        assert!(is_left_over(&name));
        let own = format!("{PREFIX}{}-7", std::process::id());
        for name in [own.as_str(), "aotc-1-0", "aotc-0-0", "aotc--1-0", "aotc-", "aotc-x-1", "other"] {
            assert!(!is_left_over(name), "{name}");
        }
    }
}
