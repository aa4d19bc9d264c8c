//! The module to run, known by the digest of its bytes.
//!
//! A digest stands for a template that other containers are forked from, so it must never come to stand for bytes
//! it was not computed from. Image layers are written by nobody while they are in use. A file in a volume, or in a root
//! that was written to before, may change at any moment, so a template is only ever built from a sealed copy of
//! such a file, hashed while it is made ([`Module::contents`]).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use sha2::{Digest as _, Sha256};

use crate::{Error, Found, Kind, Origin, Result};

/// Digests remembered: more than the images of a node, about 300 bytes each.
const REMEMBERED: usize = 256;
/// A change time no older than this may be shared by a later change (timestamps tick every 1 to 10 ms, and on
/// network file systems more slowly), so it does not identify content yet.
const SETTLED: Duration = Duration::from_secs(2);
/// Bytes read at a time.
const CHUNK: usize = 128 * 1024;

/// SHA-256 of a module's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

/// A core wasm module, not yet loaded.
#[derive(Debug)]
pub struct Module {
    /// The module's file, open for reading. Its content may still change unless it comes from image layers.
    pub file: File,
    /// Where it is inside its container.
    pub path: PathBuf,
    /// The export to enter at instead of `_start`.
    pub export: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Digest of its bytes.
    pub digest: Digest,
    origin: Origin,
}

impl Module {
    /// The bytes the digest stands for, in a file that can not change any more: the module's own file if it comes
    /// from image layers, else a sealed copy in memory. Needed only to load the module, not to find its template.
    ///
    /// # Errors
    /// [`Error::Changed`] when the file does not hold those bytes any more; [`Error::Io`].
    pub fn contents(&self) -> Result<File> {
        let failed = |e| Error::io("copy", &self.path, e);
        if matches!(self.origin, Origin::Layers(_)) {
            return self.file.try_clone().map_err(failed);
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let copy = File::from(memfd_create("wasm-module", flags).map_err(|e| failed(e.into()))?);
        let digest = hash(&self.file, self.size, |at, bytes| copy.write_all_at(bytes, at)).map_err(failed)?;
        if digest != Some(self.digest) {
            return Err(Error::Changed { path: self.path.clone() });
        }
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&copy, seals).map_err(|e| failed(e.into()))?;
        Ok(copy)
    }
}

/// Makes modules of files and remembers their digests, so that a thousand pods of one image hash it once.
///
/// One per server, shared by reference between its threads. Two threads with the same file: one computes, the other waits.
#[derive(Debug)]
pub struct Modules {
    limit: u64,
    digests: Mutex<Remembered>,
}

#[derive(Debug, Default)]
struct Remembered {
    slots: HashMap<Key, Slot>,
    /// Keys by age; the oldest goes first.
    order: VecDeque<Key>,
}

/// Filled by the first to lock it.
type Slot = Arc<Mutex<Option<Digest>>>;

/// What tells one state of one file from any other.
///
/// An overlay has a device number of its own per mount, while inode number and times are those of the layer's
/// file, so the list of layers takes the device's place there. The change time is set by the kernel and can not be chosen
/// by whoever writes the file. A file system whose server makes up its times (FUSE, NFS) can at worst be taken for an
/// older state of itself: its device number is its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    origin: Origin,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Modules {
    /// An empty memory. `limit` is the most bytes a module may have.
    pub fn new(limit: u64) -> Modules {
        Modules { limit, digests: Mutex::default() }
    }

    /// Checks that a file is a core module and tells its digest.
    ///
    /// # Errors
    /// [`Error::NotAModule`], [`Error::TooLarge`], [`Error::Changed`], [`Error::Io`].
    pub fn identify(&self, found: Found) -> Result<Module> {
        let Found { file, path, export, origin } = found;
        let failed = |e| Error::io("read", &path, e);
        match Kind::of(&file).map_err(failed)? {
            Kind::CoreModule => {}
            kind => return Err(Error::NotAModule { path, kind }),
        }
        let stat = file.metadata().map_err(failed)?;
        if stat.size() > self.limit {
            return Err(Error::TooLarge { path, size: stat.size(), limit: self.limit });
        }
        let key = Key {
            origin: origin.clone(),
            inode: stat.ino(),
            size: stat.size(),
            modified: (stat.mtime(), stat.mtime_nsec()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        };
        let slot = if matches!(origin, Origin::Layers(_)) || settled(stat.ctime()) {
            self.slot(key)
        } else {
            Slot::default()
        };
        let mut digest = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if digest.is_none() {
            *digest = hash(&file, stat.size(), |_, _| Ok(())).map_err(failed)?;
        }
        match *digest {
            Some(digest) => Ok(Module { file, path, export, size: stat.size(), digest, origin }),
            None => Err(Error::Changed { path }),
        }
    }

    fn slot(&self, key: Key) -> Slot {
        let mut remembered = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = remembered.slots.get(&key) {
            return slot.clone();
        }
        if remembered.order.len() == REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.slots.remove(&oldest);
        }
        remembered.order.push_back(key.clone());
        remembered.slots.entry(key).or_default().clone()
    }
}

