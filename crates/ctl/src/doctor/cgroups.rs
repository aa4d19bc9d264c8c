//! cgroups: version, controllers, and who has a say in the tree.

use std::fs;
use std::path::Path;

use cgroup::{Controller, Host, Version};

use toml::{Table, Value};

use super::Check;

const KUBELET: &str = "/var/lib/kubelet/config.yaml";

/// One line each.
pub fn examine() -> Vec<Check> {
    match Host::detect() {
        Ok(host) => vec![controllers(&host), driver(host.version())],
        Err(e) => vec![Check::problem(
            "cgroups",
            e.to_string(),
            "mount them: `mount -t cgroup2 none /sys/fs/cgroup`, or boot with systemd",
        )],
    }
}

fn controllers(host: &Host) -> Check {
    let name = "cgroups";
    let version = host.version();
    let found = match host.controllers() {
        Ok(found) => found,
        Err(e) => return Check::problem(name, e.to_string(), "mount the cgroup hierarchy anew"),
    };
    let wanted = Controller::ALL.into_iter().filter(|controller| match controller {
        Controller::Hugetlb => false,
        // Built into every group of v2.
        Controller::Freezer | Controller::Cpuacct => version == Version::V1,
        _ => true,
    });
    let missing: Vec<Controller> = wanted.filter(|controller| !found.has(*controller)).collect();
    let names: Vec<String> = found.iter().map(|controller| controller.to_string()).collect();
    let text = format!("{version} with {}", names.join(", "));
    if missing.is_empty() {
        return Check::ok(name, text);
    }
    let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    let found = format!("{text}; without {list}: limits of these are refused or not kept");
    let fix = match version {
        Version::V1 => format!("mount them, or boot with cgroup_enable={list} on the kernel's command line"),
        Version::V2 => format!(
            "boot with cgroup_enable={list} on the kernel's command line, and without cgroup v1 mounts of them"
        ),
    };
    match missing.contains(&Controller::Memory) || missing.contains(&Controller::Pids) {
        true => Check::problem(name, found, fix),
        false => Check::warning(name, found, fix),
    }
}

/// Which driver fits this host, and which one the kubelet has if there is one. Containers take either: the form of their
/// cgroup path tells.
fn driver(version: Version) -> Check {
    let name = "cgroup driver";
    let systemd = Path::new("/run/systemd/system").is_dir();
    let kubelet = fs::read_to_string(KUBELET).ok();
    let kubelet = kubelet.as_deref().map(kubelet_driver);
    match (systemd, kubelet) {
        (true, Some("cgroupfs")) if version == Version::V2 => Check::warning(
            name,
            "systemd runs this host, and the kubelet manages cgroups beside it",
            "set cgroupDriver: systemd in /var/lib/kubelet/config.yaml and SystemdCgroup = true for runc",
        ),
        (false, Some("systemd")) => Check::problem(
            name,
            "the kubelet asks systemd for cgroups, and systemd does not run this host",
            "set cgroupDriver: cgroupfs in /var/lib/kubelet/config.yaml",
        ),
        (_, Some(driver)) => Check::ok(name, format!("{driver}, as the kubelet has it")),
        (true, None) => {
            Check::ok(name, "systemd runs this host: paths like system.slice:prefix:name go through it")
        }
        (false, None) => Check::ok(name, "cgroupfs: systemd does not run this host"),
    }
}

/// Whether kubelet and containerd mean the same for containers of runc. Both have to be there.
pub fn agreement(runtimes: &Table, file: &str) -> Option<Check> {
    let kubelet = kubelet_driver(&fs::read_to_string(KUBELET).ok()?);
    compare(kubelet, runtimes, file)
}

fn compare(kubelet: &str, runtimes: &Table, file: &str) -> Option<Check> {
    let name = "cgroup drivers";
    let is_runc = |runtime: &&Value| {
        runtime.get("runtime_type").and_then(Value::as_str) == Some("io.containerd.runc.v2")
    };
    let runc = runtimes.values().find(is_runc)?;
    let systemd =
        runc.get("options").and_then(|options| options.get("SystemdCgroup")).and_then(Value::as_bool);
    let containerd = if systemd == Some(true) { "systemd" } else { "cgroupfs" };
    Some(match kubelet == containerd {
        true => Check::ok(name, format!("{containerd}, for kubelet and runc")),
        false => Check::warning(
            name,
            format!(
                "the kubelet has {kubelet}, and runc in {file} has {containerd}: native pods may not start"
            ),
            format!("set SystemdCgroup = {} in the options of runc in {file}", kubelet == "systemd"),
        ),
    })
}

/// `cgroupDriver` of a `KubeletConfiguration`; the kubelet's default is cgroupfs.
fn kubelet_driver(config: &str) -> &'static str {
    let value = config.lines().find_map(|line| line.trim().strip_prefix("cgroupDriver:"));
    match value.map(|value| value.trim().trim_matches(['"', '\''])) {
        Some("systemd") => "systemd",
        _ => "cgroupfs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn kubelet_and_runc_have_to_agree() {
        let runtimes = |options: &str| {
            format!("[runc]\nruntime_type = 'io.containerd.runc.v2'\n[runc.options]\n{options}\n")
                .parse()
                .unwrap()
        };
        let verdict = |kubelet, options| compare(kubelet, &runtimes(options), "f").unwrap().verdict;
        assert_eq!(verdict("systemd", "SystemdCgroup = true"), Verdict::Ok);
        assert_eq!(verdict("cgroupfs", ""), Verdict::Ok);
        assert_eq!(verdict("systemd", ""), Verdict::Warning);
        assert_eq!(verdict("cgroupfs", "SystemdCgroup = true"), Verdict::Warning);
    }

    #[test]
    fn the_kubelet_s_driver_is_read_from_its_configuration() {
        assert_eq!(kubelet_driver("kind: KubeletConfiguration\ncgroupDriver: systemd\n"), "systemd");
        assert_eq!(kubelet_driver("cgroupDriver: \"systemd\""), "systemd");
        assert_eq!(kubelet_driver("clusterDNS: []\n"), "cgroupfs");
    }
}
