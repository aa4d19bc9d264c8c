//! Times of starts, as figures.

use std::time::Duration;

use serde_json::{Value, json};

use crate::figures::{Figure, figure, percentile};
use crate::launcher::{Batch, Launcher, Times};
use crate::measure::Starts;
use crate::server::Own;

/// Of N that were started together; `unit` is what one is called.
pub fn batch(starts: &Starts, launcher: &Launcher, unit: &str) -> Vec<Figure> {
    let Starts { batch, cpu } = starts;
    let n = batch.times.len() as f64;
    let at = |fraction, of: &dyn Fn(&Times) -> Option<Duration>| {
        percentile(&sorted(batch.times.iter().filter_map(|times| of(times).map(ms))), fraction)
    };
    let key = |name: &str| format!("at{}_{name}", batch.at_a_time);
    let first = launcher.first_call();
    let mut figures = vec![
        figure(
            key("p50"),
            format!("{first} call to first line, p50"),
            "ms",
            at(0.5, &|times| Some(times.line)),
        ),
        figure(
            key("p99"),
            format!("{first} call to first line, p99"),
            "ms",
            at(0.99, &|times| Some(times.line)),
        ),
    ];
    for (number, (name, what)) in launcher.steps().iter().enumerate() {
        let value = at(0.5, &|times| times.steps.get(number).copied());
        figures.push(figure(key(name), format!("  {what}, p50"), "ms", value));
    }
    figures.push(figure(key("wall"), "time to the last one's first line", "s", batch.wall.as_secs_f64()));
    figures.push(figure(key("rate"), format!("{unit}s per second"), "1/s", n / batch.wall.as_secs_f64()));
    figures.push(figure(key("cpu"), format!("CPU per {unit}, containerd included"), "ms", ms(*cpu) / n));
    figures
}

/// Of containers that our server was asked for without containerd.
pub fn own_part(own: &[Own]) -> Vec<Figure> {
    let at = |key: &str, what: &str, fraction, of: fn(&Own) -> Duration| {
        figure(key, what, "ms", percentile(&sorted(own.iter().map(|own| ms(of(own)))), fraction))
    };
    vec![
        at("own_p50", "Create + Start, p50", 0.5, |own| own.create + own.start),
        at("own_p99", "Create + Start, p99", 0.99, |own| own.create + own.start),
        at("own_line", "Start to first line, p50", 0.5, |own| own.line),
        at("own_whole", "Create to first line, p50", 0.5, |own| own.create + own.start + own.line),
    ]
}

/// All that was measured.
pub fn batch_json(batch: &Batch, launcher: &Launcher) -> Value {
    let columns: Vec<&str> = launcher.steps().iter().map(|(name, _)| *name).chain(["line"]).collect();
    let times = batch
        .times
        .iter()
        .map(|times| times.steps.iter().chain([&times.line]).map(|time| ms(*time)).collect::<Vec<_>>());
    json!({
        "at_a_time": batch.at_a_time, "wall_ms": ms(batch.wall), "columns": columns,
        "times_ms": times.collect::<Vec<_>>(),
    })
}

/// The same of the server alone.
pub fn own_json(own: &[Own]) -> Value {
    own.iter().map(|own| json!([ms(own.create), ms(own.start), ms(own.line)])).collect()
}

/// In milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all
}
