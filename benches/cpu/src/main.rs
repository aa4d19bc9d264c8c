//! How fast guests run: interpreted, at each tier of compiled code, as native code, and by wasmtime; and what compiling
//! costs. All in one run, so that ratios hold whatever else the machine does.
//!
//! ```text
//! cpu --guests FOLDER --aotc FILE --python FILE [--cpython FILE] [--results FOLDER] [--only NAME] [--repeat N]
//!     [--full] [--check]
//! ```
//! `benches/cpu/run.sh` brings the parts together; `benches/README.md` says what each figure means.

mod compile;
mod guest;
mod machine;
mod measure;
mod options;
mod plot;
mod promises;
mod report;
mod summary;

use std::process::ExitCode;

use anyhow::Result;

use crate::options::Options;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let outcome = if arguments.peek().is_some_and(|first| first == guest::WORD) {
        guest::run(arguments.skip(1)).map(|code| code == 0)
    } else {
        bench(arguments)
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("benchmark: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a promise is broken.
fn bench(arguments: impl Iterator<Item = String>) -> Result<bool> {
    let options = Options::parse(arguments)?;
    let machine = machine::Machine::describe(&options)?;
    let measured = measure::all(&options)?;
    let summary = summary::Summary::of(&measured);
    print!("{}", report::text(&machine, &measured, &summary));
    if let Some(folder) = &options.results {
        for path in report::write(folder, &machine, &measured, &summary)? {
            println!("written: {}", path.display());
        }
    }
    Ok(!options.check || promises::check(&summary))
}
