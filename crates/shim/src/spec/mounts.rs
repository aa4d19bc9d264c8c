//! `mounts`, `linux.devices`, `linux.maskedPaths`, `linux.readonlyPaths`: what the container's file system holds
//! besides its root.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime as oci;

use super::SpecError;
use super::error::Result;
use super::process::no_nul;

/// One mount, in the order of the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path inside the container, without `.`, `..` or doubled slashes; never `/`.
    pub destination: String,
    /// What goes there.
    pub source: Source,
    /// The spec's options, with `nodev` added and `dev` removed: the only device nodes a guest meets are those of
    /// [`Source::DeviceNodes`], which is what satisfies `linux.resources.devices`.
    pub options: Vec<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
    },
    /// The ready-made nodes for `/dev`.
    DeviceNodes {
        /// The server's shared read-only one does not do, because a mount needs a target of its own in it.
        private: bool,
    },
    /// A new file system: `tmpfs` or any other the kernel has.
    Filesystem {
        /// Its type.
        kind: String,
        /// Its source, often without meaning.
        source: String,
    },
    /// Not mounted, because a wasm guest has no use for it.
    Skip(&'static str),
}

/// What the ready-made `/dev` holds: (name, major, minor), or no numbers for what is not a device.
const READY: [(&str, Option<(i64, i64)>); 9] = [
    ("null", Some((1, 3))),
    ("zero", Some((1, 5))),
    ("full", Some((1, 7))),
    ("random", Some((1, 8))),
    ("urandom", Some((1, 9))),
    ("shm", None),
    ("pts", None),
    ("mqueue", None),
    ("termination-log", None),
];

/// All mounts of a spec, relative sources taken from `bundle`.
pub(super) fn mounts(spec: &oci::Spec, bundle: &Path) -> Result<Vec<Mount>> {
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    let mut mounts = Vec::new();
    for (i, mount) in spec.mounts().iter().flatten().enumerate() {
        mounts.push(one(i, mount, label.filter(|label| !label.is_empty()), bundle)?);
    }
    // Only now is it known what is mounted below `/dev`.
    let private = needs_private_dev(&mounts);
    for mount in &mut mounts {
        if let Source::DeviceNodes { private: this } = &mut mount.source {
            *this = private;
        }
    }
    Ok(mounts)
}

fn one(i: usize, mount: &oci::Mount, label: Option<&str>, bundle: &Path) -> Result<Mount> {
    let field = |name: &str| format!("mounts[{i}].{name}");
    refuse(i, mount)?;
    let destination = clean(mount.destination()).ok_or_else(|| {
        let why = "it must be an absolute path below / in valid UTF-8";
        SpecError::invalid(field("destination"), mount.destination().display(), why)
    })?;
    no_nul(field("destination"), &destination)?;
    let mut options = mount.options().clone().unwrap_or_default();
    let given = |word: &str| options.iter().any(|option| option == word);
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source_path = mount.source().clone().unwrap_or_default();
    let source = match kind {
        _ if kind == "bind" || given("bind") || given("rbind") => {
            if source_path.as_os_str().is_empty() {
                return Err(SpecError::missing(field("source"), "name the file or directory to bind"));
            }
            Source::Bind { path: bundle.join(source_path), recursive: given("rbind") }
        }
        "proc" => Source::Skip("WASI has no use for /proc"),
        "sysfs" => Source::Skip("WASI has no use for /sys"),
        "cgroup" | "cgroup2" => Source::Skip("WASI has no use for control groups"),
        "devpts" => Source::Skip("a terminal reaches a wasm guest as its standard streams only"),
        "mqueue" => Source::Skip("WASI has no POSIX message queues"),
        "tmpfs" if destination == "/dev" => Source::DeviceNodes { private: false },
        "devtmpfs" => {
            let advice = "it would show the host's devices; use a tmpfs at /dev";
            return Err(SpecError::unsupported(field("type"), kind, advice));
        }
        "" | "none" => {
            return Err(SpecError::missing(field("type"), "give the file system's type, or the option bind"));
        }
        kind => Source::Filesystem { kind: kind.to_owned(), source: source_path.display().to_string() },
    };
    match &source {
        Source::Bind { recursive, .. } => no_devices(&mut options, *recursive),
        Source::Filesystem { kind, .. } => {
            no_devices(&mut options, false);
            if let (Some(label), "tmpfs") = (label, kind.as_str()) {
                // Without the quotes that mount(8) needs: each option is set by its own fsconfig(2).
                options.push(format!("context={label}"));
            }
        }
        Source::DeviceNodes { .. } | Source::Skip(_) => {}
    }
    Ok(Mount { destination, source, options })
}

