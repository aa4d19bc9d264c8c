//! On what it was measured.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::options::Options;

/// The machine and the versions of what was compared.
#[derive(Debug)]
pub struct Machine {
    /// For people, a line each.
    pub lines: Vec<String>,
    /// For machines.
    pub json: Value,
    /// Day, as in a file's name.
    pub date: String,
}

impl Machine {
    /// Asks the machine.
    pub fn describe(options: &Options) -> Result<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unnamed processor", |(_, name)| name);
        let processors = std::thread::available_parallelism().context("count processors")?;
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        let wasmtime = said(Command::new(&options.python).arg(&options.script).arg("version"))?;
        let clang = said(Command::new("clang").arg("--version"))?;
        let wamr = wamr::Engine::version();
        let date = said(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
        let command = "make bench-cpu".to_owned();
        Ok(Machine {
            lines: vec![
                format!("{date}, {processors} x {model}, Linux {kernel}, load {load} at the start"),
                format!("WAMR {wamr}; {wasmtime}; {clang}"),
            ],
            json: json!({
                "date": date, "model": model, "processors": processors.get(), "kernel": kernel, "load": load,
                "wamr": wamr, "wasmtime": wasmtime, "clang": clang, "command": command,
            }),
            date,
        })
    }
}

/// The first line of what a program prints.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned())
}
