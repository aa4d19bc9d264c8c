//! What a guest sees of files before it is ready: those of its image. Nothing can be written to, and where its container
//! has something mounted are files that cannot be opened and directories that cannot be searched, so that it is known when
//! the guest looks there.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jail::{Detached, MountOptions, RootfsMount};

use super::file_system::rootfs_mount;
use super::warm_start::WarmStart;

/// A root and what is mounted below it.
pub struct WarmRoot {
    root: OwnedFd,
    closed: Vec<Detached>,
    /// Dropped last: what is above lies in it.
    _scratch: Scratch,
}

impl WarmRoot {
    /// For the container's guest; in a new directory below `place` until it is dropped.
    ///
    /// # Errors
    /// In words.
    pub fn new(place: &Path, start: &WarmStart<'_>) -> Result<WarmRoot, String> {
        let scratch =
            Scratch::new(place).map_err(|e| format!("make a directory in {}: {e}", place.display()))?;
        let mounts: Vec<RootfsMount> = start
            .creation
            .rootfs
            .iter()
            .map(|mount| {
                let mut mount = rootfs_mount(mount);
                // Mount points are made in a layer above the image's, as in its container.
                mount
                    .options
                    .retain(|option| !option.starts_with("upperdir=") && !option.starts_with("workdir="));
                mount.options.push(format!("upperdir={}", scratch.path("upper").display()));
                mount.options.push(format!("workdir={}", scratch.path("work").display()));
                mount
            })
            .collect();
        let root =
            jail::rootfs(&mounts, &scratch.path("root")).map_err(|e| format!("mount its image: {e}"))?;
        let closed = |directory| {
            let name = if directory { "closed-directory" } else { "closed-file" };
            let options = MountOptions { bind: Some(false), ..MountOptions::default() };
            jail::bind(&scratch.path(name), &options).map_err(|e| format!("cover a volume: {e}"))
        };
        let attachments = start.file_system.attachments();
        let closed = attachments.iter().map(|attach| closed(attach.directory)).collect::<Result<_, _>>()?;
        Ok(WarmRoot { root, closed, _scratch: scratch })
    }

    /// The root's detached mount.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The other detached mounts, as many as the container has and in the same order.
    pub fn mounts(&self) -> Vec<BorrowedFd<'_>> {
        self.closed.iter().map(|mount| mount.fd.as_fd()).collect()
    }
}

/// A directory that is removed when dropped. That of a server that died goes with the directory of that server.
struct Scratch(PathBuf);

impl Scratch {
    fn new(place: &Path) -> io::Result<Scratch> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let scratch = Scratch(place.join(format!("warm-{}", NUMBER.fetch_add(1, Ordering::Relaxed))));
        fs::create_dir(&scratch.0)?;
        for name in ["upper", "work", "root", "closed-directory"] {
            fs::create_dir(scratch.path(name))?;
        }
        fs::write(scratch.path("closed-file"), "")?;
        // Root itself is held to them: it has no capabilities in there.
        fs::set_permissions(scratch.path("upper"), Permissions::from_mode(0o755))?;
        fs::set_permissions(scratch.path("closed-file"), Permissions::from_mode(0o000))?;
        fs::set_permissions(scratch.path("closed-directory"), Permissions::from_mode(0o444))?;
        Ok(scratch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            log::error!("remove {}: {e}", self.0.display());
        }
    }
}
