//! The table for people, the file for machines.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::figures::{Figure, Figures};
use crate::machine::Machine;
use crate::options::Options;
use crate::stack::Stack;

/// Prints the table. The last column is each first stack's value in parts of the last one's.
pub fn print(machine: &Machine, options: &Options, all: &[(Stack, Figures)]) {
    let Some((_, first)) = all.first() else { return };
    println!("\n{}\n{}", options.title(), machine.summary);
    let mut reasons: Vec<&'static str> = Vec::new();
    let widest = all.iter().map(|(stack, _)| stack.label.len()).max().unwrap_or_default();
    let width = widest.max(14) + 2;
    for (title, figures) in &first.sections {
        print!("\n{title:<52}");
        all.iter().for_each(|(stack, _)| print!("{:>width$}", stack.label));
        println!("{:>9}", "ratio");
        for figure in figures {
            let row: Vec<Option<&Figure>> = all.iter().map(|(_, figures)| figures.get(&figure.key)).collect();
            print!("  {:<50}", format!("{}{}", figure.what, unit(figure.unit)));
            for cell in &row {
                print!("{:>width$}", text(*cell, &mut reasons));
            }
            println!("{:>9}", ratio(&row).map_or(String::new(), |ratio| format!("{ratio:.3}")));
        }
    }
    for (number, reason) in reasons.iter().enumerate() {
        println!("\nn/a {}: {reason}", number + 1);
    }
}

/// Writes the JSON and returns its path.
pub fn write(
    folder: &Path,
    machine: &Machine,
    options: &Options,
    all: &[(Stack, Figures)],
) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let stacks = all.iter().map(|(stack, figures)| {
        let values = figures.sections.iter().flat_map(|(_, figures)| figures).map(|figure| {
            let value = match figure.value {
                Ok(value) => json!({ "value": value, "unit": figure.unit, "what": figure.what.trim() }),
                Err(why) => json!({ "value": null, "why": why, "what": figure.what.trim() }),
            };
            (figure.key.clone(), value)
        });
        let entry = json!({
            "runtime": stack.runtime, "label": stack.label, "args": stack.args,
            "figures": values.collect::<Map<_, _>>(), "raw": figures.raw,
        });
        (stack.name.clone(), entry)
    });
    let order: Vec<_> = all.iter().map(|(stack, _)| &stack.name).collect();
    let report = json!({
        "machine": machine.json, "title": options.title(), "form": options.form(), "asked": options.asked(),
        "through": options.through.name(), "network": options.network.name(), "workload": options.workload.name(),
        "containers": options.containers, "order": order, "stacks": stacks.collect::<Map<String, Value>>(),
    });
    let date = machine.json.get("date").and_then(Value::as_str).unwrap_or("undated").replace(':', "");
    let path = folder.join(format!("{date}-{}.json", options.form()));
    fs::write(&path, format!("{report:#}\n")).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(", {unit}") }
}

fn text(figure: Option<&Figure>, reasons: &mut Vec<&'static str>) -> String {
    match figure.map(|figure| figure.value) {
        Some(Ok(value)) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(Ok(value)) => format!("{value:.2}"),
        Some(Err(why)) => {
            let known = reasons.iter().position(|reason| *reason == why);
            let number = known.unwrap_or_else(|| {
                reasons.push(why);
                reasons.len() - 1
            });
            format!("n/a {}", number + 1)
        }
        None => String::new(),
    }
}

fn ratio(row: &[Option<&Figure>]) -> Option<f64> {
    let value = |cell: &Option<&Figure>| cell.and_then(|figure| figure.value.ok());
    let (ours, theirs) = (value(row.first()?)?, value(row.last()?)?);
    // Differences of noisy readings may be negative; a ratio of them means nothing.
    (row.len() > 1 && ours >= 0.0 && theirs > 0.0).then(|| ours / theirs)
}
