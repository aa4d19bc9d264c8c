//! What `SPECIFICATION.md` promises of speed: ratios of one run, which hold on any machine of this kind.

use crate::summary::Summary;

/// A figure and what it must not exceed.
const PROMISES: &[(&str, f64)] = &[];

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
