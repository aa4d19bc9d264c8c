//! What `SPECIFICATION.md` promises of speed: ratios of one run, which hold on any machine of this kind.

use crate::summary::Summary;

/// A figure and what it must not exceed.
const PROMISES: &[(&str, f64)] = &[
    ("top_wasmtime", 0.9),
    ("top_native", 1.05),
    ("quick_wasmtime", 1.05),
    ("quick_compile", 3.0),
    ("cpython_quick", 1.15),
    // On two cores half of it.
    ("cpython_quick_seconds", 60.0),
    // All its processes together are below 1 GiB: they share most of this.
    ("quick_peak", 400.0),
];

/// Prints each promise with its figure; false if one is broken.
pub fn check(summary: &Summary) -> bool {
    println!("\npromises");
    let mut kept = true;
    for (key, limit) in PROMISES {
        // Not measured in this run.
        let Some((ratio, value)) = summary.get(key).and_then(|ratio| Some((ratio, ratio.value?))) else {
            continue;
        };
        let holds = value <= *limit;
        println!(
            "  {} {}: {value:.2}, promised at most {limit}",
            if holds { "kept  " } else { "BROKEN" },
            ratio.what
        );
        kept &= holds;
    }
    kept
}