/// Refuses what no container of this runtime gets.
pub(super) fn refuse(i: usize, mount: &oci::Mount) -> Result<()> {
    let field = |name: &str| format!("mounts[{i}].{name}");
    let id_mapped = "id-mapped mounts need user namespaces; run the pod without them";
    for (name, mappings) in [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())] {
        if mappings.as_ref().is_some_and(|mappings| !mappings.is_empty()) {
            return Err(SpecError::unsupported(field(name), mount.destination().display(), id_mapped));
        }
    }
    for option in mount.options().iter().flatten() {
        no_nul(field("options"), option)?;
        let advice = match option.split('=').next().unwrap_or_default() {
            "idmap" | "ridmap" => id_mapped,
            "tmpcopyup" => "leave it out, or copy the image's files in the container itself",
            _ => continue,
        };
        return Err(SpecError::unsupported(field("options"), option, advice));
    }
    Ok(())
}

fn no_devices(options: &mut Vec<String>, recursive: bool) {
    options.retain(|option| !matches!(option.as_str(), "dev" | "rdev" | "nodev" | "rnodev"));
    options.push(if recursive { "rnodev" } else { "nodev" }.to_owned());
}

/// A lexically clean absolute path; `None` for `/` and what is not absolute or not UTF-8.
fn clean(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    if !path.is_absolute() {
        return None;
    }
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

/// Whether something is mounted below `/dev` where neither the ready-made nodes nor an earlier mount has a target.
fn needs_private_dev(mounts: &[Mount]) -> bool {
    mounts.iter().enumerate().any(|(i, mount)| {
        let Some(below) = mount.destination.strip_prefix("/dev/") else { return false };
        if matches!(mount.source, Source::Skip(_)) || READY.iter().any(|(name, _)| *name == below) {
            return false;
        }
        let earlier = mounts.iter().take(i).filter(|other| !matches!(other.source, Source::Skip(_)));
        !earlier.filter(|other| other.destination != "/dev").any(|other| {
            other.destination.starts_with("/dev/") && within(&mount.destination, &other.destination)
        })
    })
}

/// Whether `path` is `directory` or below it.
fn within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Refuses `linux.devices` other than the ready-made ones.
pub(super) fn devices(linux: &oci::Linux) -> Result<()> {
    for (i, device) in linux.devices().iter().flatten().enumerate() {
        let ready = READY.iter().any(|(name, numbers)| {
            device.path().to_str().and_then(|path| path.strip_prefix("/dev/")) == Some(*name)
                && device.typ() == oci::LinuxDeviceType::C
                && *numbers == Some((device.major(), device.minor()))
        });
        if !ready {
            return Err(SpecError::unsupported(
                format!("linux.devices[{i}]"),
                device.path().display(),
                "a wasm container has /dev/null, zero, full, random and urandom only; run it unprivileged and without \
                 devices",
            ));
        }
    }
    Ok(())
}

/// The paths of `linux.maskedPaths` or `linux.readonlyPaths` that the container can reach at all: those below `/proc`
/// and `/sys` are not there unless the spec binds something over them.
pub(super) fn reachable(field: &str, paths: &[String], mounts: &[Mount]) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let field = || format!("{field}[{i}]");
        no_nul(field(), path)?;
        let clean = clean(Path::new(path))
            .ok_or_else(|| SpecError::invalid(field(), path, "it must be an absolute path below /"))?;
        let mounted = mounts.iter().any(|mount| {
            let there = within(&clean, &mount.destination) || within(&mount.destination, &clean);
            there && !matches!(mount.source, Source::Skip(_))
        });
        if mounted || !(within(&clean, "/proc") || within(&clean, "/sys")) {
            kept.push(clean);
        }
    }
    Ok(kept)
}
