//! The whole spec as owned data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

use super::annotations::{Kubernetes, PodSettings};
use super::error::{self, Result};
use super::process::no_nul;
use super::{Mount, Namespaces, Process, SpecError, memory_pages, mounts, resources};
use crate::config::{AotMode, Config};

/// What one container is to be: its spec, validated and in our own types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What runs, as whom.
    pub process: Process,
    /// Where its root file system is, for containers whose Create names no mounts.
    pub root: Root,
    /// Mounts in order; see [`Mount::source`] for those to leave out.
    pub mounts: Vec<Mount>,
    /// Paths to cover with nothing: an empty read-only directory or `/dev/null`. Missing ones are passed over.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only with all below them. Missing ones are passed over.
    pub readonly_paths: Vec<String>,
    /// Namespaces to make and to join.
    pub namespaces: Namespaces,
    /// Host name for the uts namespace.
    pub hostname: Option<String>,
    /// Domain name for the uts namespace.
    pub domainname: Option<String>,
    /// Kernel parameters of the container's namespaces, in order of name.
    pub sysctl: Vec<(String, String)>,
    /// `linux.cgroupsPath` as it is: a path, or `slice:prefix:name` for systemd.
    pub cgroups_path: Option<String>,
    /// Limits for the container's cgroup.
    pub limits: cgroup::Limits,
    /// Cap on linear memory in pages of 64 KiB, from the memory limit.
    pub max_memory_pages: Option<u32>,
    /// Operand stack of the interpreter in bytes.
    pub wasm_stack_size: u32,
    /// Where the guest serves: bound in its network namespace, and its descriptors after the directories.
    pub listen: Vec<jail::Listen>,
    /// What its own sockets may be used with: what all of these allow.
    pub sockets: Vec<network::Policy>,
    /// Whether it gets compiled code.
    pub aot: AotMode,
    /// Whether it goes on from where another run of the same guest said that it is ready; then, the environment variables that
    /// that one did not get.
    pub warm_start: Option<Vec<String>>,
    /// What Kubernetes says about the container.
    pub kubernetes: Kubernetes,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// `root` of the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Whether the container may not write to it.
    pub readonly: bool,
}

impl Plan {
    /// Reads the `config.json` of the bundle at the absolute path `bundle`.
    ///
    /// # Errors
    /// [`SpecError`] for the first thing in it that is not valid or not honoured.
    pub fn from_bundle(
        config_json: &[u8],
        bundle: &Path,
        config: &Config,
    ) -> std::result::Result<Plan, SpecError> {
        let spec: oci::Spec = error::parse(config_json)?;
        refuse(&spec)?;
        let process = spec.process().as_ref();
        let process =
            process.ok_or_else(|| SpecError::missing("process", "a container needs a process to run"))?;
        let linux = spec.linux().as_ref();
        let linux =
            linux.ok_or_else(|| SpecError::missing("linux", "a container needs a mount namespace"))?;
        refuse_linux(linux)?;
        mounts::devices(linux)?;

        let namespaces = Namespaces::new(linux)?;
        let mounts = mounts::mounts(&spec, bundle)?;
        let paths = |field: &str, paths: &Option<Vec<String>>| {
            mounts::reachable(field, paths.as_deref().unwrap_or_default(), &mounts)
        };
        let limits = linux.resources().as_ref().map(resources::limits).transpose()?.unwrap_or_default();
        let annotations: BTreeMap<String, String> =
            spec.annotations().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        let kubernetes = Kubernetes::new(&annotations);
        let settings = PodSettings::new(&annotations, &kubernetes, config)?;
        Ok(Plan {
            process: Process::new(process)?,
            root: root(&spec, bundle)?,
            masked_paths: paths("linux.maskedPaths", linux.masked_paths())?,
            readonly_paths: paths("linux.readonlyPaths", linux.readonly_paths())?,
            hostname: name("hostname", spec.hostname(), &namespaces)?,
            domainname: name("domainname", spec.domainname(), &namespaces)?,
            sysctl: namespaces.sysctl(linux)?,
            cgroups_path: cgroups_path(linux)?,
            max_memory_pages: memory_pages(limits.memory.limit)?,
            wasm_stack_size: settings.wasm_stack_size,
            listen: settings.listen,
            sockets: settings.sockets,
            aot: settings.aot,
            warm_start: settings.warm_start.then_some(settings.warm_start_without),
            kubernetes,
            mounts,
            namespaces,
            limits,
            annotations,
        })
    }
}

impl Plan {
    /// The part of a confinement that does not depend on what runs in it.
    pub fn confinement(&self) -> jail::Confinement<'_> {
        jail::Confinement {
            fresh: self.namespaces.fresh,
            hostname: self.hostname.as_deref(),
            domainname: self.domainname.as_deref(),
            sysctl: self.sysctl.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            ..self.process.confinement()
        }
    }
}

