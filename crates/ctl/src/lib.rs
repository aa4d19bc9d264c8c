//! `wamrctl`: for whoever looks after a node. Reads what the servers tell, `/proc` and cgroups; asks containerd.
//!
//! Changes nothing but the cache of compiled code, and that only where a command says so. Nothing that does not answer can
//! make it wait for ever: servers, containerd and programs are given seconds.

#![forbid(unsafe_code)]

mod cache;
mod command_line;
mod compile;
mod containerd;
mod doctor;
mod generate;
mod output;
mod program;
mod ps;
mod servers;
mod top;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use command_line::{Action, CommandLine};

/// Runs the program with all its arguments. 0: done, and all is well; 1: something is wrong, or could not be done; 2: the
/// arguments make no sense.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let CommandLine { json, action } = match CommandLine::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            // Help goes to stdout, refusals to stderr; whoever closed it does not want it.
            let _ = refusal.print();
            return ExitCode::from(if refusal.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match action {
        Action::Ps(asked) => ps::run(&asked, json),
        Action::Top(asked) => top::run(&asked, json),
        Action::Compile(asked) => compile::run(&asked, json),
        Action::Cache(asked) => cache::run(&asked, json),
        Action::Doctor(asked) => doctor::run(&asked, json),
        Action::Completion { shell } => generate::completion(shell),
        Action::Generate { folder } => generate::all(&folder),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            output::complain(&why);
            ExitCode::FAILURE
        }
    }
}
