//! OCI specs like those ctr writes, open to changes.

use serde_json::{Value, json};

/// A spec under construction.
#[derive(Debug, Clone)]
pub struct Spec(pub Value);

impl Spec {
    /// What ctr asks for by default.
    pub fn new(cgroups_path: &str) -> Spec {
        let mount = |kind: &str, at: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
        let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
        let capabilities =
            json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_NET_BIND_SERVICE"]);
        let deny = json!({ "allow": false, "access": "rwm" });
        Spec(json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "args": [],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
                "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            },
            "root": { "path": "rootfs" },
            "mounts": [
                mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
                mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("devpts", "/dev/pts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
                mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
                mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
                mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
                mount("tmpfs", "/run", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            ],
            "linux": {
                "cgroupsPath": cgroups_path,
                "resources": { "devices": [deny] },
                "namespaces": namespaces,
                "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            },
        }))
    }

    /// Sets one value, by its JSON pointer's parent and its name.
    pub fn set(&mut self, parent: &str, name: &str, value: Value) {
        let parent = self.0.pointer_mut(parent).unwrap_or_else(|| panic!("the spec has no {parent}"));
        parent[name] = value;
    }

    /// Adds to a list.
    pub fn push(&mut self, list: &str, value: Value) {
        let list = self.0.pointer_mut(list).and_then(Value::as_array_mut);
        list.expect("the spec has this list").push(value);
    }
}