fn settled(changed: i64) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed.try_into().unwrap_or(0));
    changed.elapsed().is_ok_and(|age| age > SETTLED)
}

/// Digest of exactly `size` bytes, each chunk also shown to `each` with its offset; `None` when the file turns
/// out shorter or longer.
fn hash(file: &File, size: u64, each: impl Fn(u64, &[u8]) -> io::Result<()>) -> io::Result<Option<Digest>> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let read = match file.read_at(&mut buffer, at) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((at == size).then(|| Digest(hasher.finalize().into())));
        }
        each(at, bytes)?;
        hasher.update(bytes);
        at += read as u64;
        if at > size {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, content, overlay};
    use crate::{Entrypoint, Mount, Tree};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::path::Path;

    const WASM: &[u8] = b"\0asm\x01\0\0\0";

    fn find(root: BorrowedFd<'_>, layers: Option<&str>) -> Found {
        let tree = Tree::new(root, layers, &[]).unwrap();
        Entrypoint::parse("/app.wasm", "/", None).unwrap().find(&tree).unwrap()
    }

    #[test]
    fn the_digest_is_sha256_of_the_bytes() {
        let scratch = Scratch::new();
        scratch.file("app.wasm", WASM);
        let module = Modules::new(8).identify(find(scratch.detached().as_fd(), None)).unwrap();
        let expected = "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476";
        assert_eq!((module.size, module.digest.to_string().as_str()), (8, expected));
    }

    #[test]
    fn a_file_in_the_same_layers_is_hashed_once_whatever_overlay_shows_it() {
        let (layer, other) = (Scratch::new(), Scratch::new());
        layer.file("app.wasm", WASM);
        other.directory("etc");
        let lower = [other.path(""), layer.path("")];
        let lower: Vec<&Path> = lower.iter().map(|p| p.as_path()).collect();
        let modules = Modules::new(1024);
        let (a, b) = (overlay(&lower, None), overlay(&lower, None));
        for root in [&a, &b] {
            modules.identify(find(root.as_fd(), Some("2:1"))).unwrap();
        }
        assert_eq!(modules.digests.lock().unwrap().slots.len(), 1);
        modules.identify(find(a.as_fd(), Some("3:1"))).unwrap();
        assert_eq!(modules.digests.lock().unwrap().slots.len(), 2, "other layers are another origin");
    }

    /// What `Key` relies on: see its documentation. Printed for the record.
    #[test]
    fn two_overlays_of_one_layer_differ_in_device_but_not_in_inode_and_times() {
        let (layer, other, upper) = (Scratch::new(), Scratch::new(), Scratch::new());
        layer.file("app.wasm", WASM);
        other.directory("etc");
        upper.directory("up").directory("work");
        let lower = [other.path(""), layer.path("")];
        let lower: Vec<&Path> = lower.iter().map(|p| p.as_path()).collect();
        let (up, work) = (upper.path("up"), upper.path("work"));
        let (a, b) = (overlay(&lower, None), overlay(&lower, Some((&up, &work))));
        let stat = |root: BorrowedFd<'_>| find(root, None).file.metadata().unwrap();
        let (a, b, real) =
            (stat(a.as_fd()), stat(b.as_fd()), std::fs::metadata(layer.path("app.wasm")).unwrap());
        println!(
            "overlay 1 dev {:#x} ino {}; overlay 2 dev {:#x} ino {}",
            a.dev(),
            a.ino(),
            b.dev(),
            b.ino()
        );
        println!("layer     dev {:#x} ino {}", real.dev(), real.ino());
        let known = |m: &std::fs::Metadata| (m.ino(), m.size(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
        assert_eq!(known(&a), known(&b));
        assert_ne!(a.dev(), b.dev());
    }

    #[test]
    fn a_module_that_may_change_is_loaded_from_a_sealed_copy_of_the_very_bytes() {
        let scratch = Scratch::new();
        scratch.file("app.wasm", WASM);
        let modules = Modules::new(1024);
        let module = modules.identify(find(scratch.detached().as_fd(), None)).unwrap();
        let copy = module.contents().unwrap();
        assert_eq!(content(&copy), WASM);
        assert!(copy.write_at(b"x", 0).is_err() && copy.set_len(0).is_err());

        scratch.file("app.wasm", b"\0asm\x01\0\0\0other");
        assert!(matches!(module.contents(), Err(Error::Changed { .. })));
        let changed = modules.identify(find(scratch.detached().as_fd(), None)).unwrap();
        assert_ne!(changed.digest, module.digest);
    }

    #[test]
    fn a_file_changed_in_the_same_tick_is_hashed_again() {
        let scratch = Scratch::new();
        let modules = Modules::new(1024);
        let mut seen = std::collections::HashSet::new();
        for byte in 0..50_u8 {
            let mut bytes = WASM.to_vec();
            bytes.push(byte);
            scratch.file("app.wasm", &bytes);
            seen.insert(modules.identify(find(scratch.detached().as_fd(), None)).unwrap().digest);
        }
        assert_eq!(seen.len(), 50);
    }

    #[test]
    fn a_volume_is_known_by_its_device() {
        let (image, volume) = (Scratch::new(), Scratch::new());
        image.directory("data");
        volume.file("app.wasm", WASM);
        let (root, fd) = (image.detached(), volume.detached());
        let mounts = [Mount { destination: "/data", fd: fd.as_fd(), directory: true }];
        let tree = Tree::new(root.as_fd(), Some("layers"), &mounts).unwrap();
        let found = Entrypoint::parse("/data/app.wasm", "/", None).unwrap().find(&tree).unwrap();
        let module = Modules::new(1024).identify(found).unwrap();
        assert!(rustix::fs::fcntl_get_seals(module.contents().unwrap()).unwrap().contains(SealFlags::WRITE));
    }

    #[test]
    fn what_is_no_core_module_or_too_large_is_refused_by_name() {
        let scratch = Scratch::new();
        for (bytes, part) in [
            (&b"\0asm\x0d\0\x01\0"[..], "component"),
            (b"\x7fELF", "native Linux program"),
            (b"\0aot", "never loaded"),
            (b"", "is empty"),
            (b"\0asm\x01\0\0\0more", "max_module_size"),
        ] {
            scratch.file("app.wasm", bytes);
            let refused = Modules::new(10).identify(find(scratch.detached().as_fd(), None)).unwrap_err();
            let words = refused.to_string();
            assert!(words.starts_with("\"/app.wasm\"") && words.contains(part), "{words}");
        }
    }

    #[test]
    fn the_memory_of_digests_is_bounded() {
        let modules = Modules::new(0);
        for inode in 0..3 * REMEMBERED as u64 {
            let origin = Origin::Device(1);
            modules.slot(Key { origin, inode, size: 0, modified: (0, 0), changed: (0, 0) });
        }
        let remembered = modules.digests.lock().unwrap();
        assert_eq!((remembered.slots.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
    }
}
