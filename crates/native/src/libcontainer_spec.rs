//! From a container's spec to the one libcontainer is given: what it would get wrong is put differently, what
//! others do is left out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxCapabilities, LinuxResources, Mount, PosixRlimit, PosixRlimitBuilder, Process, Spec,
};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::executable;
use crate::request::{Bind, Propagation};

/// What the server knows about a container besides its spec.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// The bundle: relative sources start there.
    pub bundle: &'a Path,
    /// Root file system, mounted on the host.
    pub root: &'a Path,
    /// Directory of our own for this container.
    pub directory: &'a Path,
    /// Its cgroup as an absolute path below each hierarchy's root.
    pub cgroup: &'a Path,
    /// v1: its directories, to be shown where the spec mounts `cgroup`. Empty on v2.
    pub cgroup_mounts: &'a [CgroupMount],
    /// Whether the first process gets a terminal.
    pub terminal: bool,
}

/// One v1 hierarchy's view of a container.
#[derive(Debug, Clone)]
pub struct CgroupMount {
    /// Name below the mount, as `memory`.
    pub name: String,
    /// The container's directory.
    pub directory: PathBuf,
}

/// The rewritten spec, the bind mounts it refers to, and what was reduced to what the host allows.
pub fn rewrite(mut spec: Spec, around: &Surroundings<'_>) -> (Spec, Vec<Bind>, Vec<String>) {
    let (mut binds, mut warnings) = (Vec::new(), Vec::new());
    let mut read_only = Vec::new();
    let given = spec.mounts().clone().unwrap_or_default();
    let mut mounts = Vec::new();
    for mount in given {
        if mount.typ().as_deref() == Some("cgroup") && !around.cgroup_mounts.is_empty() {
            if has(&mount, "ro") {
                read_only.push(mount.destination().display().to_string());
            }
            mounts.extend(v1_cgroups(&mount, around));
        } else {
            mounts.push(mount);
        }
    }
    for mount in &mut mounts {
        stage(mount, around, &mut binds);
    }
    spec.set_mounts(Some(mounts));
    if let Some(root) = spec.root_mut() {
        root.set_path(around.root.to_owned());
    }
    if let Some(process) = spec.process_mut() {
        first_process(process, around.terminal, &mut warnings);
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(around.cgroup.to_owned()));
        // Limits are the server's; libcontainer writes v1's device rules, and nothing on v2.
        let devices = linux.resources().as_ref().and_then(|resources| resources.devices().clone());
        let mut resources = LinuxResources::default();
        resources.set_devices(devices);
        linux.set_resources((!around.cgroup_mounts.is_empty()).then_some(resources));
        // It knows the kernel's words only, and sets them for the whole tree anyway.
        let propagation = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty());
        let propagation = propagation.map(|word| word.strip_prefix('r').unwrap_or(word).to_owned());
        linux.set_rootfs_propagation(propagation);
        let mut paths = linux.readonly_paths().clone().unwrap_or_default();
        paths.extend(read_only);
        linux.set_readonly_paths(Some(paths));
    }
    (spec, binds, warnings)
}

/// libcontainer would mount whole hierarchies, writable, at places it finds out from a process number that need not be
/// the container's.
fn v1_cgroups(mount: &Mount, around: &Surroundings<'_>) -> Vec<Mount> {
    let plain = |kind: &str, source: &Path, destination: PathBuf, options: &[&str]| {
        let mut mount = Mount::default();
        mount.set_typ(Some(kind.to_owned()));
        mount.set_source(Some(source.to_owned()));
        mount.set_destination(destination);
        mount.set_options(Some(options.iter().map(|word| (*word).to_owned()).collect()));
        mount
    };
    let tmpfs = ["nosuid", "noexec", "nodev", "mode=755"];
    let mut mounts = vec![plain("tmpfs", Path::new("tmpfs"), mount.destination().clone(), &tmpfs)];
    let mut options = vec!["bind", "rprivate", "nosuid", "noexec", "nodev"];
    if has(mount, "ro") {
        options.push("ro");
    }
    for one in around.cgroup_mounts {
        // Controllers that share a hierarchy are found by each name, too.
        let names = one.name.split(',').filter(|_| one.name.contains(','));
        for name in std::iter::once(one.name.as_str()).chain(names) {
            mounts.push(plain("bind", &one.directory, mount.destination().join(name), &options));
        }
    }
    mounts
}

/// Lets a bind mount refer to a clone of its source that has the right propagation.
fn stage(mount: &mut Mount, around: &Surroundings<'_>, binds: &mut Vec<Bind>) {
    let bind = mount.typ().as_deref() == Some("bind") || has(mount, "bind") || has(mount, "rbind");
    let Some(source) = mount.source().as_ref().filter(|_| bind) else { return };
    let mut propagation = Propagation::Private;
    let mut words = mount.options().clone().unwrap_or_default();
    words.retain(|word| {
        propagation = match word.as_str() {
            "private" | "rprivate" | "unbindable" | "runbindable" => Propagation::Private,
            "slave" | "rslave" => Propagation::Slave,
            "shared" | "rshared" => Propagation::Shared,
            _ => return true,
        };
        false
    });
    let at = around.directory.join(format!("bind-{}", binds.len()));
    let recursive = has(mount, "rbind");
    binds.push(Bind { source: around.bundle.join(source), at: at.clone(), recursive, propagation });
    mount.set_source(Some(at));
    mount.set_options(Some(words));
}

