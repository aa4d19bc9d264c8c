//! A container's cgroup as a transient scope of systemd's, delegated to us (`systemd.scope(5)`,
//! `org.freedesktop.systemd1(5)`, systemd's "Control Group APIs and Delegation").
//!
//! A scope must have a process when it starts, and ours is forked straight into its cgroup. So the order is:
//! make the directory with its limits, as without systemd; fork into it; then tell systemd of the scope with
//! this process in it. systemd takes a directory of the right name that exists over, its process stays where it
//! is, and the container was never without limits. The server can have this done while the new process loads its
//! module, so it takes next to nothing of the start's time; neither a placeholder process nor a move between
//! cgroups is needed.
//!
//! systemd then writes what it knows of into the files, defaults included, and again whenever it sees a reason.
//! So it is told what the files say, and what it had to round is written once more.
//!
//! When its last process has ended systemd removes the unit and the cgroup by itself, failed or not
//! (`CollectMode`). That includes the counters, so whoever wants those of an ended container must be quick. But it
//! learns of the end through the cgroup: one that is removed under its eyes is a scope that runs for ever. So
//! removing a cgroup begins with stopping its unit.

use std::path::PathBuf;
use std::time::Duration;

use super::Unit;
use super::bus::{Bus, Failure};
use super::message::Writer;
use crate::{Cgroup, Controller, Error, Limits, Result, Version, file, wait};

/// How long a unit of the same name may take to go: that of an earlier container under this id.
const LEAVING: Duration = Duration::from_secs(5);

/// systemd's word for no limit, in every property that has one.
const INFINITY: u64 = u64::MAX;

impl Cgroup {
    /// Tells systemd of this cgroup, with the first process in it; to be called once that process is forked and
    /// before it does anything that matters. Blocks for as long as systemd takes, a few milliseconds. Does
    /// nothing unless the path was a systemd unit on a host that systemd runs.
    ///
    /// `limits` are those the cgroup was made with.
    ///
    /// # Errors
    /// [`Error::Unit`], also when the process has ended meanwhile; those of [`Cgroup::apply`].
    pub fn adopt(&self, pid: i32, limits: &Limits) -> Result<()> {
        let Some(unit) = self.unit() else { return Ok(()) };
        // An earlier one with this name is on its way out, as nothing is in its cgroup any more.
        let started = wait::until(LEAVING, || match start(self, unit, pid) {
            Err(e) if e.is("UnitExists") => None,
            result => Some(result),
        });
        match started {
            Some(Ok(())) => self.write_limits(limits),
            Some(Err(failure)) => Err(refused("start", unit, &failure)),
            None => Err(Error::Unit {
                action: "start",
                unit: unit.scope(),
                reason: "there is one of that name: stop it, or give the container another id".to_owned(),
            }),
        }
    }

    /// Tells systemd of changed limits. A unit it does not know yet is told all of them later.
    pub(crate) fn tell_limits(&self, unit: &Unit) -> Result<()> {
        let mut body = Writer::default();
        body.string(&unit.scope());
        let runtime_only = true;
        body.bool(runtime_only);
        body.array(8, |properties| limits(self, properties, false));
        let exact = self.exact();
        match Bus::connect().and_then(|mut bus| bus.call("SetUnitProperties", "sba(sv)", body)) {
            Ok(_) => self.restore(&exact),
            Err(e) if e.is("NoSuchUnit") => Ok(()),
            Err(e) => Err(refused("change", unit, &e)),
        }
    }

    /// Has systemd stop the unit and waits until it has; most often it has gone already. Removes the cgroup.
    pub(crate) fn stop_unit(&self) -> Result<()> {
        let Some(unit) = self.unit() else { return Ok(()) };
        let mut body = Writer::default();
        body.string(&unit.scope());
        body.string("replace");
        match Bus::connect().and_then(|mut bus| bus.run_job("StopUnit", "ss", body)) {
            Ok(()) => Ok(()),
            Err(e) if e.is("NoSuchUnit") => Ok(()),
            Err(e) => Err(refused("stop", unit, &e)),
        }
    }

