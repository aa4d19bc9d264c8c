//! Mounts on the host: there are to be none left, or thousands on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::process::{Pid, getppid};

/// Mounts that nobody needs, as a host with many containers has them. Taken off when dropped.
#[derive(Debug)]
pub struct HostMounts {
    folder: PathBuf,
    count: usize,
}

impl HostMounts {
    /// Makes so many, in the mount namespace of this process, which must not be that of whoever started it.
    pub fn make(folder: &Path, count: usize) -> Result<HostMounts> {
        let mut mounts = HostMounts { folder: folder.to_owned(), count: 0 };
        if count == 0 {
            return Ok(mounts);
        }
        let namespace = |pid: Option<Pid>| {
            let pid = pid.map_or("self".to_owned(), |pid| pid.as_raw_nonzero().to_string());
            fs::read_link(format!("/proc/{pid}/ns/mnt"))
                .with_context(|| format!("read the mount namespace of {pid}"))
        };
        ensure!(
            namespace(None)? != namespace(getppid())?,
            "--mounts is for a mount namespace of its own: unshare --mount --propagation private"
        );
        for number in 0..count {
            let point = folder.join(number.to_string());
            fs::create_dir_all(&point).with_context(|| format!("make {}", point.display()))?;
            mount_bind(&point, &point).with_context(|| format!("mount {}", point.display()))?;
            mounts.count = number + 1;
        }
        Ok(mounts)
    }

    /// Whether it is one of them.
    pub fn has(&self, path: &Path) -> bool {
        self.count > 0 && path.starts_with(&self.folder)
    }
}

impl Drop for HostMounts {
    fn drop(&mut self) {
        for number in 0..self.count {
            // Whoever took it off already did the same.
            let _ = unmount(self.folder.join(number.to_string()), UnmountFlags::DETACH);
        }
    }
}

/// All mount points below a folder, in the order in which they were made.
pub fn below(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from));
    points.filter(|point| point.starts_with(folder)).collect()
}
