//! What `SPECIFICATION.md` promises in numbers that hold on any machine: memory, processor time at rest, and times as
//! parts of another runtime's in the same run.

use crate::figures::{Figure, Figures};
use crate::options::{Network, Options, Through, Workload};
use crate::stack::Stack;

/// A figure of our stack and what it must not exceed, in the figure's unit.
struct Limit {
    /// Names of the figure; the first that could be measured counts.
    keys: &'static [&'static str],
    at_most: f64,
    /// The figure per container falls with their number: the least number it is promised for.
    least: usize,
}

const fn limit(keys: &'static [&'static str], at_most: f64, least: usize) -> Limit {
    Limit { keys, at_most, least }
}

/// Of a container through the Task API.
const CONTAINER: &[Limit] = &[
    // A guest process, its pages shared with the zygote counted in part.
    limit(&["pss_guest"], 200.0, 20),
    // Of the whole stack, containerd's growth and kernel memory included.
    limit(&["mem_free", "pss_kernel"], 700.0, 100),
    // The server before its first and after its last container.
    limit(&["server_idle"], 3.0 * 1024.0, 1),
    // The server's bookkeeping.
    limit(&["server_growth"], 16.0, 100),
];
/// Of a pod with one container, all in.
const POD_ON_HOST_NETWORK: &[Limit] =
    &[limit(&["mem_free", "pss_kernel"], 1126.0, 100), limit(&["mem_free", "pss_kernel"], 1024.0, 400)];
const POD_ON_BRIDGE: &[Limit] = &[limit(&["mem_free", "pss_kernel"], 1331.0, 100)];
/// What a container that runs CPython takes for itself; the template is the node's.
const PYTHON: &[Limit] = &[limit(&["cgroup_containers"], 2.2 * 1024.0, 5)];
/// The same where it was started once for all.
const PYTHON_WARM: &[Limit] = &[limit(&["cgroup_containers"], 400.0, 5)];

/// A figure of ours in parts of another stack's.
struct Ratio {
    key: &'static str,
    ours: &'static str,
    theirs: &'static str,
    /// Ours is at least so many times theirs.
    at_least: f64,
}

const RATES: &[Ratio] = &[Ratio { key: "at8_rate", ours: "wamr", theirs: "runc", at_least: 3.0 }];
/// CNI's plugins, the same for both, are most of ours.
const RATES_ON_BRIDGE: &[Ratio] = &[Ratio { key: "at8_rate", ours: "wamr", theirs: "runc", at_least: 2.0 }];
/// Starting does not take longer where there are thousands of mounts; runc's takes twice as long. A half is noise.
const MOUNTS: &[Ratio] =
    &[Ratio { key: "own_p50", ours: "wamr", theirs: "wamr-mounts", at_least: 1.0 / 1.5 }];
/// Compiled code starts no later than the interpreter. Taken one stack after the other, so part of the bound is noise.
const COMPILED: &[Ratio] = &[
    Ratio { key: "own_whole", ours: "wamr", theirs: "wamr-aot-eager", at_least: 1.0 / 1.5 },
    Ratio { key: "at1_p50", ours: "wamr", theirs: "wamr-aot-eager", at_least: 1.0 / 1.5 },
];

/// Prints each promise with its figure; false if one is broken.
pub fn check(options: &Options, all: &[(Stack, Figures)]) -> bool {
    println!("\npromises");
    let limits = match (options.workload, options.through, options.network) {
        (Workload::Hello, Through::Ctr, Network::Host) => CONTAINER,
        (Workload::Hello, Through::Cri, Network::Host) => POD_ON_HOST_NETWORK,
        (Workload::Hello, Through::Cri, Network::Bridge) => POD_ON_BRIDGE,
        (Workload::Python, Through::Ctr, Network::Host) => PYTHON,
        _ => &[],
    };
    let ratios = match options.workload {
        Workload::Hello if options.mounts > 0 => MOUNTS,
        Workload::Hello if options.containers < 100 => &[],
        Workload::Hello if options.network == Network::Bridge => RATES_ON_BRIDGE,
        Workload::Hello => RATES,
        _ => &[],
    };
    let mut kept = true;
    for (stack, figures) in all.iter().filter(|(stack, _)| stack.ours && stack.mounts == 0) {
        let limits =
            if stack.is_warm() && options.workload == Workload::Python { PYTHON_WARM } else { limits };
        for limit in limits.iter().filter(|limit| limit.least <= options.containers) {
            kept &= below(stack, figures, limit);
        }
    }
    let named = |name: &str| all.iter().find(|(stack, _)| stack.name == name).map(|(_, figures)| figures);
    let compiled = if options.workload == Workload::Hello { COMPILED } else { &[] };
    for ratio in ratios.iter().chain(compiled) {
        if let (Some(ours), Some(theirs)) = (named(ratio.ours), named(ratio.theirs)) {
            kept &= above(ours, theirs, ratio);
        }
    }
    kept
}

fn below(stack: &Stack, figures: &Figures, limit: &Limit) -> bool {
    let found: Vec<&Figure> = limit.keys.iter().filter_map(|key| figures.get(key)).collect();
    let Some(figure) = found.iter().find(|figure| figure.value.is_ok()).or(found.first()) else {
        return true;
    };
    let holds = figure.value.is_ok_and(|value| value <= limit.at_most);
    let value = figure.value.map_or_else(|why| format!("n/a ({why})"), |value| format!("{value:.1}"));
    let (what, unit) = (figure.what.trim(), figure.unit);
    println!(
        "  {} {}: {what}: {value} {unit}, promised at most {:.1} {unit}",
        word(holds),
        stack.name,
        limit.at_most
    );
    holds
}

fn above(ours: &Figures, theirs: &Figures, ratio: &Ratio) -> bool {
    let value = |figures: &Figures| figures.get(ratio.key).and_then(|figure| figure.value.ok());
    // A way of starting that was not asked for.
    let (Some(ours), Some(theirs)) = (value(ours), value(theirs)) else { return true };
    let holds = ours >= ratio.at_least * theirs;
    let Ratio { key, ours: us, theirs: them, at_least } = ratio;
    println!(
        "  {} {key}: {us} {ours:.2}, {them} {theirs:.2}, promised at least {at_least:.2} of it",
        word(holds)
    );
    holds
}

fn word(holds: bool) -> &'static str {
    if holds { "kept  " } else { "BROKEN" }
}
