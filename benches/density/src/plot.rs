//! `density plot`: what runs wrote, as `docs/benchmarks/`: charts, and a page with the figures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::chart::{Bar, Chart, Group};
use crate::page;

/// One run that was written down.
#[derive(Debug)]
pub struct Run(Value);

/// One stack of a run.
#[derive(Debug, Clone, Copy)]
pub struct Column<'r>(&'r Value);

impl Run {
    /// Text at the top of it.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// What is known of the machine.
    pub fn machine(&self, key: &str) -> String {
        match self.0.get("machine").and_then(|machine| machine.get(key)) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Its stacks, in the order in which they ran.
    pub fn columns(&self) -> Vec<Column<'_>> {
        let order = self.0.get("order").and_then(Value::as_array).into_iter().flatten();
        let stack = |name: &Value| self.0.get("stacks")?.get(name.as_str()?).map(Column);
        order.filter_map(stack).collect()
    }

    /// How many were started at a time.
    pub fn rounds(&self) -> Vec<u64> {
        let starts =
            self.columns().first().and_then(|column| column.0.get("raw")?.get("starts")?.as_array().cloned());
        starts.into_iter().flatten().filter_map(|start| start.get("at_a_time")?.as_u64()).collect()
    }

    fn containers(&self) -> u64 {
        self.0.get("containers").and_then(Value::as_u64).unwrap_or_default()
    }
}

impl Column<'_> {
    /// For people.
    pub fn label(&self) -> &str {
        self.0.get("label").and_then(Value::as_str).unwrap_or_default()
    }

    /// Ours and others have different colours.
    fn tint(&self) -> usize {
        let runtime = self.0.get("runtime").and_then(Value::as_str).unwrap_or_default();
        usize::from(runtime != "io.containerd.wamr.v1")
    }

    /// A figure; none if it could not be measured.
    pub fn figure(&self, key: &str) -> Option<f64> {
        self.0.get("figures")?.get(key)?.get("value")?.as_f64()
    }

    /// What a figure is, and its unit.
    pub fn about(&self, key: &str) -> Option<(&str, &str)> {
        let figure = self.0.get("figures")?.get(key)?;
        Some((figure.get("what")?.as_str()?, figure.get("unit").and_then(Value::as_str).unwrap_or_default()))
    }
}

/// Reads `--from FOLDER --into FOLDER` and writes.
pub fn run(args: &[String]) -> Result<()> {
    let [from, source, into, target] = args else { bail!("plot needs --from FOLDER --into FOLDER") };
    ensure!(from == "--from" && into == "--into", "plot needs --from FOLDER --into FOLDER");
    let (runs, target) = (read(Path::new(source))?, Path::new(target));
    ensure!(!runs.is_empty(), "{source} holds no results");
    fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
    let mut drawn = Vec::new();
    // Runs of one workload are next to each other. Bars of another one would make these too small to read.
    for runs in runs.chunk_by(|one, other| one.text("workload") == other.text("workload")) {
        let workload = runs.first().map_or("", |run| run.text("workload"));
        let charts = [
            ("memory", memory(runs)),
            ("free", free(runs)),
            ("rate", rate(runs)),
            ("latency", latency(runs)),
        ];
        for (name, chart) in charts {
            let file = format!("{name}-{workload}.svg");
            let path = target.join(&file);
            if chart.groups.is_empty() {
                // What an earlier page showed.
                let _ = fs::remove_file(path);
                continue;
            }
            fs::write(&path, chart.svg()).with_context(|| format!("write {}", path.display()))?;
            drawn.push((file, chart.title));
        }
    }
    let path = target.join("README.md");
    fs::write(&path, page::of(&runs, &drawn)).with_context(|| format!("write {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

/// The latest run of each form, in the order in which forms are told.
fn read(folder: &Path) -> Result<Vec<Run>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        files.extend(Some(entry?.path()).filter(|path| path.extension().is_some_and(|end| end == "json")));
    }
    // Names begin with the date.
    files.sort();
    let mut runs: Vec<Run> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let run = Run(serde_json::from_str(&text).with_context(|| format!("understand {}", file.display()))?);
        runs.retain(|other| other.text("form") != run.text("form"));
        runs.push(run);
    }
    let key = |run: &Run| {
        (run.text("workload").to_owned(), run.text("through").to_owned(), run.text("network").to_owned())
    };
    runs.sort_by_key(|run| (key(run), run.containers()));
    Ok(runs)
}

