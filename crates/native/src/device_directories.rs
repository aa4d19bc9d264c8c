//! Directories that device nodes lie in, as `/dev/net`: libcontainer makes them for everybody to write to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags, fchmod, fstat, open, openat2};

/// Those that a spec's devices need, relative to `/dev`.
pub fn device_directories(spec: &Spec) -> Vec<PathBuf> {
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    let below_dev =
        devices.into_iter().flatten().filter_map(|device| device.path().strip_prefix("/dev").ok());
    let parents = below_dev.flat_map(|path| path.ancestors().skip(1));
    let named: BTreeSet<_> =
        parents.filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned).collect();
    named.into_iter().collect()
}

/// Gives them the mode that `runc` makes them with, in the container of a process that waits. Those that the image has
/// keep theirs.
pub(crate) fn close(pid: i32, directories: &[PathBuf]) {
    if directories.is_empty() {
        return;
    }
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Fails without CAP_SYS_PTRACE; the container is no less a container then.
    let Ok(root) = open(format!("/proc/{pid}/root"), flags | OFlags::PATH, Mode::empty()) else { return };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for directory in directories {
        let path = Path::new("dev").join(directory);
        let Ok(directory) = openat2(&root, path, flags, Mode::empty(), resolve) else { continue };
        if fstat(&directory).is_ok_and(|stat| stat.st_mode & 0o7777 == 0o777 && stat.st_uid == 0) {
            let _ = fchmod(&directory, Mode::from_raw_mode(0o755));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_directory_between_dev_and_a_device_is_named_once() {
        let device = |path: &str| json!({"path": path, "type": "c", "major": 1, "minor": 3});
        let devices = [
            device("/dev/net/tun"),
            device("/dev/bus/usb/001/002"),
            device("/dev/bus/usb/001/003"),
            device("/dev/kvm"),
        ];
        let spec = json!({"ociVersion": "1.0.2", "linux": {"devices": devices}});
        let found = device_directories(&serde_json::from_value(spec).unwrap());
        assert_eq!(found, ["bus", "bus/usb", "bus/usb/001", "net"].map(PathBuf::from));
    }
}
