//! A container's cgroup: one directory per hierarchy.

use std::path::{Path as FilePath, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::{Controller, Controllers, Error, Host, Limits, Path, Result, Version, cpuset, file};

/// One container's cgroup, in every hierarchy it joins.
///
/// Holds paths and no descriptors; owned by the container it belongs to, in the server. All methods take `&self` and
/// may be called from several threads. Dropping it removes nothing: that is [`Cgroup::remove`].
#[derive(Debug)]
pub struct Cgroup {
    version: Version,
    /// In the order of [`Controller::ALL`]; never empty of meaning: the first is the one that is counted and killed by.
    directories: Vec<Directory>,
}

#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// The root of its hierarchy.
    root: PathBuf,
    controllers: Controllers,
}

impl Cgroup {
    /// Makes the cgroup with these limits, and any missing directory above it.
    ///
    /// A directory that is there already is taken over as it is, settings included, if no process is in it or below it.
    /// Directories above are nobody's in particular and are left when the cgroup is removed. On an error, everything
    /// made by this call is removed again.
    ///
    /// # Errors
    /// [`Error::AlreadyInUse`], [`Error::Systemd`], [`Error::Io`], and those of [`Cgroup::apply`].
    pub fn create(host: &Host, path: &Path, limits: &Limits) -> Result<Self> {
        let relative = path.directory(host)?;
        let cgroup = Self::below(host, &relative);
        let mut made = Made::default();
        for directory in &cgroup.directories {
            if !made.make(&directory.root, &directory.path)?
                && let Some(pid) = crate::processes::first_below(&directory.path)?
            {
                return Err(Error::AlreadyInUse { directory: directory.path.clone(), pid });
            }
            if cgroup.version == Version::V1 && directory.controllers.has(Controller::Cpuset) {
                cpuset::inherit(&directory.root, &directory.path, &limits.cpu)?;
            }
        }
        if cgroup.version == Version::V2 {
            crate::delegate::enable_usual(&cgroup)?;
        }
        cgroup.apply(limits)?;
        made.keep();
        Ok(cgroup)
    }

    /// The cgroup that exists at a path.
    ///
    /// # Errors
    /// [`Error::Missing`] if no hierarchy has it.
    pub fn open(host: &Host, path: &Path) -> Result<Self> {
        let cgroup = Self::below(host, &path.relative());
        match cgroup.directories.first() {
            Some(first) if !cgroup.directories.iter().any(|d| d.path.is_dir()) => Err(Error::Missing(first.path.clone())),
            _ => Ok(cgroup),
        }
    }

    /// The cgroup made of the directories of [`Cgroup::directories`], whether or not they still exist: enough to kill
    /// and remove what a dead server left.
    ///
    /// A directory that is not strictly inside a mounted hierarchy is left out with a warning: a damaged record must
    /// not make anybody remove or kill elsewhere.
    #[must_use]
    pub fn from_directories(host: &Host, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut known = Vec::new();
        for path in directories {
            let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
            match host.hierarchy_of(&path) {
                Some((root, controllers)) if plain => {
                    known.push(Directory { root: root.to_owned(), controllers, path });
                }
                _ => log::warn!("{} is not inside a cgroup hierarchy: left alone", path.display()),
            }
        }
        // Ours come sorted; those without a controller of ours go last.
        known.sort_by_key(|d| d.controllers.iter().next().map_or(u8::MAX, |first| first as u8));
        Self { version: host.version(), directories: known }
    }

    /// Its directories, to be kept for [`Cgroup::from_directories`].
    pub fn directories(&self) -> impl Iterator<Item = &FilePath> {
        self.directories.iter().map(|d| d.path.as_path())
    }

    /// Which version it belongs to.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    fn below(host: &Host, relative: &FilePath) -> Self {
        let directory = |h: &crate::host::Hierarchy| Directory {
            path: h.root.join(relative),
            root: h.root.clone(),
            controllers: h.controllers,
        };
        Self { version: host.version(), directories: host.joined().iter().map(directory).collect() }
    }

    /// The directory that has a controller's files.
    pub(crate) fn directory(&self, controller: Controller) -> Option<&FilePath> {
        self.directories.iter().find(|d| d.controllers.has(controller)).map(|d| d.path.as_path())
    }

    /// The same, for the sake of a limit.
    pub(crate) fn directory_for(&self, limit: &'static str, controller: Controller) -> Result<&FilePath> {
        self.directory(controller).ok_or_else(|| Error::NoController {
            limit,
            controller,
            directory: self.first().map(FilePath::to_owned).unwrap_or_default(),
            reason: ": its v1 hierarchy is not mounted".to_owned(),
        })
    }

    /// The directory that every process of the cgroup is in: of v1's the one entered first.
    pub(crate) fn first(&self) -> Option<&FilePath> {
        self.directories.first().map(|d| d.path.as_path())
    }

    /// v2: root of the hierarchy and the directory.
    pub(crate) fn unified(&self) -> Option<(&FilePath, &FilePath)> {
        let directory = self.directories.first().filter(|_| self.version == Version::V2)?;
        Some((&directory.root, &directory.path))
    }

    /// A controller's file, or `None` without the controller.
    pub(crate) fn file(&self, controller: Controller, name: &str) -> Option<PathBuf> {
        self.directory(controller).map(|directory| directory.join(name))
    }

    /// Number of processes of this cgroup the kernel has killed for want of memory since it was made. 0 if it is gone.
    /// To be asked just before an exit is reported, because [`crate::OomWatcher`] may still be on its way.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.oom_file().and_then(|path| file::keyed(&file::read_if_there(&path)?, "oom_kill")).unwrap_or(0)
    }

    /// The file with the `oom_kill` counter.
    pub(crate) fn oom_file(&self) -> Option<PathBuf> {
        self.file(Controller::Memory, match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        })
    }
}

/// Directories made so far, removed again unless they are kept.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory and those missing between it and the root. False if it existed.
    fn make(&mut self, root: &FilePath, path: &FilePath) -> Result<bool> {
        // Usually all but the last are there. If not, or if another container's removal takes one away in between, go
        // up. The bound is for two of them that do nothing but that.
        for _ in 0..64 {
            match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    self.0.push(path.to_owned());
                    return Ok(true);
                }
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::NOENT) if path.parent().is_some_and(|parent| parent != root && parent.starts_with(root)) => {
                    if let Some(parent) = path.parent() {
                        self.make(root, parent)?;
                    }
                }
                Err(errno) => return Err(Error::io("make cgroup", path, errno)),
            }
        }
        Err(Error::io("make cgroup", path, Errno::NOENT))
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // One above may have got another container meanwhile: then it stays.
            if let Err(errno) = rustix::fs::rmdir(path) {
                log::debug!("{}: {errno}", path.display());
            }
        }
    }
}
