//! v1: entering a cgroup without waiting for every processor.
//!
//! A process that enters a cgroup has to shut out all forks and exits of the system for a moment. The kernel makes that
//! cheap for those who fork and dear for those who enter: each time nobody has entered for a while it waits for an RCU
//! grace period, 5 to 14 ms (Linux 6.18, `HZ=250`), which is far more than all the rest of a container's start. While a
//! hierarchy is mounted with the option `favordynmods` (Linux 6.0, cgroup-v2.rst "Mounting"; v1 has it too) it is the other
//! way round: entering takes 0.06 ms, and each fork and exit one more atomic operation.
//!
//! The machine's own hierarchies are not touched: the option comes with a hierarchy made for the purpose, named, without
//! controllers, and mounted nowhere. It lives as long as the descriptor of its mount, so a killed server leaves nothing.
//! What others see of it meanwhile is one more line `N:name=containerd-shim-wamr:/` in `/proc/PID/cgroup`.
//!
//! On v2 a container is forked into its cgroup (`CLONE_INTO_CGROUP`), which never waits.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::{Error, Host, Result, Version};

/// All servers of a host share the hierarchy: to mount a name that exists is to mount the same.
const NAME: &str = "containerd-shim-wamr";

/// While one of these exists, entering a cgroup is quick on the whole host.
#[derive(Debug)]
pub struct QuickMoves {
    /// Nobody looks into it.
    _mount: OwnedFd,
}

impl Host {
    /// Makes entering v1 cgroups quick. Takes 15 to 30 ms, in which no cgroup of the host can be made or entered: for
    /// a thread on which nothing waits. `None` on v2, which needs no help.
    ///
    /// # Errors
    /// [`Error::Io`]: on kernels before 6.0, and where named hierarchies are forbidden (`cgroup_no_v1=named`).
    pub fn quick_moves(&self) -> Result<Option<QuickMoves>> {
        if self.version() == Version::V2 {
            return Ok(None);
        }
        let mount =
            mount(NAME).map_err(|e| Error::io("mount with favordynmods the cgroup hierarchy", NAME, e))?;
        Ok(Some(QuickMoves { _mount: mount }))
    }
}

fn mount(name: &str) -> Result<OwnedFd, Errno> {
    let options = rustix::mount::fsopen("cgroup", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_flag(&options, "none")?;
    rustix::mount::fsconfig_set_string(&options, "name", name)?;
    rustix::mount::fsconfig_set_flag(&options, "favordynmods")?;
    rustix::mount::fsconfig_create(&options)?;
    rustix::mount::fsmount(&options, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_hierarchy_lives_as_long_as_its_owners_and_is_mounted_nowhere() {
        if Host::detect().unwrap().version() == Version::V2 {
            assert!(Host::detect().unwrap().quick_moves().unwrap().is_none());
            return;
        }
        let name = format!("wamr-test-{}", std::process::id());
        let contains = |file: &str| std::fs::read_to_string(file).unwrap().contains(&name);
        let quick = match mount(&name) {
            Ok(quick) => quick,
            // The option came with Linux 6.0.
            Err(e) => {
                let release = rustix::system::uname().release().to_string_lossy().into_owned();
                assert!(release.starts_with(['3', '4', '5']), "{e} on Linux {release}");
                return;
            }
        };
        assert!(contains("/proc/self/cgroup"));
        assert!(!contains("/proc/self/mountinfo"));
        let second = mount(&name).unwrap();
        drop(quick);
        assert!(contains("/proc/self/cgroup"));
        drop(second);
        // The kernel takes it away in the background.
        for _ in 0..200 {
            if !contains("/proc/self/cgroup") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the hierarchy stays");
    }
}
