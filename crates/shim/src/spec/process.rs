//! `process`: what runs, as whom, and within which per-process limits.

use oci_spec::runtime as oci;

use super::SpecError;
use super::error::Result;

/// A process of the spec; for a container's first one and for an exec alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Arguments, at least one.
    pub args: Vec<String>,
    /// Environment, each `NAME=value`, no name twice.
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Credentials.
    pub user: jail::User,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Rows and columns of that terminal.
    pub console_size: Option<(u16, u16)>,
    /// (`RLIMIT_*` number, soft, hard); no number twice.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label of the process.
    pub selinux: Option<String>,
}

/// Address space an engine with hardware bound checks reserves (not uses) for one linear memory, and some more.
const LEAST_ADDRESS_SPACE: u64 = 16 << 30;

impl Process {
    /// Reads the process of an exec, which comes as JSON of its own.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn from_json(json: &[u8]) -> std::result::Result<Process, SpecError> {
        Process::new(&super::error::parse(json)?)
    }

    /// The part of a confinement that a process brings along, whichever container it is for.
    pub fn confinement(&self) -> jail::Confinement<'_> {
        jail::Confinement {
            user: self.user.clone(),
            rlimits: self.rlimits.clone(),
            oom_score_adj: self.oom_score_adj,
            cwd: &self.cwd,
            apparmor: self.apparmor.as_deref(),
            selinux: self.selinux.as_deref(),
            ..jail::Confinement::default()
        }
    }

    pub(super) fn new(process: &oci::Process) -> Result<Process> {
        refuse(process)?;
        let args = process.args().clone().unwrap_or_default();
        if args.is_empty() {
            return Err(SpecError::missing("process.args", "name the wasm module to run"));
        }
        for (i, arg) in args.iter().enumerate() {
            no_nul(format!("process.args[{i}]"), arg)?;
        }
        let cwd = match process.cwd().to_str() {
            Some(cwd) if cwd.starts_with('/') => cwd.to_owned(),
            _ => {
                return Err(SpecError::invalid(
                    "process.cwd",
                    process.cwd().display(),
                    "it must be absolute",
                ));
            }
        };
        no_nul("process.cwd".into(), &cwd)?;
        let terminal = process.terminal().unwrap_or(false);
        Ok(Process {
            args,
            env: env(process)?,
            cwd,
            user: user(process.user())?,
            terminal,
            console_size: if terminal { console_size(process)? } else { None },
            rlimits: rlimits(process)?,
            oom_score_adj: oom_score_adj(process)?,
            apparmor: process.apparmor_profile().clone().filter(|profile| !profile.is_empty()),
            selinux: process.selinux_label().clone().filter(|label| !label.is_empty()),
        })
    }

    /// Value of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

fn refuse(process: &oci::Process) -> Result<()> {
    let not = |field: &str, value: &str, advice| Err(SpecError::unsupported(field, value, advice));
    if let Some(line) = process.command_line().as_ref().filter(|line| !line.is_empty()) {
        return not("process.commandLine", line, "it is for Windows; use process.args");
    }
    if let Some(name) = process.user().username().as_ref().filter(|name| !name.is_empty()) {
        return not("process.user.username", name, "it is for Windows; give process.user.uid");
    }
    if process.scheduler().is_some() {
        return not("process.scheduler", "set", "leave it out; weigh containers by linux.resources.cpu");
    }
    if process.io_priority().is_some() {
        return not("process.ioPriority", "set", "leave it out; weigh containers by linux.resources.blockIO");
    }
    if process.exec_cpu_affinity().is_some() {
        return not("process.execCPUAffinity", "set", "leave it out; use linux.resources.cpu.cpus");
    }
    Ok(())
}

/// Of variables given twice the last one counts, at the place of the first.
fn env(process: &oci::Process) -> Result<Vec<String>> {
    let mut env: Vec<String> = Vec::new();
    for (i, entry) in process.env().iter().flatten().enumerate() {
        let field = || format!("process.env[{i}]");
        no_nul(field(), entry)?;
        let name = match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() => name,
            _ => return Err(SpecError::invalid(field(), entry, "it must be NAME=value")),
        };
        match env.iter_mut().find(|other| other.split_once('=').is_some_and(|(n, _)| n == name)) {
            Some(earlier) => earlier.clone_from(entry),
            None => env.push(entry.clone()),
        }
    }
    Ok(env)
}

