//! One compile per key, however many servers want it.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::{Error, Key, Result};

/// The right to compile for a key: a lock that the kernel takes back when the process ends. Held by one server at a time.
#[derive(Debug)]
pub struct Claim {
    directory: Arc<Directory>,
    name: String,
    _lock: File,
}

impl Claim {
    /// Waits until nobody else has the key. Whoever gets it looks first whether the other has done the work.
    pub(crate) fn wait(directory: &Arc<Directory>, key: &Key) -> Result<Claim> {
        loop {
            if let Some(claim) = Claim::lock(directory, key.name(), FlockOperation::LockExclusive)? {
                return Ok(claim);
            }
        }
    }

    /// If nobody has it now. `stem` is a key's name.
    pub(crate) fn at_once(directory: &Arc<Directory>, stem: &str) -> Result<Option<Claim>> {
        Claim::lock(directory, stem, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock(directory: &Arc<Directory>, stem: &str, how: FlockOperation) -> Result<Option<Claim>> {
        let name = format!("{stem}.lock");
        let failed = |e: Errno| Error::io("lock", &directory.path.join(&name), e);
        let file = directory.lock_file(&name).map_err(failed)?;
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::INTR | Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        // Whoever had it before has removed the file: a lock on a file without a name keeps nobody out.
        let locked = fstat(&file).map_err(failed)?;
        let named = directory.stat(&name);
        let same = named.is_some_and(|named| (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino));
        Ok(same.then(|| Claim { directory: Arc::clone(directory), name, _lock: file }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the lock is gone.
        self.directory.remove(&self.name);
    }
}
