//! The page beside the charts: who measured what, where and when, and the figures.

use std::fmt::Write as _;

use crate::plot::{Column, Run};

/// Figures of each run's table, those about starts apart.
const MEMORY: [&str; 13] = [
    "mem_free",
    "mem_available",
    "pss_kernel",
    "pss_guest",
    "pss_sandboxes",
    "pss_shims",
    "pss_zygote",
    "pss_containerd",
    "kernel",
    "cgroup",
    "templates",
    "processes",
    "idle_cpu",
];
const STARTS: [&str; 5] = ["rate", "p50", "p99", "answer", "cpu"];
const SERVER: [&str; 2] = ["own_p50", "own_p99"];

/// The page, in Markdown. `charts`: files and titles.
pub fn of(runs: &[Run], charts: &[(String, String)]) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Made by `make density`; do not edit. [benches/README.md](../../benches/README.md) says what each figure means and how to\n\
         measure one form alone. Memory is stable between machines; times are not: compare those of one table.\n\n",
    );
    if let Some(run) = runs.last() {
        // Writing to a string does not fail.
        let _ = writeln!(
            page,
            "{} × {}, {} MiB, Linux {}, cgroups {}; {}; {}.\n",
            run.machine("processors"),
            run.machine("model"),
            run.machine("memory_kib").parse::<u64>().unwrap_or_default() / 1024,
            run.machine("kernel"),
            run.machine("cgroups"),
            run.machine("containerd"),
            run.machine("runc"),
        );
    }
    for (file, title) in charts {
        let _ = writeln!(page, "![{title}]({file})\n");
    }
    for run in runs {
        table(&mut page, run);
    }
    page
}

fn table(page: &mut String, run: &Run) {
    let columns = run.columns();
    let _ = writeln!(page, "## {}\n", capital(run.text("title")));
    let _ = writeln!(
        page,
        "{}, load {} before it: `benches/run.sh {}`\n",
        run.machine("date"),
        run.machine("load"),
        run.text("asked")
    );
    let labels: Vec<_> = columns.iter().map(Column::label).collect();
    let ratio = columns.len() > 1;
    let _ = writeln!(page, "| | {} |{}", labels.join(" | "), if ratio { " ratio |" } else { "" });
    let _ = writeln!(page, "|---|{}{}", "---:|".repeat(columns.len()), if ratio { "---:|" } else { "" });
    let starts = run.rounds().into_iter().flat_map(|round| {
        STARTS.iter().map(move |key| (format!("at{round}_{key}"), format!(", {round} at a time")))
    });
    let plain = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), String::new())).collect::<Vec<_>>();
    for (key, when) in plain(&MEMORY).into_iter().chain(starts).chain(plain(&SERVER)) {
        let Some((what, unit)) = columns.iter().find_map(|column| column.about(&key)) else { continue };
        let values: Vec<_> = columns.iter().map(|column| column.figure(&key)).collect();
        let cells: Vec<_> = values.iter().map(|value| value.map_or("n/a".to_owned(), number)).collect();
        let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
        let _ = write!(page, "| {what}{when}{unit} | {} |", cells.join(" | "));
        if ratio {
            let both = values.first().copied().flatten().zip(values.last().copied().flatten());
            let quotient = both.filter(|(ours, theirs)| *ours >= 0.0 && *theirs > 0.0);
            let _ = write!(
                page,
                " {} |",
                quotient.map_or(String::new(), |(ours, theirs)| format!("{:.2}", ours / theirs))
            );
        }
        page.push('\n');
    }
    page.push('\n');
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