fn has(mount: &Mount, word: &str) -> bool {
    mount.options().iter().flatten().any(|option| option == word)
}

fn first_process(process: &mut Process, terminal: bool, warnings: &mut Vec<String>) {
    process.set_terminal(Some(terminal));
    // It would ask the C library, which loads what the image's /etc/nsswitch.conf names. Ours is put in its place.
    let mut env = process.env().clone().unwrap_or_default();
    executable::default_home(&mut env, "/");
    process.set_env(Some(env));
    // "false" makes it install the seccomp filter after the capability for that is gone.
    process.set_no_new_privileges(process.no_new_privileges().filter(|set| *set));
    // A set that is not there it leaves as the server has it.
    let given = process.capabilities().clone();
    let empty = HashSet::new;
    let mut sets = LinuxCapabilities::default();
    let of = |choose: fn(&LinuxCapabilities) -> &Option<HashSet<_>>| {
        given.as_ref().and_then(|sets| choose(sets).clone()).unwrap_or_else(empty)
    };
    sets.set_bounding(Some(of(LinuxCapabilities::bounding)));
    sets.set_effective(Some(of(LinuxCapabilities::effective)));
    sets.set_permitted(Some(of(LinuxCapabilities::permitted)));
    sets.set_inheritable(Some(of(LinuxCapabilities::inheritable)));
    sets.set_ambient(Some(of(LinuxCapabilities::ambient)));
    process.set_capabilities(Some(sets));
    // Set by the helper, which goes on where the kernel refuses.
    process.set_oom_score_adj(None);
    let profile = process.apparmor_profile().clone();
    process.set_apparmor_profile(profile.filter(|name| !matches!(name.as_str(), "" | "unconfined")));
    let limits = process.rlimits().clone().unwrap_or_default();
    process.set_rlimits(Some(limits.into_iter().map(|limit| within_reach(limit, warnings)).collect()));
}

/// A hard limit above the server's own takes `CAP_SYS_RESOURCE`; without it the server's own is kept.
pub(crate) fn within_reach(limit: PosixRlimit, warnings: &mut Vec<String>) -> PosixRlimit {
    let may_raise = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE));
    let ceiling = resource(&limit).and_then(|resource| getrlimit(resource).maximum);
    match ceiling.filter(|ceiling| !may_raise && *ceiling < limit.hard()) {
        None => limit,
        Some(ceiling) => {
            warnings.push(format!(
                "{}: {}/{} is above the server's own hard limit, {ceiling} is used",
                limit.typ(),
                limit.soft(),
                limit.hard()
            ));
            let lower =
                PosixRlimitBuilder::default().typ(limit.typ()).hard(ceiling).soft(limit.soft().min(ceiling));
            lower.build().unwrap_or(limit)
        }
    }
}

