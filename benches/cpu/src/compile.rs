//! What compilers take: CPU time and peak memory of the process, all its threads and children.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::options::Options;

/// One compile.
#[derive(Debug, Clone, Copy)]
pub struct Compiled {
    /// CPU time of all cores together.
    pub cpu: Duration,
    /// By the clock on the wall.
    pub wall: Duration,
    /// Most memory of one process at any time, in KiB.
    pub peak_kib: u64,
    /// Size of the code.
    pub bytes: u64,
}

/// What a child took.
pub struct Usage {
    /// How it ended.
    pub status: ExitStatus,
    /// User and system time.
    pub cpu: Duration,
    /// Largest resident size in KiB.
    pub peak_kib: u64,
}

/// By `wamr-aotc` at a tier; `segue` as the shim chooses it.
pub fn ours(options: &Options, module: &Path, tier: &str, segue: bool, code: &Path) -> Result<Compiled> {
    let mut command = Command::new(&options.aotc);
    command.args(["--unconfined", "--tier", tier]);
    if segue {
        command.arg("--segue");
    }
    let input = File::open(module).with_context(|| format!("open {}", module.display()))?;
    let output = File::create(code).with_context(|| format!("make {}", code.display()))?;
    let started = Instant::now();
    let usage = reap(command.stdin(input).stdout(output))?;
    let wall = started.elapsed();
    ensure!(
        usage.status.success(),
        "{} --tier {tier} {}: {}",
        options.aotc.display(),
        module.display(),
        usage.status
    );
    let bytes = fs::metadata(code)?.len();
    Ok(Compiled { cpu: usage.cpu, wall, peak_kib: usage.peak_kib, bytes })
}

/// By wasmtime; its own account, without Python around it.
pub fn wasmtime(options: &Options, module: &Path, code: &Path) -> Result<Compiled> {
    let started = Instant::now();
    let mut command = Command::new(&options.python);
    let output = command.arg(&options.script).arg("compile").arg(module).arg(code).output()?;
    let wall = started.elapsed();
    ensure!(output.status.success(), "wasmtime: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        &[cpu, peak_kib, bytes] => Ok(Compiled { cpu: Duration::from_nanos(cpu), wall, peak_kib, bytes }),
        _ => bail!("wasmtime_guest.py said {said:?}"),
    }
}

/// Runs a command to its end.
pub fn reap(command: &mut Command) -> Result<Usage> {
    let child = command.spawn().with_context(|| format!("start {command:?}"))?;
    let pid = i32::try_from(child.id()).context("a process id")?;
    let mut status = 0;
    // SAFETY: a plain structure of numbers, for which all zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid; nobody else waits for this child.
    let reaped = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
    ensure!(reaped == pid, "wait for {command:?}: {}", std::io::Error::last_os_error());
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    Ok(Usage {
        status: ExitStatus::from_raw(status),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        peak_kib: usage.ru_maxrss.unsigned_abs(),
    })
}

/// Where a guest's code by one of them is.
pub fn code_path(module: &Path, ending: &str) -> PathBuf {
    module.with_extension(ending)
}

/// Without streams.
pub fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null())
}
