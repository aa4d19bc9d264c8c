//! Compiles one wasm module: bytes in through descriptor 0, an AOT file out through descriptor 1.
//!
//! The module is a stranger's, and LLVM was not written to meet one. So nothing of it is looked at before the process
//! has nothing left but these descriptors, memory and the processor (`jail::seclude`).

use std::io::{Read, Write};
use std::process::ExitCode;

use aot::Tier;

const USAGE: &str = "\
usage: wamr-aotc --tier quick|top [--segue] [--cgroup FILE]... < MODULE.wasm > MODULE.aot

Compiles a WebAssembly module to the AOT format of the WAMR in containerd-shim-wamr-v1, for this processor.

  --tier quick|top  compile fast, or for speed
  --segue           address memory by the GS register; needs a processor and kernel with FSGSBASE
  --identity        print which build of WAMR the code is for, and which compiler this is
  --cgroup FILE     enter the cgroup of this cgroup.procs file first
  --unconfined      stay as it was started, instead of giving up everything but memory and the two
                    descriptors, which takes root: for modules you trust only
";

/// Deep enough for LLVM's recursion over large functions; grows as it is used.
const STACK: u64 = 64 << 20;
/// Largest AOT file: no module that may be loaded makes a larger one.
const OUTPUT: u64 = 4 << 30;

struct Options {
    tier: Tier,
    segue: bool,
    cgroups: Vec<String>,
    confined: bool,
}

enum Order {
    Compile(Options),
    Print(String),
}

/// Why there is no code, and whose fault it is: exit status 1 says that the module cannot be compiled, 3 that this machine
/// cannot do it now.
enum Failure {
    Module(String),
    Machine(String),
}

fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Order::Compile(options)) => compile(&options),
        Ok(Order::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprint!("wamr-aotc: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Module(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
        Err(Failure::Machine(why)) => {
            eprintln!("{why}");
            ExitCode::from(3)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let (mut tier, mut segue, mut cgroups, mut confined) = (None, false, Vec::new(), true);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--tier" => tier = Some(value()?.parse()?),
            "--segue" => segue = true,
            "--cgroup" => cgroups.push(value()?),
            "--unconfined" => confined = false,
            "--identity" => return Ok(Order::Print(line(&aot::identity(aotc::IDENTITY)))),
            "--help" | "-h" => return Ok(Order::Print(USAGE.to_owned())),
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    let tier = tier.ok_or("--tier is missing")?;
    Ok(Order::Compile(Options { tier, segue, cgroups, confined }))
}

/// Ends this process by a signal. Returns only if that does not.
fn end_by(signal: i32) -> Failure {
    // SAFETY: plain numbers; the signal's default action ends the process.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    Failure::Module(format!("a part of the compiler was ended by signal {signal}"))
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

fn compile(options: &Options) -> Result<(), Failure> {
    let machine = Failure::Machine;
    // First, so that all memory is charged there.
    for cgroup in &options.cgroups {
        std::fs::write(cgroup, "0").map_err(|e| machine(format!("enter the cgroup of {cgroup}: {e}")))?;
    }
    if options.confined {
        // The server that started it is the last that the kernel should kill; this is the first.
        std::fs::write("/proc/self/oom_score_adj", "1000")
            .map_err(|e| machine(format!("raise oom_score_adj: {e}")))?;
        let limits = [
            (libc::RLIMIT_CORE, 0, 0),
            (libc::RLIMIT_STACK, STACK, STACK),
            (libc::RLIMIT_FSIZE, OUTPUT, OUTPUT),
        ];
        jail::seclude(&limits)
            .map_err(|e| machine(format!("confine the compiler (as root, or with --unconfined): {e}")))?;
    }
    let mut module = Vec::new();
    std::io::stdin().lock().read_to_end(&mut module).map_err(|e| machine(format!("read the module: {e}")))?;
    let compiler = aotc::Compiler::start().map_err(|e| machine(e.to_string()))?;
    let written = compiler.compile(module, options.tier, options.segue, write).map_err(|e| match e {
        aotc::Error::Machine(e) => machine(e.to_string()),
        // Ends as that part of it did, so that whoever started it sees why.
        aotc::Error::Killed(signal) => end_by(signal),
        e => Failure::Module(e.to_string()),
    })?;
    written.map_err(|e| machine(format!("write the code: {e}")))?;
    // SAFETY: a plain number. What it does not run, destructors of LLVM's options, nobody needs.
    unsafe { libc::_exit(0) }
}

fn write(code: &[u8]) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(code)?;
    output.flush()
}
