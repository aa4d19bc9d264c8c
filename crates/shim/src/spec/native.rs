//! The spec of a native container: nearly all of it is honoured as it is, so it stays what it was, and what is refused
//! is refused here by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

use super::error::{self, Result};
use super::process::{console_size, no_nul, oom_score_adj};
use super::{SpecError, annotations, mounts, plan, resources};

/// Who makes a native container, which decides what can be honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// libcontainer, in a helper of ours.
    BuiltIn,
    /// Another OCI runtime (`native_runtime`).
    Runtime,
}

/// A checked spec, and what the server itself needs of it.
#[derive(Debug, Clone)]
pub struct NativeSpec {
    /// The spec.
    pub spec: oci::Spec,
    /// Absolute path of the root file system, for containers whose Create names no mounts.
    pub root: PathBuf,
    /// `linux.cgroupsPath` as it is.
    pub cgroups_path: Option<String>,
    /// The pod it is in.
    pub sandbox_id: Option<String>,
    /// Limits for the container's cgroup.
    pub limits: cgroup::Limits,
    /// The first process.
    pub process: NativeProcess,
    /// Whether the container's processes end with its first one.
    pub own_pid_namespace: bool,
    /// Whether there are hooks to run after Start.
    pub poststart: bool,
    /// Whether there are hooks to run after Delete.
    pub poststop: bool,
}

/// What the server needs of a process.
#[derive(Debug, Clone)]
pub struct NativeProcess {
    /// All of it.
    pub process: oci::Process,
    /// Rows and columns of its terminal.
    pub console_size: Option<(u16, u16)>,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

impl NativeSpec {
    /// Reads the `config.json` of the bundle at the absolute path `bundle`, for a container that is made by `maker`.
    ///
    /// # Errors
    /// [`SpecError`] for the first thing in it that is not valid or not honoured.
    pub fn from_bundle(
        config_json: &[u8],
        bundle: &Path,
        maker: Maker,
    ) -> std::result::Result<NativeSpec, SpecError> {
        let spec: oci::Spec = error::parse(config_json)?;
        plan::refuse_platform(&spec)?;
        let process = spec.process().clone();
        let process =
            process.ok_or_else(|| SpecError::missing("process", "a container needs a process to run"))?;
        let process = NativeProcess::new(process, maker)?;
        let linux = spec.linux().as_ref();
        let linux =
            linux.ok_or_else(|| SpecError::missing("linux", "a container needs a mount namespace"))?;
        plan::refuse_everywhere(linux)?;
        refuse_linux(linux, maker)?;
        for (i, mount) in spec.mounts().iter().flatten().enumerate() {
            refuse_mount(i, mount, maker)?;
        }
        let limits = linux.resources().as_ref().map(resources::limits).transpose()?.unwrap_or_default();
        let annotations: BTreeMap<_, _> =
            spec.annotations().clone().unwrap_or_default().into_iter().collect();
        annotations::refuse_native(&annotations)?;
        let hooks = spec.hooks().as_ref();
        let any = |hooks: Option<&Option<Vec<oci::Hook>>>| {
            hooks.is_some_and(|list| list.iter().flatten().next().is_some())
        };
        Ok(NativeSpec {
            root: plan::root(&spec, bundle)?.path,
            cgroups_path: plan::cgroups_path(linux)?,
            sandbox_id: annotations.get("io.kubernetes.cri.sandbox-id").cloned(),
            limits,
            process,
            own_pid_namespace: linux.namespaces().iter().flatten().any(|namespace| {
                namespace.typ() == oci::LinuxNamespaceType::Pid && namespace.path().is_none()
            }),
            poststart: any(hooks.map(oci::Hooks::poststart)),
            poststop: any(hooks.map(oci::Hooks::poststop)),
            spec,
        })
    }
}

impl NativeProcess {
    /// Reads the process of an exec, which comes as JSON of its own.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn from_json(json: &[u8], maker: Maker) -> std::result::Result<NativeProcess, SpecError> {
        let process: oci::Process = error::parse(json)?;
        let of_init = "it is for a container's first process; leave it out";
        if process.scheduler().is_some() {
            return Err(SpecError::unsupported("process.scheduler", "set", of_init));
        }
        if process.io_priority().is_some() {
            return Err(SpecError::unsupported("process.ioPriority", "set", of_init));
        }
        NativeProcess::new(process, maker)
    }

