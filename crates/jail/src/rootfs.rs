//! A container's root as a detached mount, from the list of mounts containerd hands over.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use crate::detached::{bind, clone_of, filesystem, name_only, set_no_devices, set_propagation};
use crate::error::Step;
use crate::mount_options::{MountOptions, Propagation, parse_options};
use crate::{Error, overlay, path_in_root};

/// One entry of `CreateTaskRequest.rootfs` (containerd.types.Mount).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsMount {
    /// `overlay`, `bind`, `erofs`, …
    pub kind: String,
    /// Host path, device or a mere name, depending on the kind.
    pub source: String,
    /// Option words.
    pub options: Vec<String>,
    /// Directory below the root; the root itself when there is none.
    pub target: Option<PathBuf>,
}

/// Makes the root. Runs in the server.
///
/// With an empty list, `fallback_dir` (the bundle's `rootfs`) is the root itself. Else it is only used where
/// the kernel cannot make the mount without attaching it, or for more than one mount: then the root is
/// attached there for the moment it takes to clone it.
///
/// Device nodes in it cannot be opened, whatever the options say.
///
/// # Errors
/// What the kernel says about the mount, or [`Error::Rootfs`] for a list that makes no root.
pub fn rootfs(mounts: &[RootfsMount], fallback_dir: &Path) -> Result<OwnedFd, Error> {
    let root = assemble(mounts, fallback_dir)?;
    // A layer may hold device nodes, and no device cgroup stands behind this: the host's disks would be readable.
    set_no_devices(root.as_fd()).step(|| "forbid device nodes in the root file system".into())?;
    Ok(root)
}

/// Makes the root of a native container and attaches it at `dir` in the server's mount namespace, where hooks and
/// monitors of the host look for it. Given no mounts, `dir` is the root already.
///
/// What is there stays until it is unmounted.
///
/// # Errors
/// As [`rootfs`].
pub fn attach_rootfs(mounts: &[RootfsMount], dir: &Path) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    let root = assemble(mounts, dir)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&root, c"", CWD, dir, flags)
        .step(|| format!("attach the root file system at {}", dir.display()))
}

fn assemble(mounts: &[RootfsMount], fallback_dir: &Path) -> Result<OwnedFd, Error> {
    match mounts {
        [] => private_clone(fallback_dir),
        [mount] if mount.target.is_none() => single(mount, fallback_dir),
        mounts => {
            let mut stack = Stack::new(fallback_dir);
            stack.attach(&private_clone(fallback_dir)?, None)?;
            for mount in mounts {
                // Made before anything is attached for it, so that its own fallback finds the stack's top.
                let fd = single(mount, fallback_dir)?;
                stack.attach(&fd, mount.target.as_deref())?;
            }
            private_clone(fallback_dir)
        }
    }
}

fn single(mount: &RootfsMount, fallback_dir: &Path) -> Result<OwnedFd, Error> {
    let mut options = parse_options(&mount.options)?;
    if mount.kind == "bind" || options.bind.is_some() {
        let detached = bind(Path::new(&mount.source), &options)?;
        return if detached.directory {
            Ok(detached.fd)
        } else {
            Err(Error::Rootfs(format!("{} is not a directory", mount.source)))
        };
    }
    match mount.kind.as_str() {
        "overlay" => overlay::detached(&options).or_else(|why| overlay_by_mount(&options, fallback_dir, why)),
        "erofs" => {
            // Linux 6.12 mounts an image file as it is; before, the error says that a device is needed.
            options.data.retain(|(key, _)| key != "loop");
            Ok(filesystem("erofs", &mount.source, &options)?.fd)
        }
        kind => Ok(filesystem(kind, &mount.source, &options)?.fd),
    }
}

/// For kernels before 6.5 and for paths longer than `fsconfig(2)` takes.
fn overlay_by_mount(options: &MountOptions, dir: &Path, why: Error) -> Result<OwnedFd, Error> {
    log::debug!("overlay without mount(2): {why}");
    let mut stack = Stack::new(dir);
    match overlay::attached(dir, options) {
        Ok(()) => stack.height = 1,
        // The kernel's own message is with the first error only.
        Err(_) => return Err(why),
    }
    private_clone(dir)
}

fn private_clone(dir: &Path) -> Result<OwnedFd, Error> {
    let words = || format!("take {} as the container's root", dir.display());
    let fd = clone_of(CWD, dir, true).step(words)?;
    set_propagation(fd.as_fd(), Propagation::Private).step(words)?;
    Ok(fd)
}

/// What is attached at a directory right now; taken off again when dropped.
struct Stack<'a> {
    dir: &'a Path,
    height: usize,
}

impl<'a> Stack<'a> {
    fn new(dir: &'a Path) -> Self {
        Self { dir, height: 0 }
    }

    fn attach(&mut self, mount: &OwnedFd, below: Option<&Path>) -> Result<(), Error> {
        let words = || format!("attach {}", below.unwrap_or(self.dir).display());
        let root = name_only(self.dir).step(words)?;
        let target = match below {
            // Below the root the image decides what is a symbolic link: it must not lead out of it.
            Some(path) => path_in_root::open(root.as_fd(), path).step(words)?,
            None => root,
        };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(mount, c"", &target, c"", flags).step(words)?;
        self.height += usize::from(below.is_none());
        Ok(())
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        for _ in 0..self.height {
            if let Err(e) = unmount(self.dir, UnmountFlags::DETACH) {
                log::warn!("unmount {}: {e}", self.dir.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat};

    use super::*;

    #[test]
    fn a_device_node_in_an_image_cannot_be_opened() {
        let layer = std::env::temp_dir().join(format!("wamr-nodev-{}", std::process::id()));
        std::fs::create_dir_all(&layer).unwrap();
        let node = layer.join("zero");
        mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 5)).unwrap();
        std::fs::File::open(&node).unwrap();

        let bind = RootfsMount {
            kind: "bind".into(),
            source: layer.display().to_string(),
            options: vec!["rbind".into(), "rw".into(), "dev".into()],
            target: None,
        };
        for mounts in [vec![], vec![bind]] {
            let root = rootfs(&mounts, &layer).unwrap();
            let opened = rustix::fs::openat(&root, "zero", OFlags::RDONLY, Mode::empty());
            assert_eq!(opened.map_err(io::Error::from).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        std::fs::remove_dir_all(&layer).unwrap();
    }
}
