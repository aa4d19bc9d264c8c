//! `wamrctl ps`: every container of every server.

use serde::Serialize;
use shim::report::{Container, Report};

use crate::command_line::Ps;
use crate::output::{self, Align, Outcome, Table, print_json, shortened};
use crate::servers;
use crate::usage::Usage;

/// A container with whose it is and what it takes.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The containerd namespace.
    pub namespace: String,
    /// The process that serves it.
    pub server: u32,
    /// What the server tells.
    #[serde(flatten)]
    pub container: Container,
    /// What the kernel tells.
    #[serde(flatten)]
    pub usage: Usage,
}

/// All containers that were asked for, and whether that is all of them. What is missing is told on stderr.
///
/// # Errors
/// When nothing can be told.
pub fn rows(asked: &Ps) -> Result<(Vec<Row>, bool), String> {
    let host = cgroup::Host::detect().map_err(|e| e.to_string())?;
    let heard = servers::ask_all()?;
    for fault in &heard.faults {
        output::complain(fault);
    }
    let wanted = |report: &Report| asked.namespace.as_ref().is_none_or(|name| *name == report.namespace);
    let rows = heard.reports.into_iter().filter(wanted).flat_map(|report| {
        let Report { namespace, pid, containers, .. } = report;
        let host = &host;
        containers.into_iter().map(move |container| {
            let usage = Usage::of(&container, host);
            Row { namespace: namespace.clone(), server: pid, container, usage }
        })
    });
    Ok((rows.collect(), heard.faults.is_empty()))
}

/// Prints them once.
///
/// # Errors
/// As [`rows`].
pub fn run(asked: &Ps, json: bool) -> Outcome {
    let (rows, complete) = rows(asked)?;
    if json {
        print_json(&rows)?;
    } else {
        let mut columns = COLUMNS.to_vec();
        columns.push(("CPU", Align::Right));
        let mut table = Table::new(&columns);
        for row in &rows {
            let cpu = row.usage.cpu_ns.map_or_else(none, |ns| format!("{:.3}s", ns as f64 / 1e9));
            table.add(cells(row, asked.no_trunc).into_iter().chain([cpu]));
        }
        output::print(&table.lines())?;
    }
    Ok(complete)
}

/// What `ps` and `top` have in common.
pub const COLUMNS: [(&str, Align); 9] = [
    ("NAMESPACE", Align::Left),
    ("CONTAINER", Align::Left),
    ("SANDBOX", Align::Left),
    ("STATE", Align::Left),
    ("PID", Align::Right),
    ("MODULE", Align::Left),
    ("TIER", Align::Left),
    ("PRIVATE KiB", Align::Right),
    ("SHARED KiB", Align::Right),
];

/// A row's entries under [`COLUMNS`].
pub fn cells(row: &Row, whole: bool) -> [String; 9] {
    let Container { id, sandbox, kind, state, exit, pid, module, .. } = &row.container;
    let kib = |part: fn(&crate::usage::Memory) -> u64| {
        row.usage.memory.as_ref().map_or_else(none, |memory| part(memory).to_string())
    };
    [
        row.namespace.clone(),
        shortened(id, whole),
        sandbox.as_ref().map_or_else(none, |sandbox| shortened(sandbox, whole)),
        exit.map_or_else(|| state.clone(), |status| format!("{state} ({status})")),
        pid.to_string(),
        module.as_ref().map_or_else(|| format!("({kind})"), |module| shortened(&module.digest, whole)),
        module.as_ref().map_or_else(none, |module| {
            if module.warm { format!("{}, warm", module.tier) } else { module.tier.clone() }
        }),
        kib(|memory| memory.private_kib),
        kib(|memory| memory.shared_kib),
    ]
}

/// What stands where there is nothing to tell.
pub fn none() -> String {
    "-".to_owned()
}
