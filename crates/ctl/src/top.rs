//! `wamrctl top`: what containers do now.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::command_line::{Order, Top};
use crate::output::{self, Align, Outcome, Table, print_json};
use crate::ps::{self, COLUMNS, Row, cells, none};

/// From here on over what was there before.
const CLEAR: &str = "\x1b[H\x1b[J";

/// A container and its part of the processors.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    row: Row,
    /// Percent of one processor since the last look; absent for the first look at a container.
    cpu_percent: Option<f64>,
}

/// Whose time it is: an id may be used again by another container, with another process.
type Whose = (u32, String, i32);

/// Processor times at one moment.
#[derive(Default)]
struct Look(Option<Instant>, HashMap<Whose, u64>);

/// Prints again and again.
///
/// # Errors
/// As [`ps::rows`].
pub fn run(asked: &Top, json: bool) -> Outcome {
    let screen = !json && std::io::stdout().is_terminal();
    let mut last = Look::default();
    let mut complete = true;
    let mut left = asked.count.unwrap_or(u64::MAX);
    while left > 0 {
        let (rows, all) = ps::rows(&asked.which)?;
        complete &= all;
        let now = Instant::now();
        let mut lines = measure(rows, &last, now);
        last = look(&lines, now);
        sort(&mut lines, asked.sort);
        if json {
            print_json(&lines)?;
        } else {
            print(&lines, asked, screen)?;
        }
        left -= 1;
        if left > 0 {
            std::thread::sleep(Duration::from_secs_f64(asked.interval));
        }
    }
    Ok(complete)
}

fn whose(row: &Row) -> Whose {
    (row.server, row.container.id.clone(), row.container.pid)
}

fn look(lines: &[Line], now: Instant) -> Look {
    let times = lines.iter().filter_map(|line| Some((whose(&line.row), line.row.usage.cpu_ns?)));
    Look(Some(now), times.collect())
}

fn measure(rows: Vec<Row>, last: &Look, now: Instant) -> Vec<Line> {
    let elapsed = last.0.map(|then| now.saturating_duration_since(then).as_nanos() as f64);
    let percent = |row: &Row| {
        let used = row.usage.cpu_ns?.saturating_sub(*last.1.get(&whose(row))?);
        elapsed.filter(|elapsed| *elapsed > 0.0).map(|elapsed| used as f64 * 100.0 / elapsed)
    };
    rows.into_iter().map(|row| Line { cpu_percent: percent(&row), row }).collect()
}

fn sort(lines: &mut [Line], order: Order) {
    // Lines with the same figure stay in the order of their ids.
    match order {
        Order::Id => {}
        Order::Cpu => {
            lines.sort_by(|a, b| b.cpu_percent.unwrap_or(0.0).total_cmp(&a.cpu_percent.unwrap_or(0.0)))
        }
        Order::Memory => {
            lines.sort_by_key(|line| std::cmp::Reverse(line.row.usage.memory.map_or(0, |m| m.private_kib)));
        }
    }
}

fn print(lines: &[Line], asked: &Top, screen: bool) -> Result<(), String> {
    let mut columns = COLUMNS.to_vec();
    columns.push(("CPU %", Align::Right));
    let mut table = Table::new(&columns);
    for line in lines {
        let percent = line.cpu_percent.map_or_else(none, |percent| format!("{percent:.1}"));
        table.add(cells(&line.row, asked.which.no_trunc).into_iter().chain([percent]));
    }
    let (mut private, mut running) = (0, 0);
    for line in lines {
        private += line.row.usage.memory.map_or(0, |memory| memory.private_kib);
        running += usize::from(line.row.container.state == "running");
    }
    let summary = format!("{} containers, {running} running, {private} KiB private", lines.len());
    let mut text: Vec<String> = [summary, String::new()].into_iter().chain(table.lines()).collect();
    if screen {
        let rows = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(24, |size| size.ws_row.max(4));
        text.truncate(usize::from(rows) - 1);
        if let Some(first) = text.first_mut() {
            first.insert_str(0, CLEAR);
        }
    } else {
        text.push(String::new());
    }
    output::print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{Memory, Usage};

    fn row(id: &str, pid: i32, cpu_ns: u64, private_kib: u64) -> Row {
        let container = shim::report::Container {
            id: id.to_owned(),
            sandbox: None,
            kind: "wasm".to_owned(),
            state: "running".to_owned(),
            exit: None,
            pid,
            execs: 0,
            bundle: "/b".into(),
            cgroup: Vec::new(),
            module: None,
        };
        let memory = Some(Memory { private_kib, shared_kib: 0, pss_kib: private_kib });
        let usage = Usage { processes: 1, memory, cpu_ns: Some(cpu_ns) };
        Row { namespace: "n".to_owned(), server: 1, container, usage }
    }

    fn ids(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.row.container.id.as_str()).collect()
    }

    #[test]
    fn percent_is_of_the_time_since_the_last_look_at_the_same_process() {
        let then = Instant::now();
        let first = measure(vec![row("a", 1, 0, 1), row("b", 2, 0, 1)], &Look::default(), then);
        assert!(first.iter().all(|line| line.cpu_percent.is_none()));
        let now = then + Duration::from_secs(2);
        // `b` was deleted meanwhile, and made again.
        let rows = vec![row("a", 1, 1_000_000_000, 1), row("b", 3, 9_000_000_000, 1)];
        let second = measure(rows, &look(&first, then), now);
        let percents: Vec<_> = second.iter().map(|line| line.cpu_percent).collect();
        assert_eq!(percents, [Some(50.0), None]);
    }

    #[test]
    fn the_busiest_or_the_largest_comes_first() {
        let then = Instant::now();
        let first = measure(vec![row("a", 1, 0, 9), row("b", 2, 0, 1)], &Look::default(), then);
        let rows = vec![row("a", 1, 5, 9), row("b", 2, 7, 1)];
        let mut lines = measure(rows, &look(&first, then), then + Duration::from_secs(1));
        sort(&mut lines, Order::Cpu);
        assert_eq!(ids(&lines), ["b", "a"]);
        sort(&mut lines, Order::Memory);
        assert_eq!(ids(&lines), ["a", "b"]);
    }
}