    /// What systemd writes less precisely than the kernel takes it: percents, and the idle class as a weight.
    fn exact(&self) -> Vec<(&'static str, PathBuf, String)> {
        let names: &[(&str, &str)] = match self.version() {
            Version::V1 => &[("cpu.quota", "cpu.cfs_quota_us")],
            Version::V2 => &[("cpu.quota", "cpu.max"), ("cpu.idle", "cpu.idle")],
        };
        let read = |&(limit, name)| {
            let path = self.file(Controller::Cpu, name)?;
            file::read_if_there(&path).map(|text| (limit, path, text))
        };
        names.iter().filter_map(read).collect()
    }

    fn restore(&self, exact: &[(&'static str, PathBuf, String)]) -> Result<()> {
        for (limit, path, text) in exact {
            if file::read_if_there(path).is_some_and(|now| now != *text) {
                let value = text.trim().to_owned();
                file::write(path, &value).map_err(|e| Error::Refused {
                    limit,
                    value,
                    file: path.clone(),
                    source: e.into(),
                })?;
            }
        }
        Ok(())
    }
}

fn refused(action: &'static str, unit: &Unit, failure: &Failure) -> Error {
    Error::Unit { action, unit: unit.scope(), reason: failure.to_string() }
}

fn start(cgroup: &Cgroup, unit: &Unit, pid: i32) -> Result<(), Failure> {
    let mut body = Writer::default();
    body.string(&unit.scope());
    body.string("fail");
    body.array(8, |properties| {
        text(properties, "Description", &format!("container {}", unit.name));
        text(properties, "Slice", &unit.slice);
        property(properties, "PIDs", "au");
        properties.array(4, |pids| pids.u32(pid.cast_unsigned()));
        flag(properties, "Delegate", true);
        text(properties, "CollectMode", "inactive-or-failed");
        // Without these, systemd would stop containers in no particular order before anything else at
        // shutdown, containerd among it.
        flag(properties, "DefaultDependencies", false);
        limits(cgroup, properties, true);
    });
    // No other units go with it.
    body.array(8, |_| {});
    Bus::connect()?.run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
}

/// What the files of a cgroup say, as properties. Of a new unit, defaults are left out: an old systemd refuses a
/// property it does not have.
fn limits(cgroup: &Cgroup, properties: &mut Writer, new: bool) {
    let read = |controller, name| file::read_if_there(&cgroup.file(controller, name)?);
    let amount = |controller, name| {
        let value = read(controller, name)?;
        // v1 has a largest number for "max".
        value.trim().parse().map_or(Some(INFINITY), |n: u64| Some(if n >= 1 << 62 { INFINITY } else { n }))
    };
    let mut number = |name: &str, value: Option<u64>, default: Option<u64>| {
        if let Some(value) = value.filter(|_| !new || value != default) {
            property(properties, name, "t");
            properties.u64(value);
        }
    };
    use Controller::{BlockIo, Cpu, Cpuset, Memory, Pids};
    // The default is the host's DefaultTasksMax, so this one always.
    number("TasksMax", amount(Pids, "pids.max"), None);
    let (quota, period) = match cgroup.version() {
        Version::V1 => {
            number("MemoryLimit", amount(Memory, "memory.limit_in_bytes"), Some(INFINITY));
            number("CPUShares", amount(Cpu, "cpu.shares"), Some(1024));
            // -1 without one.
            let quota = read(Cpu, "cpu.cfs_quota_us").and_then(|text| text.trim().parse().ok());
            (quota, amount(Cpu, "cpu.cfs_period_us"))
        }
        Version::V2 => {
            number("MemoryMin", amount(Memory, "memory.min"), Some(0));
            number("MemoryLow", amount(Memory, "memory.low"), Some(0));
            number("MemoryHigh", amount(Memory, "memory.high"), Some(INFINITY));
            number("MemoryMax", amount(Memory, "memory.max"), Some(INFINITY));
            number("MemorySwapMax", amount(Memory, "memory.swap.max"), Some(INFINITY));
            // 0 is the idle class, which it has a word for only since 252.
            number("CPUWeight", amount(Cpu, "cpu.weight").filter(|weight| *weight > 0), Some(100));
            let io = read(BlockIo, "io.weight").and_then(|text| file::keyed(&text, "default"));
            number("IOWeight", io, Some(100));
            let bandwidth = read(Cpu, "cpu.max").unwrap_or_default();
            let mut words = bandwidth.split_whitespace().map(|word| word.parse::<u64>().ok());
            (words.next().flatten(), words.next().flatten())
        }
    };
    let period = period.filter(|period| *period > 0);
    number("CPUQuotaPerSecUSec", period.map(|period| per_second(quota, period)), Some(INFINITY));
    number("CPUQuotaPeriodUSec", period, Some(100_000));
    for (name, file) in [("AllowedCPUs", "cpuset.cpus"), ("AllowedMemoryNodes", "cpuset.mems")] {
        // On v1 systemd leaves that controller alone.
        let list = read(Cpuset, file).filter(|_| cgroup.version() == Version::V2).map(|list| bits(&list));
        if let Some(bits) = list.filter(|bits| !new || !bits.is_empty()) {
            property(properties, name, "ay");
            properties.bytes(&bits);
        }
    }
}

/// Microseconds of processor time per second. systemd keeps whole percents when it reloads; rounded up, so that
/// nobody gets less than what was asked for.
fn per_second(quota: Option<u64>, period: u64) -> u64 {
    const PERCENT: u64 = 10_000;
    quota.map_or(INFINITY, |quota| {
        quota.saturating_mul(1_000_000).div_ceil(period).checked_next_multiple_of(PERCENT).unwrap_or(INFINITY)
    })
}

/// A list like `0-3,8` as a bit mask, lowest first.
fn bits(list: &str) -> Vec<u8> {
    let mut mask = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { continue };
        for bit in first..=last {
            let byte = usize::from(bit / 8);
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            if let Some(byte) = mask.get_mut(byte) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    mask
}

/// The start of a property: its value of the given type follows.
fn property(properties: &mut Writer, name: &str, kind: &str) {
    properties.structure();
    properties.string(name);
    properties.signature(kind);
}

fn text(properties: &mut Writer, name: &str, value: &str) {
    property(properties, name, "s");
    properties.string(value);
}

fn flag(properties: &mut Writer, name: &str, value: bool) {
    property(properties, name, "b");
    properties.bool(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::{Child, sleep};
    use crate::{Cpu, Host, Memory, Path};

    /// A cgroup at a unit of the test's own, where systemd runs the host.
    fn unit(name: &str, limits: &Limits) -> Option<(Cgroup, Unit)> {
        let host = Host::detect().unwrap();
        let path = Path::parse(&format!("wamrtest.slice:{}:{name}", std::process::id())).unwrap();
        let unit = path.unit(&host)?.clone();
        Some((Cgroup::create(&host, &path, limits).unwrap(), unit))
    }

    fn known(unit: &Unit) -> bool {
        let mut body = Writer::default();
        body.string(&unit.scope());
        match Bus::connect().and_then(|mut bus| bus.call("GetUnit", "s", body)) {
            Ok(_) => true,
            Err(e) if e.is("NoSuchUnit") => false,
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn a_scope_lives_as_long_as_its_process_and_can_come_back_at_once() {
        let limits = Limits {
            memory: Memory { limit: Some(64 << 20), ..Memory::default() },
            cpu: Cpu { quota: Some(12_345), period: Some(100_000), ..Cpu::default() },
            pids: Some(9),
            ..Limits::default()
        };
        for _ in 0..5 {
            let Some((cgroup, unit)) = unit("life", &limits) else { return };
            let child = Child::enter(&cgroup, sleep);
            cgroup.adopt(child.pid, &limits).unwrap();
            assert!(known(&unit));
            assert_eq!(cgroup.pids().unwrap(), [child.pid]);
            let file = |controller, name| file::read(&cgroup.file(controller, name).unwrap()).unwrap();
            assert_eq!(file(Controller::Pids, "pids.max"), "9\n");
            if cgroup.version() == Version::V2 {
                assert_eq!(file(Controller::Cpu, "cpu.max"), "12345 100000\n");
                let more = Limits { pids: Some(-1), ..Limits::default() };
                cgroup.apply(&more).unwrap();
                assert_eq!(file(Controller::Pids, "pids.max"), "max\n");
                assert_eq!(file(Controller::Cpu, "cpu.max"), "12345 100000\n");
            }
            cgroup.kill().unwrap();
            drop(child);
            cgroup.remove().unwrap();
        }
        let (cgroup, unit) = unit("life", &limits).unwrap();
        assert!(!known(&unit));
        cgroup.remove().unwrap();
    }

    #[test]
    fn saved_directories_are_enough_to_stop_the_unit() {
        let Some((cgroup, unit)) = unit("saved", &Limits::default()) else { return };
        let child = Child::enter(&cgroup, sleep);
        cgroup.adopt(child.pid, &Limits::default()).unwrap();
        let saved: Vec<PathBuf> = cgroup.directories().map(std::path::Path::to_owned).collect();
        let cgroup = Cgroup::from_directories(&Host::detect().unwrap(), saved);
        cgroup.kill().unwrap();
        drop(child);
        cgroup.remove().unwrap();
        assert!(!known(&unit));
    }

    #[test]
    fn a_process_that_has_ended_makes_no_scope() {
        let limits = Limits::default();
        let Some((cgroup, unit)) = unit("dead", &limits) else { return };
        let mut child = Child::enter(&cgroup, || {});
        child.wait_signal();
        let error = cgroup.adopt(child.pid, &limits).unwrap_err();
        assert!(matches!(error, Error::Unit { .. }), "{error}");
        assert!(!known(&unit));
        cgroup.remove().unwrap();
    }

    /// `cargo test -p cgroup --release -- --ignored --nocapture cost`, on a host that systemd runs.
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_a_scope() {
        let [mut connect, mut ask, mut adopt, mut remove] = [const { Vec::new() }; 4];
        for _ in 0..30 {
            let limits = Limits { pids: Some(9), ..Limits::default() };
            let Some((cgroup, unit)) = unit("cost", &limits) else { return };
            let start = std::time::Instant::now();
            drop(Bus::connect().unwrap());
            connect.push(start.elapsed());
            let start = std::time::Instant::now();
            assert!(!known(&unit));
            ask.push(start.elapsed());
            let child = Child::enter(&cgroup, sleep);
            let start = std::time::Instant::now();
            cgroup.adopt(child.pid, &limits).unwrap();
            adopt.push(start.elapsed());
            cgroup.kill().unwrap();
            drop(child);
            let start = std::time::Instant::now();
            cgroup.remove().unwrap();
            remove.push(start.elapsed());
        }
        for (name, mut times) in [("connect", connect), ("ask", ask), ("adopt", adopt), ("remove", remove)] {
            times.sort_unstable();
            println!("{name}: p50 {:?}, p99 {:?}", times[15], times[29]);
        }
    }

    #[test]
    fn quotas_are_rounded_up_to_what_systemd_keeps() {
        assert_eq!(per_second(Some(50_000), 100_000), 500_000);
        assert_eq!(per_second(Some(12_345), 100_000), 130_000);
        assert_eq!(per_second(Some(200_000), 50_000), 4_000_000);
        assert_eq!(per_second(None, 100_000), INFINITY);
    }

    #[test]
    fn a_list_of_processors_becomes_a_mask() {
        assert_eq!(bits("0-3,8\n"), [0x0f, 0x01]);
        assert_eq!(bits("\n"), Vec::<u8>::new());
    }
}
