//! Where the short-lived `start` and `delete` meet the server: one directory per server.
//!
//! ```text
//! /run/containerd-shim-wamr/<hash>/lock        flock: whoever starts or ends the server holds it
//!                                  task.sock   ttrpc: Task v2 and Task v3
//!                                  control.sock one line asked, one line answered
//!                                  log         what the server has to say
//! /run/containerd-shim-wamr/crashed.log         what the last server that crashed had said
//! ```
//! The hash is over everything two containers must have in common to share a server.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

/// Parent of all servers' directories.
pub const ROOT: &str = "/run/containerd-shim-wamr";

/// Where the log of a server that died is kept.
pub fn crashed_log() -> PathBuf {
    Path::new(ROOT).join("crashed.log")
}

/// One server's meeting place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    directory: PathBuf,
}

/// Held while a server is started or ended; released when dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its flock")] File);

impl Rendezvous {
    /// The place for containers of `namespace` on the containerd that listens at `address`, within sharing
    /// group `group` (empty when the whole node shares), for this very build of the shim.
    ///
    /// # Errors
    /// When the running executable cannot be examined.
    pub fn new(address: &str, namespace: &str, group: &str) -> io::Result<Rendezvous> {
        // Another build starts its own server beside the old one, which ends with its last container.
        let exe = fs::metadata("/proc/self/exe")?;
        let build = [exe.dev(), exe.ino(), exe.size(), exe.mtime() as u64, exe.mtime_nsec() as u64];
        let mut hash = Sha256::new();
        for part in [env!("CARGO_PKG_VERSION"), address, namespace, group] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        build.iter().for_each(|number| hash.update(number.to_le_bytes()));
        let name: String = hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Ok(Rendezvous { directory: Path::new(ROOT).join(name) })
    }

    /// The place a server was told to use.
    pub fn at(directory: impl Into<PathBuf>) -> Rendezvous {
        Rendezvous { directory: directory.into() }
    }

    /// The place that belongs to a task socket's address (`unix:///…/task.sock`).
    pub fn of_address(address: &str) -> Option<Rendezvous> {
        let socket = Path::new(address.strip_prefix("unix://")?);
        (socket.file_name()? == "task.sock")
            .then(|| Rendezvous::at(socket.parent().unwrap_or(Path::new("/"))))
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Socket of the ttrpc services.
    pub fn task_socket(&self) -> PathBuf {
        self.directory.join("task.sock")
    }

    /// Address of the ttrpc services as containerd wants it.
    pub fn task_address(&self) -> String {
        format!("unix://{}", self.task_socket().display())
    }

    /// Socket of the control protocol.
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Makes the directory and takes its lock, waiting for whoever holds it.
    ///
    /// # Errors
    /// Those of making the directory and of `flock`.
    pub fn lock(&self) -> io::Result<Lock> {
        DirBuilder::new().recursive(true).mode(0o700).create(ROOT)?;
        loop {
            match DirBuilder::new().mode(0o700).create(&self.directory) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
            let path = self.directory.join("lock");
            let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
            let file = match open {
                // The directory went with the server that ended between the two lines above.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                // Made above, or somebody else's and not empty.
                Err(e) => {
                    let _ = fs::remove_dir(&self.directory);
                    return Err(e);
                }
                Ok(file) => file,
            };
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            if same_file(&file, &path) {
                return Ok(Lock(file));
            }
        }
    }

    /// Removes the directory with all that is in it. The caller holds its lock and knows that no server runs.
    pub fn remove(&self, _lock: &Lock) {
        if let Err(e) = fs::remove_dir_all(&self.directory) {
            log::warn!("remove {}: {e}", self.directory.display());
        }
        // Fails while other servers have theirs below it.
        let _ = fs::remove_dir(ROOT);
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_meet_only_if_socket_namespace_and_group_agree() {
        let base = Rendezvous::new("/run/a.sock", "default", "").unwrap();
        assert_eq!(base, Rendezvous::new("/run/a.sock", "default", "").unwrap());
        for (address, namespace, group) in [
            ("/run/b.sock", "default", ""),
            ("/run/a.sock", "k8s.io", ""),
            ("/run/a.sock", "default", "pod"),
            ("/run/a.sockd", "efault", ""),
        ] {
            assert_ne!(base, Rendezvous::new(address, namespace, group).unwrap());
        }
    }

    #[test]
    fn the_address_leads_back_to_the_place() {
        let place = Rendezvous::new("/run/a.sock", "default", "").unwrap();
        assert_eq!(Rendezvous::of_address(&place.task_address()), Some(place));
        assert_eq!(Rendezvous::of_address("unix:///run/containerd/s/abc"), None);
    }
}
