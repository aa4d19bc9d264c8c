//! On what it was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::options::Options;

/// The machine and the versions of what runs on it.
#[derive(Debug)]
pub struct Machine {
    /// For the first line of the report.
    pub summary: String,
    /// For JSON.
    pub json: Value,
}

impl Machine {
    /// Asks the machine.
    pub fn describe(options: &Options) -> Result<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map(|(_, name)| name);
        let model = model.unwrap_or("unnamed processor").to_owned();
        let processors = std::thread::available_parallelism().context("count processors")?;
        let name = rustix::system::uname();
        let kernel = format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy());
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory: u64 =
            meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        if load.parse::<f64>().is_ok_and(|load| load > 0.5) {
            eprintln!("NOTE: the machine is busy (load {load}): compare ratios, not times");
        }
        let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let containerd = version(&options.containerd.join("containerd"))?;
        let date = said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?;
        Ok(Machine {
            summary: format!(
                "{processors} x {model}, {} MiB, Linux {kernel}, load {load}\n{containerd}",
                memory / 1024
            ),
            json: json!({
                "date": date, "processors": processors.get(), "model": model, "memory_kib": memory, "kernel": kernel,
                "cgroups": if v2 { "v2" } else { "v1" }, "load": load, "containerd": containerd,
                "runc": version(&options.containerd.join("runc"))?,
                "shim": { "version": version(&options.shim)?, "bytes": fs::metadata(&options.shim)?.len() },
                "command": std::env::args().collect::<Vec<_>>().join(" "),
            }),
        })
    }
}

fn version(program: &Path) -> Result<String> {
    // Shims know but the short form.
    let flag = if program.ends_with("containerd-shim-wamr-v1") { "-v" } else { "--version" };
    said(Command::new(program).arg(flag))
}

/// What a program prints, on one line.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::trim).collect::<Vec<_>>().join("; "))
}
