//! Writing limits, when a cgroup is made and when they change.

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::path::Path;

use crate::{Cgroup, DeviceRate, Error, Limits, Memory, Result, Version, file};

impl Cgroup {
    /// Sets every limit that is given and leaves the others as they are. Not atomic: on an error, those
    /// before it stay.
    ///
    /// Zero means "not given" where the kernel has no use for a zero and OCI runtimes traditionally read it
    /// so: memory limit, reservation and swap, cpu shares, quota and period, pids, block I/O weights. Any
    /// negative amount is no limit.
    ///
    /// On v2 the units are converted: shares 2 to 262144 to `cpu.weight` 1 to 10000 linearly, `1 + (shares -
    /// 2) * 9999 / 262142`; block I/O weight 10 to 1000 to `io.weight` in the same manner, unless BFQ has a
    /// weight of its own; memory plus swap to swap alone.
    ///
    /// Where systemd has made a unit of the cgroup, it is told.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Unsupported`], [`Error::NoController`], [`Error::NoFile`], [`Error::Refused`],
    /// [`Error::BelowUsage`]: each names the limit. [`Error::Unit`].
    pub fn apply(&self, limits: &Limits) -> Result<()> {
        self.write_limits(limits)?;
        self.unit().map_or(Ok(()), |unit| self.tell_limits(unit))
    }

    pub(crate) fn write_limits(&self, limits: &Limits) -> Result<()> {
        match self.version() {
            Version::V1 => v1::apply(self, limits),
            Version::V2 => v2::apply(self, limits),
        }
    }
}

/// An amount that may be unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Amount {
    Of(i64),
    Unlimited,
}

impl Amount {
    /// `None` for zero: see [`Cgroup::apply`].
    fn given(value: Option<i64>) -> Option<Self> {
        match value? {
            0 => None,
            value if value < 0 => Some(Self::Unlimited),
            value => Some(Self::Of(value)),
        }
    }

    /// With `-1` (v1) or `max` (v2) for no limit.
    fn text(self, unlimited: &str) -> String {
        match self {
            Self::Of(value) => value.to_string(),
            Self::Unlimited => unlimited.to_owned(),
        }
    }
}

/// Limit and memory plus swap, each if given.
///
/// # Errors
/// [`Error::Invalid`] if they contradict each other.
fn memory_and_swap(memory: &Memory) -> Result<(Option<Amount>, Option<Amount>)> {
    let (limit, swap) = (Amount::given(memory.limit), Amount::given(memory.swap));
    match (limit, swap) {
        (Some(limit), Some(swap)) if swap < limit => Err(Error::Invalid {
            limit: "memory.swap",
            value: swap.text("-1"),
            reason: format!("it counts memory and swap together, and memory.limit is {}", limit.text("-1")),
        }),
        both => Ok(both),
    }
}

/// `check_before_update`: a limit below present use is refused instead of enforced by killing.
fn check_usage(memory: &Memory, limit: Option<Amount>, usage: &Path) -> Result<()> {
    match (limit, file::read_number(usage)) {
        (Some(Amount::Of(limit)), Some(usage))
            if memory.check_before_update && usage > limit.unsigned_abs() =>
        {
            Err(Error::BelowUsage { limit, usage })
        }
        _ => Ok(()),
    }
}

/// Sets two values of which the kernel checks each against the other's present value. Either order can be the
/// wrong one, so if the first is refused for that reason, the second goes first.
fn set_either_order(first: impl Fn() -> Result<()>, second: impl Fn() -> Result<()>) -> Result<()> {
    match first() {
        Err(e) if e.is_invalid_argument() => second().and_then(|()| first()),
        result => result.and_then(|()| second()),
    }
}

/// A huge page size as the kernel names it becomes part of file names.
fn check_page_size(size: &str) -> Result<()> {
    if !size.is_empty() && size.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let reason = "it must be a page size like 2MB".to_owned();
    Err(Error::Invalid { limit: "hugepageLimits.pageSize", value: size.to_owned(), reason })
}

/// `major:minor value`, the format of every file with a line per device.
fn device_line(device: &DeviceRate, value: impl std::fmt::Display) -> String {
    format!("{}:{} {value}", device.major, device.minor)
}
