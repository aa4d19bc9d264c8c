//! The table for people, the file for machines, the plot.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::machine::Machine;
use crate::measure::{Measured, Runner};
use crate::plot;
use crate::summary::Summary;

/// How it begins.
const HEAD: &str = "# Speed\n\nMade by `make bench-cpu`; [benches/README.md](../../benches/README.md#speed) says what each figure \
                    means.\n\n";

/// Compilers, in the table's order.
const COMPILERS: [Runner; 3] = [Runner::Quick, Runner::Top, Runner::Wasmtime];

/// The report as Markdown, which a terminal shows as well.
pub fn text(machine: &Machine, measured: &[Measured], summary: &Summary) -> String {
    let mut text = String::from(HEAD);
    for line in &machine.lines {
        // Writing to a string cannot fail; likewise below.
        let _ = writeln!(text, "{line}  ");
    }
    text += "\n| ms of CPU |";
    Runner::ALL.iter().for_each(|runner| text += &format!(" {} |", runner.name()));
    text += " top / wasmtime |\n|---|";
    text += &"---:|".repeat(Runner::ALL.len() + 1);
    for guest in measured {
        let _ = write!(text, "\n| {} |", guest.name);
        for runner in Runner::ALL {
            let time = guest.time(runner);
            text += &time.map_or(" |".to_owned(), |time| format!(" {:.0} |", time.as_secs_f64() * 1e3));
        }
        let ratio = guest.time(Runner::Top).zip(guest.time(Runner::Wasmtime));
        text += &ratio.map_or(" |".to_owned(), |(top, other)| {
            format!(" {:.2} |", top.as_secs_f64() / other.as_secs_f64())
        });
    }
    text += "\n\n| compiling |";
    for runner in COMPILERS {
        let _ = write!(text, " {}, ms of CPU | MiB | KiB of code |", runner.name());
    }
    text += "\n|---|";
    text += &"---:|".repeat(3 * COMPILERS.len());
    for guest in measured.iter().filter(|guest| !guest.compiles.is_empty()) {
        let _ = write!(text, "\n| {} |", guest.name);
        for runner in COMPILERS {
            text += &guest.compiled(runner).map_or(" | | |".to_owned(), |c| {
                format!(
                    " {:.0} | {} | {} |",
                    c.cpu.as_secs_f64() * 1e3,
                    c.peak_kib / 1024,
                    c.bytes.div_ceil(1024)
                )
            });
        }
    }
    text += "\n\n| in short, geometric means | |\n|---|---:|\n";
    for ratio in &summary.0 {
        if let Some(value) = ratio.value {
            let _ = writeln!(text, "| {} | {value:.2} |", ratio.what);
        }
    }
    text
}

/// Writes `DATE-cpu.md`, `.json` and `.svg`.
pub fn write(
    folder: &Path,
    machine: &Machine,
    measured: &[Measured],
    summary: &Summary,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let name = format!("{}-cpu", machine.date);
    let plot = format!("\n![Time relative to wasmtime]({name}.svg)\n");
    let files = [
        ("md", text(machine, measured, summary) + &plot),
        ("json", format!("{:#}\n", json(machine, measured, summary))),
        ("svg", plot::svg(&machine.lines, measured)),
    ];
    let write = |(ending, content): (&str, String)| {
        let path = folder.join(format!("{name}.{ending}"));
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    };
    files.into_iter().map(write).collect()
}

fn json(machine: &Machine, measured: &[Measured], summary: &Summary) -> Value {
    let guests = measured.iter().map(|guest| {
        let times =
            guest.times.iter().map(|(runner, time)| (runner.name().to_owned(), json!(time.as_secs_f64())));
        let compiles = guest.compiles.iter().map(|(runner, c)| {
            let compiled = json!({
                "cpu_seconds": c.cpu.as_secs_f64(), "wall_seconds": c.wall.as_secs_f64(),
                "peak_kib": c.peak_kib, "code_bytes": c.bytes,
            });
            (runner.name().to_owned(), compiled)
        });
        let entry = json!({
            "cpu_seconds": times.collect::<Map<_, _>>(), "compile": compiles.collect::<Map<_, _>>(),
        });
        (guest.name.clone(), entry)
    });
    let ratios = summary.0.iter().map(|ratio| (ratio.key.to_owned(), json!(ratio.value)));
    json!({
        "machine": machine.json, "guests": guests.collect::<Map<String, Value>>(),
        "summary": ratios.collect::<Map<_, _>>(),
    })
}
