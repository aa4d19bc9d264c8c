//! What `SPECIFICATION.md` promises in numbers that hold on any machine: memory, and processor time at rest.

use crate::figures::Figures;

/// A figure and what it must not exceed, in the figure's unit.
const PROMISES: &[(&str, f64)] = &[
    // A guest process, its pages shared with the zygote counted in part.
    ("pss_guest", 200.0),
    // The server before its first and after its last container.
    ("server_idle", 3.0 * 1024.0),
    // The server's bookkeeping.
    ("server_growth", 16.0),
];

/// Prints each promise with its figure; false if one is broken.
pub fn check(figures: &Figures) -> bool {
    println!("\npromises");
    let mut kept = true;
    for (key, limit) in PROMISES {
        let Some(figure) = figures.get(key) else { continue };
        let holds = figure.value.is_ok_and(|value| value <= *limit);
        let value = figure.value.map_or_else(|why| format!("n/a ({why})"), |value| format!("{value:.1}"));
        let word = if holds { "kept  " } else { "BROKEN" };
        println!(
            "  {word} {}: {value} {unit}, promised at most {limit} {unit}",
            figure.what.trim(),
            unit = figure.unit
        );
        kept &= holds;
    }
    kept
}