fn user(user: &oci::User) -> Result<jail::User> {
    // To the kernel, -1 means "leave as it is": root.
    let groups = user.additional_gids().clone().unwrap_or_default();
    let ids = [("uid", user.uid()), ("gid", user.gid())];
    let more = groups.iter().map(|gid| ("additionalGids", *gid));
    for (name, id) in ids.into_iter().chain(more) {
        if id == u32::MAX {
            return Err(SpecError::invalid(format!("process.user.{name}"), id, "it is not a valid id"));
        }
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        return Err(SpecError::invalid("process.user.umask", umask, "it must be 0 to 511 (octal 0777)"));
    }
    Ok(jail::User { uid: user.uid(), gid: user.gid(), groups, umask: user.umask() })
}

pub(super) fn console_size(process: &oci::Process) -> Result<Option<(u16, u16)>> {
    let Some(size) = process.console_size() else { return Ok(None) };
    let number = |name: &str, value: u64| {
        let field = || format!("process.consoleSize.{name}");
        u16::try_from(value).map_err(|_| SpecError::invalid(field(), value, "a terminal has at most 65535"))
    };
    Ok(Some((number("height", size.height())?, number("width", size.width())?)))
}

fn rlimits(process: &oci::Process) -> Result<Vec<(u32, u64, u64)>> {
    let mut limits: Vec<(u32, u64, u64)> = Vec::new();
    for (i, limit) in process.rlimits().iter().flatten().enumerate() {
        let number = resource(limit.typ());
        let field = |name: &str| format!("process.rlimits[{i}].{name}");
        if limits.iter().any(|(other, ..)| *other == number) {
            return Err(SpecError::invalid(field("type"), limit.typ(), "each type may be given once"));
        }
        if limit.soft() > limit.hard() {
            let why = format!("it is above the hard limit {}", limit.hard());
            return Err(SpecError::invalid(field("soft"), limit.soft(), why));
        }
        if limit.typ() == oci::PosixRlimitType::RlimitAs && limit.soft() < LEAST_ADDRESS_SPACE {
            let why = "the engine reserves (without using) 8 GiB of addresses for a linear memory; limit memory by \
                       linux.resources.memory.limit, or give RLIMIT_AS at least 16 GiB";
            return Err(SpecError::invalid(field("soft"), limit.soft(), why));
        }
        limits.push((number, limit.soft(), limit.hard()));
    }
    Ok(limits)
}

/// Numbers of `asm-generic/resource.h`, which hold on x86-64 and aarch64.
fn resource(kind: oci::PosixRlimitType) -> u32 {
    use oci::PosixRlimitType as T;
    match kind {
        T::RlimitCpu => 0,
        T::RlimitFsize => 1,
        T::RlimitData => 2,
        T::RlimitStack => 3,
        T::RlimitCore => 4,
        T::RlimitRss => 5,
        T::RlimitNproc => 6,
        T::RlimitNofile => 7,
        T::RlimitMemlock => 8,
        T::RlimitAs => 9,
        T::RlimitLocks => 10,
        T::RlimitSigpending => 11,
        T::RlimitMsgqueue => 12,
        T::RlimitNice => 13,
        T::RlimitRtprio => 14,
        T::RlimitRttime => 15,
    }
}

pub(super) fn oom_score_adj(process: &oci::Process) -> Result<Option<i32>> {
    match process.oom_score_adj() {
        Some(value) if !(-1000..=1000).contains(&value) => {
            Err(SpecError::invalid("process.oomScoreAdj", value, "it must be -1000 to 1000"))
        }
        value => Ok(value),
    }
}

pub(super) fn no_nul(field: String, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(SpecError::invalid(field, text.escape_debug(), "it holds a NUL byte"));
    }
    Ok(())
}
