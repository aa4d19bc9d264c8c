//! Where the host has its cgroup hierarchies mounted, and which version is in force.

use std::fmt;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use crate::{Controller, Controllers, Error, Result, file, systemd};

/// The cgroup version that holds the host's controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller or group of controllers. A v2 tree that is mounted beside them (hybrid)
    /// is left alone.
    V1,
    /// The unified hierarchy.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// A mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) root: PathBuf,
    /// Of a v1 hierarchy. For v2 these are all: which of them a group has is for [`crate::delegate`] to see.
    pub(crate) controllers: Controllers,
}

/// The host's cgroup mounts. Parsed once, cheap to clone, shared freely between threads.
#[derive(Debug, Clone)]
pub struct Host(Arc<Mounts>);

#[derive(Debug)]
struct Mounts {
    version: Version,
    /// Those a container joins, in the order of [`Controller::ALL`].
    joined: Vec<Hierarchy>,
    /// Every other hierarchy's options and root: v1 controllers we have no use for, named hierarchies, v2 beside v1.
    others: Vec<(String, PathBuf)>,
    /// Whether systemd runs this host and thus owns the tree.
    systemd: bool,
}

impl Host {
    /// Reads `/proc/self/mountinfo`.
    ///
    /// v1 is in force if any of its memory, cpu and pids controllers is mounted; a host that has nothing but,
    /// say, `net_cls` in v1 (VPN clients do that) is a v2 host.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`], or [`Error::Io`] if mountinfo cannot be read.
    pub fn detect() -> Result<Self> {
        let path = FilePath::new("/proc/self/mountinfo");
        // Read as bytes: some other mount's path need not be UTF-8.
        let text = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let mounts = parse(&String::from_utf8_lossy(&text));
        Self::new(mounts.v1, mounts.v2, systemd::runs_host())
    }

    /// A host whose hierarchies are at the places given: v1 controllers as in mount options (`cpu,cpuacct`),
    /// and the v2 tree. The directories can be subtrees of the real ones.
    ///
    /// # Errors
    /// [`Error::NoHierarchy`].
    pub fn at(v1: impl IntoIterator<Item = (String, PathBuf)>, v2: Option<PathBuf>) -> Result<Self> {
        Self::new(v1.into_iter().collect(), v2, false)
    }

    pub(crate) fn new(v1: Vec<(String, PathBuf)>, v2: Option<PathBuf>, systemd: bool) -> Result<Self> {
        let (mut joined, mut others) = (Vec::new(), Vec::new());
        for (options, root) in v1 {
            let controllers = Controllers::listed(&options);
            if controllers.is_empty() {
                others.push((options, root));
            } else {
                joined.push(Hierarchy { root, controllers });
            }
        }
        joined.sort_by_key(|h| h.controllers.iter().next().map(|first| first as u8));
        let holds_limits: Controllers =
            [Controller::Memory, Controller::Cpu, Controller::Pids].into_iter().collect();
        let v1 = joined.iter().any(|h| !h.controllers.and(holds_limits).is_empty());
        let version = match v2 {
            Some(root) if v1 => {
                others.push((String::new(), root));
                Version::V1
            }
            Some(root) => {
                others.extend(joined.drain(..).map(|h| (String::new(), h.root)));
                joined.push(Hierarchy { root, controllers: Controller::ALL.into_iter().collect() });
                Version::V2
            }
            None if joined.is_empty() => return Err(Error::NoHierarchy),
            None => Version::V1,
        };
        Ok(Self(Arc::new(Mounts { version, joined, others, systemd })))
    }

    /// The version in force.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Whether systemd runs this host.
    pub(crate) fn has_systemd(&self) -> bool {
        self.0.systemd
    }

    /// The hierarchies a container joins.
    pub(crate) fn joined(&self) -> &[Hierarchy] {
        &self.0.joined
    }

    /// Roots of v1 hierarchies that only a native program has a use for: device rules, network classes, performance
    /// counters. None on v2.
    pub(crate) fn native_only(&self) -> impl Iterator<Item = &FilePath> {
        let wanted = |options: &str| options.split(',').any(|name| NATIVE_ONLY.contains(&name));
        let others = self.0.others.iter().filter(move |_| self.0.version == Version::V1);
        others.filter(move |(options, _)| wanted(options)).map(|(_, root)| root.as_path())
    }

    /// The root and controllers of the hierarchy a directory lies in, strictly below its root.
    pub(crate) fn hierarchy_of(&self, directory: &FilePath) -> Option<(&FilePath, Controllers)> {
        let below = |root: &FilePath| directory.starts_with(root) && directory != root;
        let joined = self.0.joined.iter().map(|h| (h.root.as_path(), h.controllers));
        let others = self.0.others.iter().map(|(_, root)| (root.as_path(), Controllers::default()));
        // The longest root: v2 may be mounted over the directory that holds the v1 mounts, or below it.
        joined.chain(others).filter(|(root, _)| below(root)).max_by_key(|(root, _)| root.as_os_str().len())
    }

