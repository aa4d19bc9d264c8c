//! The kernel: its release, and what containers are made with, tried out.

use std::fs;
use std::path::PathBuf;

use aot::Target;
use jail::RootfsMount;

use super::Check;

/// The first with `mount_setattr`.
const OLDEST: (u32, u32) = (5, 12);

/// One line each.
pub fn examine() -> Vec<Check> {
    vec![release(), detached_mounts(), overlay(), seccomp(), namespaces(), segue()]
}

fn release() -> Check {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let (major, minor) = OLDEST;
    match parse(&release) {
        Some(found) if found >= OLDEST => Check::ok("kernel", format!("Linux {release}")),
        Some(_) => Check::problem(
            "kernel",
            format!("Linux {release} is older than {major}.{minor}"),
            format!("install a kernel of {major}.{minor} or later"),
        ),
        None => Check::warning(
            "kernel",
            format!("Linux {release:?}"),
            format!("{major}.{minor} or later is needed"),
        ),
    }
}

fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn detached_mounts() -> Check {
    let name = "detached mounts";
    let made = jail::parse_options(&["ro".to_owned()])
        .and_then(|options| jail::filesystem("tmpfs", "wamrctl", &options));
    match made {
        Ok(_) => Check::ok(name, "fsopen, fsmount and mount_setattr work"),
        Err(e) => Check::problem(name, e.to_string(), "run as root, outside a container that forbids mounts"),
    }
}

/// Two folders that go away with the value.
struct Layers(PathBuf);

impl Layers {
    fn make() -> std::io::Result<Layers> {
        let folder = std::env::temp_dir().join(format!("wamrctl-doctor-{}", std::process::id()));
        let layers = Layers(folder);
        for layer in ["a", "b"] {
            fs::create_dir_all(layers.0.join(layer))?;
        }
        Ok(layers)
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        for layer in ["a", "b", ""] {
            // Empty, and nobody else's.
            let _ = fs::remove_dir(self.0.join(layer));
        }
    }
}

fn overlay() -> Check {
    let name = "overlayfs";
    let fix = "load it (modprobe overlay), or let containerd use another snapshotter";
    let layers = match Layers::make() {
        Ok(layers) => layers,
        Err(e) => {
            return Check::warning(name, format!("make folders to try it: {e}"), "free some disk space");
        }
    };
    let mount = RootfsMount {
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        options: vec![format!("lowerdir={0}/a:{0}/b", layers.0.display())],
        target: None,
    };
    match jail::rootfs(&[mount], &layers.0) {
        Ok(_) => Check::ok(name, "an image's layers can be stacked"),
        Err(e) => Check::problem(name, e.to_string(), fix),
    }
}

fn seccomp() -> Check {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let has = |action: &str| actions.split_whitespace().any(|known| known == action);
    all("seccomp", &["kill_process", "errno"], has, "CONFIG_SECCOMP_FILTER")
}

fn namespaces() -> Check {
    let has = |kind: &str| fs::symlink_metadata(format!("/proc/self/ns/{kind}")).is_ok();
    all(
        "namespaces",
        &["cgroup", "ipc", "mnt", "net", "pid", "uts"],
        has,
        "CONFIG_NAMESPACES and all kinds of them",
    )
}

/// A check for several things that the kernel has or has not.
fn all(name: &'static str, things: &[&str], has: impl Fn(&str) -> bool, option: &str) -> Check {
    let missing: Vec<&str> = things.iter().filter(|thing| !has(thing)).copied().collect();
    match missing.is_empty() {
        true => Check::ok(name, things.join(", ")),
        false => Check::problem(
            name,
            format!("the kernel has no {}", missing.join(", ")),
            format!("use a kernel with {option}"),
        ),
    }
}

/// Only a matter of speed.
fn segue() -> Check {
    let name = "processor";
    match Target::host() {
        Ok(target) if target.segue() => {
            Check::ok(name, "compiled code addresses its memory by the GS register")
        }
        Ok(_) => Check::ok(name, "compiled code works; without fsgsbase it is a little slower"),
        Err(e) => {
            Check::warning(name, format!("read /proc/cpuinfo: {e}"), "mount /proc: nothing is compiled")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(parse("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(parse("5.4.0"), Some((5, 4)));
        assert!(parse("5.4.0") < Some(OLDEST) && parse("5.12-rc1") == Some(OLDEST));
        assert_eq!(parse("generic"), None);
    }
}
