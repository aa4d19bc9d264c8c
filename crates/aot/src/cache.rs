//! Code in, code out.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, Stat, flock, fsync, renameat};
use rustix::io::Errno;

use crate::directory::Directory;
use crate::entry::{CODE, SIDECAR, Said, digest, file_name, mark_used, sidecar};
use crate::key::is_name;
use crate::{Claim, Entry, Error, Key, Result, State, trim};

/// How names of files that are being written begin.
pub(crate) const DRAFT: &str = "draft.";
/// First bytes of an AOT file.
const MAGIC: &[u8] = b"\0aot";

/// The cache. Shared by reference between a server's threads.
#[derive(Debug)]
pub struct Cache {
    directory: Arc<Directory>,
    limit: u64,
    /// Files whose bytes were compared with their sidecar by this process, by key: in that state, and with that sidecar, they
    /// are not read again.
    checked: Mutex<HashMap<String, (Identity, String)>>,
}

/// What tells one state of a file from any other: the kernel sets the time of change, whoever writes.
type Identity = (u64, u64, i64, i64, i64);

/// Compiled code that can be trusted as far as the compiler can.
#[derive(Debug)]
pub struct Code {
    /// The AOT file, open for reading.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

/// A file for the compiler to write to. Removed when dropped, unless it was kept; after a crash, by whoever trims next.
#[derive(Debug)]
pub struct Draft {
    directory: Arc<Directory>,
    name: String,
    file: File,
}

impl Cache {
    /// The cache in the directory at `path`, which is made if it is missing, with at most `limit` bytes of files.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when others could put code there; [`Error::Io`].
    pub fn open(path: &Path, limit: u64) -> Result<Cache> {
        let directory = Arc::new(Directory::open(path)?);
        Ok(Cache { directory, limit, checked: Mutex::default() })
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// The code for a key, if it is there and is what it is said to be. What is not, is removed.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Code> {
        let (said_name, code_name) = (file_name(key.name(), SIDECAR), file_name(key.name(), CODE));
        let (said_file, said_stat) = self.directory.trusted(&said_name)?;
        let found = self.directory.trusted(&code_name).filter(|(file, stat)| {
            let text = self.directory.text(&said_name).unwrap_or_default();
            let known = (identity(stat), text);
            if self.checked().get(key.name()) == Some(&known) {
                return true;
            }
            let said = Said::parse(&known.1);
            let good = said.is_some_and(|said| said.key == key.text() && said.matches(file, stat));
            if good {
                self.checked().insert(key.name().to_owned(), known);
            }
            good
        });
        match found {
            Some((file, stat)) => {
                mark_used(&said_file, &said_stat);
                Some(Code { file, size: u64::try_from(stat.st_size).unwrap_or(0) })
            }
            None => {
                let path = self.directory.path.join(code_name);
                log::warn!("AOT cache: {} is not what its sidecar says: removed", path.display());
                self.checked().remove(key.name());
                trim::remove(&self.directory, key.name());
                None
            }
        }
    }

    /// Waits until nobody else compiles for the key; then looks again, before compiling.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn claim(&self, key: &Key) -> Result<Claim> {
        Claim::wait(&self.directory, key)
    }

    /// An empty file to write code to.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn draft(&self) -> Result<Draft> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{DRAFT}{}.{number}", std::process::id());
            let failed = |e: Errno| Error::io("make", &self.directory.path.join(&name), e);
            match self.directory.make(&name) {
                Ok(file) => {
                    // Says that it is in use.
                    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
                    return Ok(Draft { directory: Arc::clone(&self.directory), name, file });
                }
                // Left by a process that had this id.
                Err(Errno::EXIST) => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }

    /// Takes what the compiler wrote as the code for a key. At every moment before the last step, also after a crash, the
    /// key has its old code or none.
    ///
    /// # Errors
    /// [`Error::NotAot`]; [`Error::Io`], such as a full disk. The key then has no code.
    pub fn keep(&self, key: &Key, draft: &Draft) -> Result<Code> {
        let directory = &self.directory;
        let failed = |doing, name: &str| {
            let path = directory.path.join(name);
            move |e: std::io::Error| Error::io(doing, &path, e)
        };
        let mut magic = [0; 4];
        draft.file.read_exact_at(&mut magic, 0).map_err(|_| Error::NotAot("it is empty"))?;
        if magic != MAGIC {
            return Err(Error::NotAot("it does not begin with \\0aot"));
        }
        let (digest, size) = digest(&draft.file).map_err(failed("read", &draft.name))?;
        let said = self.draft()?;
        said.file().write_all(sidecar(key, &digest, size).as_bytes()).map_err(failed("write", &said.name))?;
        for draft in [draft, &said] {
            fsync(&draft.file).map_err(|e| failed("write", &draft.name)(e.into()))?;
        }
        // A sidecar without its code would take the next code's place in a crash.
        directory.remove(&file_name(key.name(), SIDECAR));
        for (draft, ending) in [(draft, CODE), (&said, SIDECAR)] {
            let name = file_name(key.name(), ending);
            renameat(directory, draft.name.as_str(), directory, name.as_str())
                .map_err(|e| failed("rename", &name)(e.into()))?;
        }
        fsync(directory.as_ref()).map_err(|e| Error::io("write", &directory.path, e))?;
        trim::trim(directory, self.limit, Some(key.name()))?;
        self.find(key).ok_or(Error::NotAot("it was changed while it was kept"))
    }

    /// Everything in the cache, each file read and compared with its sidecar.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let names = self.directory.names()?;
        let mut stems: Vec<&str> = names.iter().filter_map(|name| name.split('.').next()).collect();
        stems.retain(|stem| is_name(stem));
        stems.sort_unstable();
        stems.dedup();
        Ok(stems.into_iter().filter_map(|stem| Entry::read(&self.directory, stem)).collect())
    }

    /// Reads every file, and removes entries that are not what they are said to be; returns these. One that somebody compiles
    /// for at this moment is passed over.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn verify(&self) -> Result<Vec<Entry>> {
        let mut damaged = Vec::new();
        for entry in self.entries()?.into_iter().filter(|entry| entry.state == State::Damaged) {
            let Some(_claim) = Claim::at_once(&self.directory, &entry.name)? else { continue };
            // It may have been half put in before.
            if let Some(entry) = Entry::read(&self.directory, &entry.name)
                && entry.state == State::Damaged
            {
                self.remove(&entry.name);
                damaged.push(entry);
            }
        }
        Ok(damaged)
    }

    /// Forgets a key, by its name: its code, or that it could not be compiled.
    pub fn remove(&self, name: &str) {
        if is_name(name) {
            self.checked().remove(name);
            trim::remove(&self.directory, name);
        }
    }

    /// Removes what crashes left, and the least recently used entries beyond the limit; returns how many of these.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn trim(&self) -> Result<usize> {
        trim::trim(&self.directory, self.limit, None)
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Identity, String)>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Kept ones have another name by now.
        self.directory.remove(&self.name);
    }
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec as i64)
}