/// Refuses what is not about a Linux container.
pub(super) fn refuse_platform(spec: &oci::Spec) -> Result<()> {
    let version = spec.version();
    if version.split('.').next() != Some("1") {
        return Err(SpecError::invalid(
            "ociVersion",
            version,
            "this runtime reads version 1 of the OCI runtime spec",
        ));
    }
    let sections = [
        ("solaris", spec.solaris().is_some()),
        ("windows", spec.windows().is_some()),
        ("vm", spec.vm().is_some()),
        ("zos", spec.zos().is_some()),
    ];
    for (section, present) in sections {
        if present {
            return Err(SpecError::unsupported(section, "set", "it is for another platform; leave it out"));
        }
    }
    Ok(())
}

/// Refuses also what runs outside the container.
fn refuse(spec: &oci::Spec) -> Result<()> {
    refuse_platform(spec)?;
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    #[allow(deprecated, reason = "it is only looked at to refuse it")]
    let lists = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (list, hooks) in lists {
        if let Some(hook) = hooks.iter().flatten().next() {
            let advice = "hooks are for native containers; run this one without the device, CDI or NRI plugin that adds it";
            return Err(SpecError::unsupported(format!("hooks.{list}[0]"), hook.path().display(), advice));
        }
    }
    Ok(())
}

/// Refuses what no container of this runtime gets, and would notice the lack of.
pub(super) fn refuse_everywhere(linux: &oci::Linux) -> Result<()> {
    let not = |field: &str, value: &dyn std::fmt::Display, advice| {
        Err(SpecError::unsupported(field, value, advice))
    };
    let no_user_namespace = "run the pod without user namespaces (hostUsers: true)";
    for (field, mappings) in
        [("linux.uidMappings", linux.uid_mappings()), ("linux.gidMappings", linux.gid_mappings())]
    {
        if let Some(first) = mappings.iter().flatten().next() {
            return not(field, &first.host_id(), no_user_namespace);
        }
    }
    if let Some(name) = linux.net_devices().iter().flatten().map(|(name, _)| name).min() {
        return not("linux.netDevices", name, "leave it out; let CNI set up the pod's network");
    }
    if linux.intel_rdt().is_some() {
        return not("linux.intelRdt", &"set", "leave it out; use linux.resources");
    }
    if linux.memory_policy().is_some() {
        return not("linux.memoryPolicy", &"set", "leave it out; use linux.resources.cpu.mems");
    }
    if let Some(clock) = linux.time_offsets().iter().flatten().map(|(clock, _)| clock).min() {
        return not("linux.timeOffsets", clock, "leave it out: containers see the host's clocks");
    }
    let propagation = linux.rootfs_propagation().as_deref().unwrap_or_default();
    let known =
        ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
    if !known.contains(&propagation) {
        return Err(SpecError::invalid(
            "linux.rootfsPropagation",
            propagation,
            "it is not a kind of propagation",
        ));
    }
    Ok(())
}

/// Refuses what a wasm guest would notice the lack of.
fn refuse_linux(linux: &oci::Linux) -> Result<()> {
    let not = |field: &str, value: &dyn std::fmt::Display, advice| {
        Err(SpecError::unsupported(field, value, advice))
    };
    refuse_everywhere(linux)?;
    if let Some(personality) = linux.personality() {
        if personality.domain() != oci::LinuxPersonalityDomain::PerLinux {
            return not("linux.personality.domain", &"LINUX32", "leave it out: wasm does not depend on it");
        }
        if let Some(flag) = personality.flags().iter().flatten().next() {
            return not("linux.personality.flags", flag, "leave it out: wasm does not depend on it");
        }
    }
    if let Some(path) = linux.seccomp().as_ref().and_then(|seccomp| seccomp.listener_path().as_ref()) {
        let advice =
            "system calls of a wasm container are filtered in the kernel, without an agent; leave it out";
        return not("linux.seccomp.listenerPath", &path.display(), advice);
    }
    Ok(())
}

pub(super) fn root(spec: &oci::Spec, bundle: &Path) -> Result<Root> {
    let Some(root) = spec.root() else {
        return Err(SpecError::missing("root", "a container needs a root file system"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(SpecError::missing("root.path", "a container needs a root file system"));
    }
    Ok(Root { path: bundle.join(root.path()), readonly: root.readonly().unwrap_or(false) })
}

fn name(field: &str, name: &Option<String>, namespaces: &Namespaces) -> Result<Option<String>> {
    let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else { return Ok(None) };
    no_nul(field.to_owned(), name)?;
    if !namespaces.uts() {
        return Err(SpecError::unsupported(field, name, "it would rename the host: add a uts namespace"));
    }
    // `sethostname(2)`
    if name.len() > 64 {
        return Err(SpecError::invalid(field, name, "it must not be longer than 64 bytes"));
    }
    Ok(Some(name.clone()))
}

pub(super) fn cgroups_path(linux: &oci::Linux) -> Result<Option<String>> {
    let Some(path) = linux.cgroups_path().as_ref().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(None);
    };
    match path.to_str() {
        Some(path) => Ok(Some(path.to_owned())),
        None => Err(SpecError::invalid("linux.cgroupsPath", path.display(), "it must be valid UTF-8")),
    }
}