/// Parts of the memory of one, whoever holds it.
const PARTS: [(&str, &str); 6] = [
    ("pss_guest", "container"),
    ("pss_sandboxes", "sandbox"),
    ("pss_shims", "shims or server"),
    ("pss_zygote", "zygote"),
    ("pss_containerd", "growth of containerd"),
    ("kernel", "kernel memory"),
];

fn memory(runs: &[Run]) -> Chart {
    let bar = |column: Column<'_>| {
        let all = column.figure("pss_kernel")?;
        Some(Bar {
            label: column.label().to_owned(),
            segments: PARTS.iter().map(|(key, _)| column.figure(key).unwrap_or_default()).collect(),
            tint: 0,
            text: format!("{all:.0} KiB"),
        })
    };
    Chart {
        title: "Memory of one, by who holds it: PSS of all processes and kernel memory".to_owned(),
        legend: PARTS.iter().map(|(_, name)| *name).collect(),
        groups: groups(runs, bar),
    }
}

fn free(runs: &[Run]) -> Chart {
    let bar = |column: Column<'_>| {
        let all = column.figure("mem_free")?;
        let (label, tint) = (column.label().to_owned(), column.tint());
        Some(Bar { label, segments: vec![all], tint, text: format!("{all:.0} KiB") })
    };
    Chart {
        title: "Drop of MemFree for each: the whole stack, as free tells it".to_owned(),
        groups: groups(runs, bar),
        ..Chart::default()
    }
}

fn rate(runs: &[Run]) -> Chart {
    let bars = |column: Column<'_>, round: u64| {
        let rate = column.figure(&format!("at{round}_rate"))?;
        let label = format!("{}, {round} at a time", column.label());
        Some(Bar { label, segments: vec![rate], tint: column.tint(), text: format!("{rate:.1}/s") })
    };
    Chart { title: "Started per second".to_owned(), groups: by_round(runs, bars), ..Chart::default() }
}

fn latency(runs: &[Run]) -> Chart {
    let bars = |column: Column<'_>, round: u64| {
        let (p50, p99) =
            (column.figure(&format!("at{round}_p50"))?, column.figure(&format!("at{round}_p99"))?);
        Some(Bar {
            label: format!("{}, {round} at a time", column.label()),
            segments: vec![p50, p99 - p50],
            tint: 0,
            text: format!("{p50:.0} / {p99:.0} ms"),
        })
    };
    Chart {
        title: "Time from the first call to the first line".to_owned(),
        legend: vec!["p50", "p99"],
        groups: by_round(runs, bars),
    }
}

/// A group for each run that has such a bar.
fn groups(runs: &[Run], bar: impl Fn(Column<'_>) -> Option<Bar>) -> Vec<Group> {
    let group = |run: &Run| {
        let bars: Vec<_> = run.columns().into_iter().filter_map(&bar).collect();
        (!bars.is_empty()).then(|| Group { label: run.text("title").to_owned(), bars })
    };
    runs.iter().filter_map(group).collect()
}

/// The same with a bar for each way of starting.
fn by_round(runs: &[Run], bar: impl Fn(Column<'_>, u64) -> Option<Bar>) -> Vec<Group> {
    let group = |run: &Run| {
        let rounds = run.rounds();
        let bars: Vec<_> = rounds
            .iter()
            .flat_map(|round| run.columns().into_iter().filter_map(|column| bar(column, *round)))
            .collect();
        (!bars.is_empty()).then(|| Group { label: run.text("title").to_owned(), bars })
    };
    runs.iter().filter_map(group).collect()
}
