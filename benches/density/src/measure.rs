//! The order of things for one stack.
//!
//! containerd is warmed up with one container and its shim is ended, so that `before` is a containerd that has worked
//! and no shim. Another container then warms what starting needs, and is deleted; only then come the N.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::bed::Bed;
use crate::cpu;
use crate::figures::Figures;
use crate::launcher::{Batch, Launcher};
use crate::memory::Sample;
use crate::options::Options;
use crate::server::{self, Own};
use crate::stack::Stack;
use crate::{compiled, memory_figures, start_figures};

/// How many containers the server makes without containerd.
const OWN: usize = 50;

/// Memory at the moments that matter.
#[derive(Debug)]
pub struct Memory {
    /// containerd alone.
    pub before: Sample,
    /// Without containers, but with what stays for the next one.
    pub idle: Sample,
    /// N containers alive.
    pub after: Sample,
    /// Processor time per second that N idle containers take. None: the kernel does not tell.
    pub idle_cpu: Option<Duration>,
}

/// One way of starting N.
#[derive(Debug)]
pub struct Starts {
    /// Their times.
    pub batch: Batch,
    /// Processor time of everything.
    pub cpu: Duration,
}

/// Everything that is taken down on the way.
struct Measured {
    memory: Memory,
    starts: Vec<Starts>,
    own: Option<Vec<Own>>,
}

/// Measures one stack.
pub async fn measure(stack: &Stack, options: &Options) -> Result<Figures> {
    let bed = Bed::start(stack, options)?;
    let launcher = Launcher::connect(&bed, stack, options).await?;
    let measured = all(&bed, stack, options, &launcher).await;
    let measured =
        measured.with_context(|| format!("{}; containerd's log ends with\n{}", stack.label, bed.log()))?;
    Ok(figures(&measured, &launcher, options))
}

async fn all(bed: &Bed, stack: &Stack, options: &Options, launcher: &Arc<Launcher>) -> Result<Measured> {
    let n = options.containers;
    eprintln!("   warming up");
    warm_up(launcher, "first").await?;
    if stack.is_compiled() {
        eprintln!("   compiling");
        for start in ["second", "third"] {
            warm_up(launcher, start).await?;
        }
        compiled::wait(&bed.folder).await?;
    }
    bed.end_shims()?;
    let before = Sample::settled(bed).await?;
    warm_up(launcher, "idle").await?;
    // A server gives memory back three seconds after a removal.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = Sample::settled(bed).await?;

    let (mut starts, mut alive, mut own) = (Vec::new(), None, None);
    for (round, &at_a_time) in options.parallel.iter().enumerate() {
        if round > 0 {
            // Caches were dropped: what starting needs is read back before the clock runs again.
            warm_up(launcher, &format!("warm-{round}")).await?;
        }
        eprintln!("   {n} {}s, {at_a_time} at a time", options.through.unit());
        let names: Vec<_> = (1..=n).map(|i| format!("at{at_a_time}-{i}")).collect();
        let begun = bed.cgroups.cpu()?;
        let batch = launcher.start(&names, at_a_time).await?;
        starts.push(Starts { batch, cpu: bed.cgroups.cpu()? - begun });
        if round == 0 {
            eprintln!("   their memory");
            alive = Some((Sample::settled(bed).await?, cpu::idle(bed, Duration::from_secs(4)).await));
        }
        if round + 1 == options.parallel.len()
            && let (true, Launcher::Containers(containers), Some(socket)) =
                (stack.ours && !stack.stdin, &**launcher, bed.server_socket())
        {
            own = Some(server::create_and_start(bed, containers, &socket, OWN).await?);
        }
        launcher.delete(&names).await?;
    }
    // Shims that are about to end still hold their mounts for a moment.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for left in bed.leftovers() {
        eprintln!("   NOTE: {} left behind: {left}", stack.name);
    }
    let (after, idle_cpu) = alive.context("no way of starting was asked for")?;
    Ok(Measured { memory: Memory { before, idle, after, idle_cpu }, starts, own })
}

async fn warm_up(launcher: &Arc<Launcher>, name: &str) -> Result<()> {
    let name = [name.to_owned()];
    launcher.start(&name, 1).await?;
    launcher.delete(&name).await
}

fn figures(measured: &Measured, launcher: &Launcher, options: &Options) -> Figures {
    let Measured { memory, starts, own } = measured;
    let unit = options.through.unit();
    let mut sections = vec![
        (format!("memory per {unit}, all alive"), memory_figures::each(memory, options)),
        ("the node's share".to_owned(), memory_figures::node(memory, options)),
    ];
    for starts in starts {
        let title = match starts.batch.at_a_time {
            1 => "start, one at a time".to_owned(),
            n => format!("start, {n} at a time"),
        };
        sections.push((title, start_figures::batch(starts, launcher, unit)));
    }
    if own.is_some() {
        sections.push((
            "the server alone, without containerd".to_owned(),
            start_figures::own_part(own.as_deref().unwrap_or_default()),
        ));
    }
    let batches = starts.iter().map(|starts| start_figures::batch_json(&starts.batch, launcher));
    Figures {
        sections,
        raw: json!({
            "before": memory.before.json(), "idle": memory.idle.json(), "after": memory.after.json(),
            "starts": batches.collect::<Vec<_>>(),
            "own_create_start_line_ms": start_figures::own_json(own.as_deref().unwrap_or_default()),
        }),
    }
}