    fn new(process: oci::Process, maker: Maker) -> Result<NativeProcess> {
        let args = process.args().as_deref().unwrap_or_default();
        if args.is_empty() {
            return Err(SpecError::missing("process.args", "name the program to run"));
        }
        for (list, texts) in [("args", args), ("env", process.env().as_deref().unwrap_or_default())] {
            for (i, text) in texts.iter().enumerate() {
                no_nul(format!("process.{list}[{i}]"), text)?;
            }
        }
        if !process.cwd().is_absolute() {
            return Err(SpecError::invalid("process.cwd", process.cwd().display(), "it must be absolute"));
        }
        let label = process.selinux_label().as_ref().filter(|label| !label.is_empty());
        if let Some(label) = label.filter(|_| maker == Maker::BuiltIn) {
            let advice =
                "native containers get no SELinux label; leave it out, or set native_runtime to runc's path";
            return Err(SpecError::unsupported("process.selinuxLabel", label, advice));
        }
        let profile = process.apparmor_profile().as_ref();
        if let Some(profile) = profile.filter(|name| !matches!(name.as_str(), "" | "unconfined"))
            && !has_apparmor()
        {
            let why = "AppArmor is not enabled on this host: take the profile out of the spec";
            return Err(SpecError::invalid("process.apparmorProfile", profile, why));
        }
        if process.exec_cpu_affinity().is_some() {
            let advice = "leave it out; use linux.resources.cpu.cpus";
            return Err(SpecError::unsupported("process.execCPUAffinity", "set", advice));
        }
        Ok(NativeProcess {
            console_size: console_size(&process)?,
            oom_score_adj: oom_score_adj(&process)?,
            process,
        })
    }
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn refuse_linux(linux: &oci::Linux, maker: Maker) -> Result<()> {
    for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
        if matches!(namespace.typ(), oci::LinuxNamespaceType::User | oci::LinuxNamespaceType::Time) {
            let advice = "this runtime makes and joins none; run the pod without (hostUsers: true)";
            let field = format!("linux.namespaces[{i}].type");
            return Err(SpecError::unsupported(field, namespace.typ(), advice));
        }
    }
    let mount_namespace = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == oci::LinuxNamespaceType::Mount && namespace.path().is_none());
    if !mount_namespace {
        return Err(SpecError::missing("linux.namespaces", "a container needs a mount namespace of its own"));
    }
    let label = linux.mount_label().as_ref().filter(|label| !label.is_empty());
    if let Some(label) = label.filter(|_| maker == Maker::BuiltIn) {
        let advice =
            "native containers get no SELinux label; leave it out, or set native_runtime to runc's path";
        return Err(SpecError::unsupported("linux.mountLabel", label, advice));
    }
    if let Some(flag) = linux.personality().iter().flat_map(|p| p.flags().iter().flatten()).next() {
        return Err(SpecError::unsupported("linux.personality.flags", flag, "leave it out"));
    }
    let notifies = |seccomp: &oci::LinuxSeccomp| {
        let mut rules = seccomp.syscalls().iter().flatten();
        seccomp.listener_path().is_some()
            || rules.any(|rule| rule.action() == oci::LinuxSeccompAction::ScmpActNotify)
    };
    if linux.seccomp().as_ref().is_some_and(notifies) {
        let advice = "agents that decide on system calls are not supported; use another action";
        return Err(SpecError::unsupported("linux.seccomp.syscalls", "SCMP_ACT_NOTIFY", advice));
    }
    for (i, device) in linux.devices().iter().flatten().enumerate() {
        if !device.path().starts_with("/dev") {
            let field = format!("linux.devices[{i}].path");
            return Err(SpecError::unsupported(field, device.path().display(), "devices go below /dev"));
        }
    }
    Ok(())
}

fn refuse_mount(i: usize, mount: &oci::Mount, maker: Maker) -> Result<()> {
    mounts::refuse(i, mount)?;
    let field = |name: &str| format!("mounts[{i}].{name}");
    let given = |word: &str| mount.options().iter().flatten().any(|option| option == word);
    let kind = mount.typ().as_deref().unwrap_or_default();
    let bind = kind == "bind" || given("bind") || given("rbind");
    if !mount.destination().is_absolute() {
        let why = "it must be an absolute path";
        return Err(SpecError::invalid(field("destination"), mount.destination().display(), why));
    }
    let of_host = maker == Maker::BuiltIn && (bind || kind == "devtmpfs");
    if of_host && mount.destination() == Path::new("/dev") {
        let advice = "the host's device nodes would be changed; mount single devices, or set native_runtime to runc's path";
        return Err(SpecError::unsupported(field("destination"), "/dev", advice));
    }
    if bind && mount.source().as_ref().is_none_or(|source| source.as_os_str().is_empty()) {
        return Err(SpecError::missing(field("source"), "name the file or directory to bind"));
    }
    Ok(())
}
