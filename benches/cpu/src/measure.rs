//! All guests by all who run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::compile::{self, Compiled, code_path, reap, silent};
use crate::guest;
use crate::options::Options;

/// Who runs guests; the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runner {
    /// WAMR's fast interpreter.
    Interpreter,
    /// The quick tier.
    Quick,
    /// The top tier.
    Top,
    /// `clang -O3`.
    Native,
    /// `clang -O3 -march=native`.
    March,
    /// Cranelift.
    Wasmtime,
}

impl Runner {
    /// All of them.
    pub const ALL: [Runner; 6] =
        [Runner::Interpreter, Runner::Quick, Runner::Top, Runner::Native, Runner::March, Runner::Wasmtime];

    /// In tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Runner::Interpreter => "interpreter",
            Runner::Quick => "quick tier",
            Runner::Top => "top tier",
            Runner::Native => "native -O3",
            Runner::March => "native -O3 -march=native",
            Runner::Wasmtime => "wasmtime",
        }
    }
}

/// What kind of guest, for the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A kernel of C, small and hot.
    Kernel,
    /// A language with its interpreter in a large module.
    Application,
}

/// A guest and how it fared.
#[derive(Debug)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// For the sums.
    pub class: Class,
    /// CPU time from the first instruction to the last, the least of all runs.
    pub times: Vec<(Runner, Duration)>,
    /// What compiling cost. Empty where the module was compiled for another guest already.
    pub compiles: Vec<(Runner, Compiled)>,
}

impl Measured {
    /// The time of one runner.
    pub fn time(&self, runner: Runner) -> Option<Duration> {
        self.times.iter().find(|(who, _)| *who == runner).map(|(_, time)| *time)
    }

    /// The cost of one compiler.
    pub fn compiled(&self, runner: Runner) -> Option<Compiled> {
        self.compiles.iter().find(|(who, _)| *who == runner).map(|(_, compiled)| *compiled)
    }
}

/// The interpreter is not run again once it took so long.
const SLOW: Duration = Duration::from_secs(2);

/// A loop as Python programs have it: calls, small objects, a dictionary, strings.
const LOOP: &str = "
def collatz(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
seen = {}
for i in range(1, 6000):
    seen.setdefault(collatz(i), []).append(str(i))
print(sum(len(''.join(numbers)) for numbers in seen.values()))
";

/// Runs everything.
pub fn all(options: &Options) -> Result<Vec<Measured>> {
    let mut kernels: Vec<PathBuf> = fs::read_dir(&options.guests)
        .with_context(|| format!("read {}", options.guests.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
        .collect();
    kernels.sort();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let mut measured = Vec::new();
    for module in &kernels {
        let name = module.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if wanted(&name) {
            let compiles = compile_all(options, module, true)?;
            measured.push(one(options, &name, Class::Kernel, module, compiles, &[])?);
        }
    }
    if let Some(given) = &options.cpython {
        let cases = [("cpython start", "pass"), ("cpython loop", LOOP)];
        let cases: Vec<_> = cases.into_iter().filter(|(name, _)| wanted(name)).collect();
        if !cases.is_empty() {
            let module = options.guests.join("cpython").join("python.wasm");
            fs::create_dir_all(options.guests.join("cpython"))?;
            fs::copy(given, &module).with_context(|| format!("copy {}", given.display()))?;
            let mut compiles = compile_all(options, &module, options.full)?;
            for (name, program) in cases {
                let compiled = std::mem::take(&mut compiles);
                measured.push(one(options, name, Class::Application, &module, compiled, &["-c", program])?);
            }
        }
    }
    Ok(measured)
}

/// The least CPU time of a few compiles; of one, where it takes seconds.
fn compile_all(options: &Options, module: &Path, top: bool) -> Result<Vec<(Runner, Compiled)>> {
    let segue = fs::read_to_string("/proc/cpuinfo").unwrap_or_default().contains(" fsgsbase");
    let ours = |runner, tier| {
        Ok::<_, anyhow::Error>((
            runner,
            compile::ours(options, module, tier, segue, &code_path(module, tier))?,
        ))
    };
    let mut compiled = Vec::new();
    for _ in 0..if module.metadata()?.len() < 1 << 20 { options.repeat.min(3) } else { 1 } {
        compiled.push(ours(Runner::Quick, "quick")?);
        if top {
            compiled.push(ours(Runner::Top, "top")?);
        }
        let theirs = compile::wasmtime(options, module, &code_path(module, "wasmtime"))?;
        compiled.push((Runner::Wasmtime, theirs));
    }
    compiled.sort_by_key(|(runner, compiled)| (*runner, compiled.cpu));
    compiled.dedup_by_key(|(runner, _)| *runner);
    Ok(compiled)
}

fn one(
    options: &Options,
    name: &str,
    class: Class,
    module: &Path,
    compiles: Vec<(Runner, Compiled)>,
    arguments: &[&str],
) -> Result<Measured> {
    eprintln!("{name}");
    let mut times: Vec<(Runner, Duration)> = Vec::new();
    let mut answer: Option<Vec<u8>> = None;
    for round in 0..options.repeat {
        for runner in Runner::ALL {
            // The interpreter takes ten times as long and more, and its figure is no promise.
            let slow = times.iter().any(|(who, time)| *who == runner && *time > SLOW);
            let skipped = runner == Runner::Interpreter && (slow || round >= 2);
            let absent = class == Class::Application
                && (matches!(runner, Runner::Native | Runner::March)
                    || runner == Runner::Top && !options.full);
            if skipped || absent {
                continue;
            }
            let (time, said) = run(options, runner, module, arguments)
                .with_context(|| format!("{name}, {}", runner.name()))?;
            let expected = answer.get_or_insert_with(|| said.clone());
            ensure!(*expected == said, "{name}: {} computes something else", runner.name());
            times.push((runner, time));
        }
    }
    times.sort();
    times.dedup_by_key(|(runner, _)| *runner);
    Ok(Measured { name: name.to_owned(), class, times, compiles })
}

/// One run: CPU time, and what the guest printed.
fn run(options: &Options, runner: Runner, module: &Path, arguments: &[&str]) -> Result<(Duration, Vec<u8>)> {
    let report = options.guests.join("report");
    let output = options.guests.join("output");
    let ours = |code: PathBuf| -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(guest::WORD).arg(code).arg(&report);
        Ok(command)
    };
    let mut command = match runner {
        Runner::Interpreter => ours(module.to_owned())?,
        Runner::Quick => ours(code_path(module, "quick"))?,
        Runner::Top => ours(code_path(module, "top"))?,
        Runner::Native => Command::new(module.with_extension("native")),
        Runner::March => Command::new(module.with_extension("march")),
        Runner::Wasmtime => {
            let mut command = Command::new(&options.python);
            command.arg(&options.script).arg("run").arg(code_path(module, "wasmtime")).arg(&report);
            command
        }
    };
    command.args(arguments).stdout(Stdio::from(fs::File::create(&output)?));
    let usage = reap(silent(&mut command))?;
    ensure!(usage.status.success(), "{}", usage.status);
    let time = match runner {
        Runner::Native | Runner::March => usage.cpu,
        _ => Duration::from_nanos(fs::read_to_string(&report)?.parse().context("read the report")?),
    };
    Ok((time, fs::read(&output)?))
}
