//! Processor time by the scheduler's own account, in nanoseconds: clock ticks are too coarse for idle containers.

use std::fs;
use std::time::{Duration, Instant};

use crate::bed::Bed;
use crate::memory::{Role, processes};

/// Processor time per second that shims, zygote and containers take over `interval` while nobody asks them anything.
/// Without containerd's own. `None` where the kernel keeps no account (`CONFIG_SCHED_INFO`).
pub async fn idle(bed: &Bed, interval: Duration) -> Option<Duration> {
    let ours = || processes(bed).into_iter().filter(|(role, _)| *role != Role::Containerd);
    let sum = || ours().map(|(_, pid)| taken(pid)).sum::<Option<Duration>>();
    let (begun, before) = (Instant::now(), sum()?);
    tokio::time::sleep(interval).await;
    let after = sum()?;
    Some(after.saturating_sub(before).div_f64(begun.elapsed().as_secs_f64()))
}

/// Of all threads of a process. None for one that ended: zero.
fn taken(pid: i32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        sum += Duration::from_nanos(text.split(' ').next()?.parse().ok()?);
    }
    Some(sum)
}
