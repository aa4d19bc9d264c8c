//! Memory and start-up of N containers or pods on a private containerd: ours, and other runtimes, in one run.
//!
//! `benches/run.sh` brings the files together; `benches/README.md` says what each figure means.

mod bed;
mod cgroups;
mod chart;
mod compiled;
mod configuration;
mod containers;
mod cpu;
mod figures;
mod floor;
mod host_mounts;
mod launcher;
mod log_lines;
mod machine;
mod measure;
mod memory;
mod memory_figures;
mod options;
mod page;
mod plot;
mod pods;
mod promises;
mod report;
mod server;
mod spec;
mod stack;
mod start_figures;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::options::Options;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("benchmark: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a promise is broken.
fn run() -> Result<bool> {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    if program.ends_with(floor::FILE) {
        return floor::run(&arguments).map(|()| true);
    }
    if let Some(("plot", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return plot::run(rest).map(|()| true);
    }
    let options = Options::parse(arguments.into_iter())?;
    ensure!(rustix::process::geteuid().is_root(), "needs root: it starts a containerd and makes cgroups");
    // One thread: what the harness takes away from what it measures is to be little, and the same for all.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let machine = machine::Machine::describe(&options)?;
    let mut all = Vec::new();
    let (stacks, missing) = stack::stacks(&options)?;
    for stack::Missing { name, why } in missing {
        eprintln!("== {name}: skipped, {why}");
    }
    for stack in stacks {
        eprintln!("== {}", stack.label);
        let figures = runtime.block_on(async {
            tokio::select! {
                figures = measure::measure(&stack, &options) => figures,
                interrupted = interrupted() => interrupted.and(Err(anyhow::anyhow!("interrupted"))),
            }
        });
        all.push((stack, figures?));
    }
    report::print(&machine, &options, &all);
    if let Some(folder) = &options.results {
        let path = report::write(folder, &machine, &options, &all)?;
        println!("\nwritten to {}", path.display());
    }
    if !options.check {
        return Ok(true);
    }
    Ok(promises::check(&options, &all))
}

/// Returns when somebody wants the run to end; what was started is then ended in order.
async fn interrupted() -> Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        word = tokio::signal::ctrl_c() => Ok(word?),
        _ = terminated.recv() => Ok(()),
    }
}
