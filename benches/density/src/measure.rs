//! The order of things for one stack.
//!
//! containerd is warmed up with one container and its shim is ended, so that `before` is a containerd that has worked
//! and no shim. Another container then warms what starting needs, and is deleted; only then come the N.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::containers::{Batch, Containers, Times};
use crate::figures::{Figure, Figures, figure, percentile};
use crate::memory::{Role, Sample};
use crate::options::Options;
use crate::server::{self, Own};
use crate::stack::Stack;
use crate::{cpu, image};

/// How many containers the server makes without containerd.
const OWN: usize = 50;
const PARALLEL: usize = 8;

/// Everything that is taken down on the way.
struct Measured {
    before: Sample,
    idle: Sample,
    after: Sample,
    idle_cpu: Option<Duration>,
    serial: (Batch, Duration),
    parallel: (Batch, Duration),
    own: Option<Vec<Own>>,
}

/// Measures one stack.
pub async fn measure(stack: &Stack, options: &Options) -> Result<Figures> {
    let bed = Bed::start(stack, options)?;
    let image: image::Image = bed.import(stack)?;
    let containers = Containers::connect(&bed, stack, image, options).await?;
    let measured = all(&bed, stack, options, &containers).await;
    let measured =
        measured.with_context(|| format!("{}; containerd's log ends with\n{}", stack.label, bed.log()))?;
    Ok(figures(&measured, options.containers))
}

async fn all(
    bed: &Bed,
    stack: &Stack,
    options: &Options,
    containers: &std::sync::Arc<Containers>,
) -> Result<Measured> {
    let n = options.containers;
    let ids = |prefix: &str| (1..=n).map(|i| format!("{prefix}-{i}")).collect::<Vec<_>>();
    eprintln!("   warming up");
    warm_up(containers, "first").await?;
    bed.end_shims()?;
    let before = Sample::settled(bed).await?;
    warm_up(containers, "second").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = Sample::take(bed)?;

    eprintln!("   {n} containers, one at a time");
    let one_by_one = ids("serial");
    let begun = bed.cgroups.cpu()?;
    let batch = containers.start(&one_by_one, 1).await?;
    let serial = (batch, bed.cgroups.cpu()? - begun);
    let after = Sample::settled(bed).await?;
    let idle_cpu = cpu::idle(bed, Duration::from_secs(4)).await;
    containers.delete(&one_by_one).await?;

    // Caches were dropped: what starting needs is read back before the clock runs again.
    warm_up(containers, "third").await?;
    eprintln!("   {n} containers, {PARALLEL} at a time");
    let side_by_side = ids("parallel");
    let begun = bed.cgroups.cpu()?;
    let batch = containers.start(&side_by_side, PARALLEL).await?;
    let parallel = (batch, bed.cgroups.cpu()? - begun);
    let own = match bed.server_socket() {
        Some(socket) if stack.ours => Some(server::create_and_start(bed, containers, &socket, OWN).await?),
        _ => None,
    };
    containers.delete(&side_by_side).await?;
    // Shims that are about to end still hold their mounts for a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for left in bed.leftovers() {
        eprintln!("   NOTE: {} left behind: {left}", stack.name);
    }
    Ok(Measured { before, idle, after, idle_cpu, serial, parallel, own })
}

async fn warm_up(containers: &std::sync::Arc<Containers>, id: &str) -> Result<()> {
    let id = [id.to_owned()];
    containers.start(&id, 1).await?;
    containers.delete(&id).await
}

fn figures(measured: &Measured, n: usize) -> Figures {
    let Measured { before, idle, after, serial, parallel, own, .. } = measured;
    Figures {
        sections: vec![
            ("memory per container, all alive", memory(before, after, n)),
            ("the node's share", node(measured, n)),
            ("start, one at a time", start(serial, SERIAL)),
            ("start, 8 at a time", start(parallel, PARALLEL_KEYS)),
            ("the server alone, without containerd", own_part(own.as_deref())),
        ],
        raw: json!({
            "before": before.json(), "idle": idle.json(), "after": after.json(),
            "serial": batch_json(&serial.0), "parallel": batch_json(&parallel.0),
            "own": own.iter().flatten().map(|own| json!([ms(own.create), ms(own.start)])).collect::<Vec<_>>(),
        }),
    }
}

fn memory(before: &Sample, after: &Sample, n: usize) -> Vec<Figure> {
    let each = |more: u64, less: u64| (more as f64 - less as f64) / 1024.0 / n as f64;
    let pss = |role| each(after.of(role).pss, before.of(role).pss);
    let all = pss(Role::Containerd) + pss(Role::Shims) + pss(Role::Zygote) + pss(Role::Guests);
    let (containers, stack) =
        (each(after.containers.total, before.containers.total), each(after.stack.total, before.stack.total));
    let of = |key, what, value| figure(key, what, "KiB", value);
    // Whole-host readings mean something only while nothing else on the host moves.
    let host = |key, what, value: f64| {
        let disturbed = each(after.others, before.others).abs() > 0.1 * value.abs();
        let value = if disturbed {
            Err("other processes of this machine grew or shrank by more than a tenth of it")
        } else {
            Ok(value)
        };
        Figure { key, what, unit: "KiB", value }
    };
    vec![
        host("mem_available", "drop of MemAvailable", each(before.host.available, after.host.available)),
        host("mem_free", "drop of MemFree", each(before.host.free, after.host.free)),
        of(
            "kernel",
            "growth of slab, stacks, page tables, percpu",
            each(after.host.kernel, before.host.kernel),
        ),
        of("pss", "PSS of all processes", all),
        of("pss_guest", "  the container's own processes", pss(Role::Guests)),
        of("pss_shims", "  shims, or the server's share", pss(Role::Shims)),
        of("pss_zygote", "  the zygote's share", pss(Role::Zygote)),
        of("pss_containerd", "  growth of containerd", pss(Role::Containerd)),
        of("cgroup", "memory cgroups, kernel memory included", containers + stack),
        of("cgroup_containers", "  the container's own", containers),
        of(
            "cgroup_kernel",
            "    of which kernel memory",
            each(after.containers.kernel, before.containers.kernel),
        ),
        of("cgroup_stack", "  growth of containerd's and the shims'", stack),
    ]
}