fn resource(limit: &PosixRlimit) -> Option<Resource> {
    use oci_spec::runtime::PosixRlimitType as T;
    Some(match limit.typ() {
        T::RlimitCpu => Resource::Cpu,
        T::RlimitFsize => Resource::Fsize,
        T::RlimitData => Resource::Data,
        T::RlimitStack => Resource::Stack,
        T::RlimitCore => Resource::Core,
        T::RlimitRss => Resource::Rss,
        T::RlimitNproc => Resource::Nproc,
        T::RlimitNofile => Resource::Nofile,
        T::RlimitMemlock => Resource::Memlock,
        T::RlimitAs => Resource::As,
        T::RlimitLocks => Resource::Locks,
        T::RlimitSigpending => Resource::Sigpending,
        T::RlimitMsgqueue => Resource::Msgqueue,
        T::RlimitNice => Resource::Nice,
        T::RlimitRtprio => Resource::Rtprio,
        T::RlimitRttime => Resource::Rttime,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rewritten(spec: Value, v1: bool) -> (Value, Vec<Bind>, Vec<String>) {
        let mut document = json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "linux": {},
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}}});
        for (key, value) in spec.as_object().unwrap() {
            document[key] = value.clone();
        }
        let memory = CgroupMount { name: "memory".into(), directory: "/sys/fs/cgroup/memory/a".into() };
        let cpu =
            CgroupMount { name: "cpu,cpuacct".into(), directory: "/sys/fs/cgroup/cpu,cpuacct/a".into() };
        let cgroup_mounts = if v1 { vec![memory, cpu] } else { vec![] };
        let around = Surroundings {
            bundle: Path::new("/bundle"),
            root: Path::new("/bundle/rootfs"),
            directory: Path::new("/bundle/native"),
            cgroup: Path::new("/a"),
            cgroup_mounts: &cgroup_mounts,
            terminal: true,
        };
        let (spec, binds, warnings) = rewrite(serde_json::from_value(document).unwrap(), &around);
        (serde_json::to_value(spec).unwrap(), binds, warnings)
    }

    #[test]
    fn a_process_without_capabilities_keeps_none_and_false_means_absent() {
        let process = json!({"cwd": "/", "args": ["sh"], "user": {"uid": 1, "gid": 1}, "noNewPrivileges": false,
            "capabilities": {"bounding": ["CAP_KILL"]}, "oomScoreAdj": -998, "apparmorProfile": "unconfined"});
        let (spec, ..) = rewritten(json!({"process": process}), false);
        let process = &spec["process"];
        assert_eq!(process["capabilities"]["bounding"], json!(["CAP_KILL"]));
        for set in ["effective", "permitted", "inheritable", "ambient"] {
            assert_eq!(process["capabilities"][set], json!([]), "{set}");
        }
        for field in ["noNewPrivileges", "oomScoreAdj", "apparmorProfile"] {
            assert_eq!(process.get(field), None, "{field}");
        }
        assert_eq!(process["terminal"], true);
    }

    #[test]
    fn bind_mounts_are_staged_with_their_propagation_and_nothing_else_is() {
        let mounts = json!([
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/a", "type": "bind", "source": "/host/a", "options": ["rbind", "rslave", "ro"]},
            {"destination": "/b", "type": "bind", "source": "b", "options": ["bind"]},
            {"destination": "/c", "source": "/host/c", "options": ["rshared", "rbind"]},
        ]);
        let (spec, binds, _) = rewritten(json!({"mounts": mounts}), false);
        let bind = |source: &str, n: usize, recursive, propagation| Bind {
            source: source.into(),
            at: format!("/bundle/native/bind-{n}").into(),
            recursive,
            propagation,
        };
        let expected = [
            bind("/host/a", 0, true, Propagation::Slave),
            bind("/bundle/b", 1, false, Propagation::Private),
            bind("/host/c", 2, true, Propagation::Shared),
        ];
        assert_eq!(binds, expected);
        assert_eq!(spec["mounts"][0]["source"], "proc");
        assert_eq!(spec["mounts"][1]["source"], "/bundle/native/bind-0");
        assert_eq!(spec["mounts"][1]["options"], json!(["rbind", "ro"]));
    }

    #[test]
    fn on_v1_the_cgroup_mount_shows_the_containers_own_directories_read_only() {
        let mounts = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]);
        let (spec, binds, _) = rewritten(json!({"mounts": mounts}), true);
        let of = |field: &str| -> Vec<Value> {
            spec["mounts"].as_array().unwrap().iter().map(|mount| mount[field].clone()).collect()
        };
        assert_eq!(of("type"), ["tmpfs", "bind", "bind", "bind", "bind"]);
        assert_eq!(
            of("destination")[1..].iter().map(|d| d.as_str().unwrap()).collect::<Vec<_>>(),
            [
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/cpu",
                "/sys/fs/cgroup/cpuacct"
            ]
        );
        assert!(of("options")[1..].iter().all(|words| words.as_array().unwrap().contains(&json!("ro"))));
        assert_eq!(spec["linux"]["readonlyPaths"], json!(["/sys/fs/cgroup"]));
        assert_eq!(binds.len(), 4);
        let (spec, ..) = rewritten(json!({"mounts": mounts}), false);
        assert_eq!(spec["mounts"], mounts, "libcontainer does it right on v2");
    }

    #[test]
    fn libcontainer_is_given_device_rules_on_v1_and_no_limit_at_all() {
        let linux = json!({"resources": {"memory": {"limit": 1048576}, "devices": [{"allow": false, "access": "rwm"}]},
            "rootfsPropagation": "rshared", "cgroupsPath": "x.slice:cri:a"});
        let (spec, ..) = rewritten(json!({"linux": linux.clone()}), true);
        assert_eq!(spec["linux"]["resources"].get("memory"), None);
        assert_eq!(spec["linux"]["resources"]["devices"][0]["access"], "rwm");
        assert_eq!(
            (&spec["linux"]["cgroupsPath"], &spec["linux"]["rootfsPropagation"]),
            (&json!("/a"), &json!("shared"))
        );
        let (spec, ..) = rewritten(json!({"linux": linux}), false);
        assert_eq!(spec["linux"].get("resources"), None);
    }

    #[test]
    fn a_limit_above_the_hard_limit_is_lowered_with_a_warning_unless_it_may_be_raised() {
        let Some(ceiling) = getrlimit(Resource::Nofile).maximum else { return };
        let may_raise = capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_RESOURCE);
        let limits = json!([{"type": "RLIMIT_NOFILE", "hard": ceiling + 1, "soft": 10}]);
        let process = json!({"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}, "rlimits": limits});
        let (spec, _, warnings) = rewritten(json!({"process": process}), false);
        let expected = if may_raise { ceiling + 1 } else { ceiling };
        assert_eq!(spec["process"]["rlimits"][0]["hard"], expected);
        assert_eq!(warnings.len(), usize::from(!may_raise));
    }
}
