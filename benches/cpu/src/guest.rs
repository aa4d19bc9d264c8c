//! A guest in a process of its own, run by the very engine that containers have; without a container around it.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};
use wamr::{Engine, Entry, Instance, InstanceOptions, Module, ModuleSource, Outcome, Wasi};

/// The first argument that means this.
pub const WORD: &str = "guest";
/// What containers have by default.
const STACK: u32 = 256 << 10;

/// Runs `FILE REPORT [ARGUMENT]...`, a module or its compiled code; nanoseconds of CPU from the guest's first
/// instruction to its last go to the file REPORT. Returns the guest's exit code.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<u32> {
    let path = arguments.next().context("a module")?;
    let report = arguments.next().context("a file for the report")?;
    let rest: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = std::iter::once("guest").chain(rest.iter().map(String::as_str)).collect();

    let engine = Engine::init()?;
    let file = File::open(&path).with_context(|| format!("open {path}"))?;
    let source = ModuleSource::from_file(file)?;
    let module = match path.ends_with(".wasm") {
        true => Module::load(&engine, source)?,
        // Made by this benchmark, just now.
        false => Module::load_aot(&engine, source)?,
    };
    module.allow_to_run()?;
    let mut instance = Instance::new(&module, InstanceOptions { stack_size: STACK, max_memory_pages: None })?;
    instance.set_wasi(Wasi {
        args: &arguments,
        env: &[],
        preopens: Vec::new(),
        stdio: [0, 1, 2],
        listeners: Vec::new(),
        sockets: Vec::new(),
    })?;
    let started = cpu_time();
    let outcome = instance.run(&Entry::Start)?;
    let took = cpu_time().saturating_sub(started);
    fs::write(&report, took.as_nanos().to_string()).with_context(|| format!("write {report}"))?;
    match outcome {
        Outcome::Exited(code) => Ok(code),
        Outcome::Trapped(trap) => bail!("{path}: {trap}"),
    }
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