fn node(measured: &Measured, n: usize) -> Vec<Figure> {
    let Measured { idle, after, idle_cpu, .. } = measured;
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    // Once containers are there, a server that serves them all shares pages with none that it did not share before
    // except by forking: its private pages tell its growth better than PSS, which falls as more processes share.
    let server = idle.of(Role::Shims).processes == 1;
    let none = "it has a shim per container";
    let value = |value: f64| if server { Ok(value) } else { Err(none) };
    let (idle_server, full_server) = (idle.of(Role::Shims), after.of(Role::Shims));
    let growth = (full_server.private as f64 - idle_server.private as f64) / 1024.0 / n as f64;
    let processes = [Role::Shims, Role::Zygote, Role::Guests].map(|role| after.of(role).processes);
    vec![
        Figure {
            key: "server_idle",
            what: "PSS of the server without containers",
            unit: "KiB",
            value: value(kib(idle_server.pss)),
        },
        Figure {
            key: "zygote_idle",
            what: "PSS of the zygote without containers",
            unit: "KiB",
            value: value(kib(idle.of(Role::Zygote).pss)),
        },
        Figure {
            key: "server_growth",
            what: "private memory more in the server per container",
            unit: "KiB",
            value: value(growth),
        },
        figure("processes", "processes beside containerd", "", processes.iter().sum::<u64>() as f64),
        Figure {
            key: "idle_cpu",
            what: "CPU per second of all, idle, without containerd",
            unit: "ms",
            value: idle_cpu.map(ms).ok_or("the kernel keeps no schedstat"),
        },
    ]
}

/// Keys of one way of starting.
struct Keys {
    p50: &'static str,
    p99: &'static str,
    prepare: &'static str,
    create: &'static str,
    start: &'static str,
    rate: &'static str,
    cpu: &'static str,
}

const SERIAL: Keys = Keys {
    p50: "serial_p50",
    p99: "serial_p99",
    prepare: "serial_prepare",
    create: "serial_create",
    start: "serial_start",
    rate: "serial_rate",
    cpu: "serial_cpu",
};

const PARALLEL_KEYS: Keys = Keys {
    p50: "parallel_p50",
    p99: "parallel_p99",
    prepare: "parallel_prepare",
    create: "parallel_create",
    start: "parallel_start",
    rate: "parallel_rate",
    cpu: "parallel_cpu",
};

fn start((batch, cpu): &(Batch, Duration), keys: Keys) -> Vec<Figure> {
    let n = batch.times.len() as f64;
    let at = |fraction, of: fn(&Times) -> Duration| {
        let mut all: Vec<f64> = batch.times.iter().map(|times| ms(of(times))).collect();
        all.sort_by(f64::total_cmp);
        percentile(&all, fraction)
    };
    vec![
        figure(keys.p50, "Create call to first line, p50", "ms", at(0.5, |times| times.line)),
        figure(keys.p99, "Create call to first line, p99", "ms", at(0.99, |times| times.line)),
        figure(keys.prepare, "  record and snapshot before it, p50", "ms", at(0.5, |times| times.prepare)),
        figure(keys.create, "  of which Create, p50", "ms", at(0.5, |times| times.create)),
        figure(keys.start, "  of which Start, p50", "ms", at(0.5, |times| times.start)),
        figure(
            keys.rate,
            "containers per second, to the last one's line",
            "1/s",
            n / batch.wall.as_secs_f64(),
        ),
        figure(keys.cpu, "CPU per container, containerd included", "ms", ms(*cpu) / n),
    ]
}

fn own_part(own: Option<&[Own]>) -> Vec<Figure> {
    let at = |key, what, fraction, of: fn(&Own) -> Duration| {
        let value = own.ok_or("its shim is not asked without containerd").map(|own| {
            let mut all: Vec<f64> = own.iter().map(|one| ms(of(one))).collect();
            all.sort_by(f64::total_cmp);
            percentile(&all, fraction)
        });
        Figure { key, what, unit: "ms", value }
    };
    vec![
        at("own_p50", "Create + Start, p50", 0.5, |own| own.create + own.start),
        at("own_p99", "Create + Start, p99", 0.99, |own| own.create + own.start),
        at("own_line", "Start to first line, p50", 0.5, |own| own.line),
    ]
}

fn batch_json(batch: &Batch) -> Value {
    let times = batch.times.iter().map(|t| json!([ms(t.prepare), ms(t.create), ms(t.start), ms(t.line)]));
    json!({ "wall_ms": ms(batch.wall), "prepare_create_start_line_ms": times.collect::<Vec<_>>() })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