    /// The controllers the host has at all.
    ///
    /// # Errors
    /// [`Error::Io`] if v2's `cgroup.controllers` cannot be read.
    pub fn controllers(&self) -> Result<Controllers> {
        match (self.0.version, self.0.joined.first()) {
            (Version::V2, Some(unified)) => {
                let path = unified.root.join("cgroup.controllers");
                let text = file::read(&path).map_err(|e: io::Error| Error::io("read", &path, e))?;
                Ok(Controllers::listed(&text))
            }
            _ => Ok(self.0.joined.iter().fold(Controllers::default(), |all, h| all.or(h.controllers))),
        }
    }
}

const NATIVE_ONLY: [&str; 4] = ["devices", "net_cls", "net_prio", "perf_event"];

#[derive(Default)]
struct Found {
    v1: Vec<(String, PathBuf)>,
    v2: Option<PathBuf>,
}

/// `proc_pid_mountinfo(5)`: id parent major:minor root mount-point options [tags] - type source
/// super-options.
fn parse(mountinfo: &str) -> Found {
    let mut found = Found::default();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mut filesystem = filesystem.split(' ');
        let (kind, options) = (filesystem.next(), filesystem.nth(1));
        if !matches!(kind, Some("cgroup" | "cgroup2")) {
            continue;
        }
        let Some(place) = mount.split(' ').nth(4).map(unescape) else { continue };
        if kind == Some("cgroup2") {
            // The first mount of a hierarchy is the host's; later ones are bind mounts into containers.
            found.v2.get_or_insert(place);
            continue;
        }
        let names: Vec<&str> =
            options.unwrap_or_default().split(',').filter(|o| !matches!(*o, "rw" | "ro")).collect();
        let options = names.join(",");
        if !found.v1.iter().any(|(known, _)| *known == options) {
            found.v1.push((options, place));
        }
    }
    found
}

/// Undoes mountinfo's octal escapes for space, tab, newline and backslash.
fn unescape(field: &str) -> PathBuf {
    let plain =
        field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(mountinfo: &str) -> Result<Host> {
        let found = parse(mountinfo);
        Host::new(found.v1, found.v2, false)
    }

    const HYBRID: &str = "\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 31 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
35 31 0:32 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls
36 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
37 31 0:34 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
99 31 0:30 /docker/x /var/lib/c/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";

    #[test]
    fn a_hybrid_host_counts_as_v1_with_co_mounted_controllers_in_one_hierarchy() {
        let host = host(HYBRID).unwrap();
        assert_eq!(host.version(), Version::V1);
        let roots: Vec<_> = host.joined().iter().map(|h| h.root.to_str().unwrap()).collect();
        assert_eq!(roots, ["/sys/fs/cgroup/freezer", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct"]);
        assert!(host.joined()[2].controllers.has(Controller::Cpu));
        assert!(host.joined()[2].controllers.has(Controller::Cpuacct));
        let (root, controllers) = host.hierarchy_of(FilePath::new("/sys/fs/cgroup/systemd/a")).unwrap();
        assert_eq!((root, controllers), (FilePath::new("/sys/fs/cgroup/systemd"), Controllers::default()));
        assert!(host.hierarchy_of(FilePath::new("/sys/fs/cgroup/memory")).is_none());
        assert_eq!(host.native_only().collect::<Vec<_>>(), [FilePath::new("/sys/fs/cgroup/net_cls")]);
        assert!(host.hierarchy_of(FilePath::new("/home/x")).is_none());
    }

    #[test]
    fn a_pure_v2_host_stays_one_if_something_mounts_net_cls_or_the_path_has_spaces() {
        let host = host(
            "30 1 0:26 / /sys/fs/my\\040cgroup rw - cgroup2 cgroup2 rw\n\
             40 1 0:30 / /run/vpn/net_cls rw - cgroup net_cls rw,net_cls\n",
        )
        .unwrap();
        assert_eq!(host.version(), Version::V2);
        assert_eq!(host.joined()[0].root, FilePath::new("/sys/fs/my cgroup"));
        assert_eq!(host.native_only().count(), 0);
    }

    #[test]
    fn a_host_without_cgroups_says_what_to_mount() {
        let error = host("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n").unwrap_err();
        assert!(error.to_string().contains("mount cgroup2"));
    }

    #[test]
    fn this_host_is_detected() {
        let host = Host::detect().unwrap();
        assert!(!host.joined().is_empty());
        assert!(host.controllers().unwrap().has(Controller::Memory) || host.version() == Version::V2);
    }
}
