//! From a container's spec to the one another OCI runtime is given: as it came, but for what the server does itself.

use oci_spec::runtime::{LinuxResources, Spec};

use crate::Surroundings;
use crate::libcontainer_spec::within_reach;

/// The rewritten spec, and what was reduced to what the host allows.
pub fn rewrite_for_runtime(mut spec: Spec, around: &Surroundings<'_>) -> (Spec, Vec<String>) {
    let mut warnings = Vec::new();
    if let Some(root) = spec.root_mut() {
        root.set_path(around.root.to_owned());
    }
    // Its bundle is a directory of ours.
    for mount in spec.mounts_mut().iter_mut().flatten() {
        let bind = mount.typ().as_deref() == Some("bind")
            || mount.options().iter().flatten().any(|word| word == "bind" || word == "rbind");
        if let Some(source) = mount.source().clone().filter(|_| bind) {
            mount.set_source(Some(around.bundle.join(source)));
        }
    }
    if let Some(process) = spec.process_mut() {
        process.set_terminal(Some(around.terminal));
        // The server's own is inherited; below it needs CAP_SYS_RESOURCE, which not every server has.
        process.set_oom_score_adj(process.oom_score_adj().filter(|value| may_have(*value)));
        let limits = process.rlimits().clone().unwrap_or_default();
        let limits = limits.into_iter().map(|limit| within_reach(limit, &mut warnings)).collect();
        process.set_rlimits(Some(limits));
    }
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(around.cgroup.to_owned()));
        // Limits are the server's, which may have systemd set them.
        let devices = linux.resources().as_ref().and_then(|resources| resources.devices().clone());
        let mut resources = LinuxResources::default();
        resources.set_devices(devices);
        linux.set_resources(Some(resources));
    }
    (spec, warnings)
}

/// Whether a process of the server's may have this `oom_score_adj`.
fn may_have(value: i32) -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let own =
        std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    own.is_some_and(|own: i32| value >= own)
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_runtime_is_given_the_spec_as_it_came_but_for_root_cgroup_and_limits() {
        let process = json!({"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": false,
            "selinuxLabel": "a:b:c:d", "oomScoreAdj": 1000, "capabilities": {"bounding": ["CAP_KILL"]}});
        let linux = json!({"cgroupsPath": "x.slice:cri:a", "rootfsPropagation": "rslave", "mountLabel": "m",
            "resources": {"memory": {"limit": 1048576}, "devices": [{"allow": false, "access": "rwm"}]}});
        let mounts = json!([{"destination": "/a", "type": "bind", "source": "a", "options": ["rbind", "rslave"]},
            {"destination": "/proc", "type": "proc", "source": "proc"}]);
        let spec = json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": process, "linux": linux,
            "mounts": mounts, "hooks": {"poststop": [{"path": "/bin/true"}]}});
        let around = Surroundings {
            bundle: Path::new("/bundle"),
            root: Path::new("/bundle/rootfs"),
            directory: Path::new("/bundle/native"),
            cgroup: Path::new("/a"),
            cgroup_mounts: &[],
            terminal: true,
        };
        let (spec, warnings) = rewrite_for_runtime(serde_json::from_value(spec).unwrap(), &around);
        let spec = serde_json::to_value(spec).unwrap();
        assert_eq!(spec["root"]["path"], "/bundle/rootfs");
        assert_eq!(
            (&spec["process"]["terminal"], &spec["process"]["oomScoreAdj"]),
            (&json!(true), &json!(1000))
        );
        assert_eq!(spec["process"]["selinuxLabel"], "a:b:c:d");
        assert_eq!(spec["linux"]["cgroupsPath"], "/a");
        assert_eq!(spec["linux"]["resources"].get("memory"), None);
        assert_eq!(spec["linux"]["resources"]["devices"][0]["access"], "rwm");
        assert_eq!(
            (&spec["mounts"][0]["source"], &spec["mounts"][1]["source"]),
            (&json!("/bundle/a"), &json!("proc"))
        );
        assert_eq!(spec["mounts"][0]["options"], json!(["rbind", "rslave"]));
        assert_eq!(spec["linux"]["rootfsPropagation"], "rslave");
        assert_eq!(spec["hooks"]["poststop"][0]["path"], "/bin/true");
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}
