//! A container's cgroup: one directory per hierarchy.

use std::path::{Path as FilePath, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::{
    Controller, Controllers, Cpu, Error, Host, Limits, Memory, Path, Result, Unit, Version, cpuset, file,
};

/// One container's cgroup, in every hierarchy it joins.
///
/// Holds paths and no descriptors, so a clone is the same cgroup; owned by the container it belongs to, in the
/// server. All methods take `&self` and may be called from several threads. Dropping it removes nothing: that
/// is [`Cgroup::remove`].
#[derive(Debug, Clone)]
pub struct Cgroup {
    version: Version,
    /// In the order of [`Controller::ALL`]: the first is the one that processes are counted and killed by.
    directories: Vec<Directory>,
    /// v1: where its process enters a cgroup that is not its own, because it needs none: see [`Cgroup::plan_sleeper`].
    borrowed: Vec<Directory>,
    /// Where systemd has a say.
    unit: Option<Unit>,
}

#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// The root of its hierarchy.
    root: PathBuf,
    controllers: Controllers,
    /// Made with the first limit that it is for; until then its processes are in the one above. See
    /// [`Cgroup::plan_lean`].
    pub(crate) deferred: bool,
}

impl Directory {
    pub(crate) fn root(&self) -> &FilePath {
        &self.root
    }

    /// The directory above.
    pub(crate) fn above(&self) -> Option<&FilePath> {
        self.path.parent()
    }

    /// # Errors
    /// [`Error::AlreadyInUse`] if a process is in it or below it.
    fn unused(&self) -> Result<()> {
        match crate::processes::first_below(&self.path)? {
            Some(pid) => Err(Error::AlreadyInUse { directory: self.path.clone(), pid }),
            None => Ok(()),
        }
    }
}

/// Where a container's cgroup is to be. Nothing is made yet, so that its directories can be recorded first: whoever
/// finds the record of a maker that died can remove them.
#[derive(Debug)]
pub struct Planned(Cgroup);

impl Planned {
    /// The directories, whether or not they exist.
    pub fn directories(&self) -> impl Iterator<Item = &FilePath> {
        self.0.directories()
    }

    /// Makes the cgroup, as [`Cgroup::create`] does.
    ///
    /// # Errors
    /// Those of [`Cgroup::create`].
    pub fn make(self, limits: &Limits) -> Result<Cgroup> {
        self.0.make(limits)
    }
}

impl Cgroup {
    /// A place for a cgroup where no process is.
    ///
    /// # Errors
    /// [`Error::AlreadyInUse`], [`Error::Io`].
    pub fn plan(host: &Host, path: &Path) -> Result<Planned> {
        Self::at(host, path).planned()
    }

    /// The same for a process that is likely to have no say in where it runs. On v1 its cpuset is made when it is first
    /// limited, by [`Cgroup::apply`] if that comes later; until then it is in the cpuset above. One of its own costs 0.15 ms,
    /// most of it to fill it, and 8 KiB of the kernel's memory (Linux 6.18). On v2, or where systemd makes the cgroup, or
    /// nothing is above, it is as with [`Cgroup::plan`].
    ///
    /// # Errors
    /// As [`Cgroup::plan`].
    pub fn plan_lean(host: &Host, path: &Path) -> Result<Planned> {
        let mut cgroup = Self::at(host, path);
        if cgroup.version == Version::V1 && cgroup.unit.is_none() && has_above(path) {
            let cpuset: Controllers = [Controller::Cpuset].into_iter().collect();
            for directory in &mut cgroup.directories {
                directory.deferred = directory.controllers == cpuset;
            }
        }
        cgroup.planned()
    }

    /// The same for a native container, which joins v1's remaining hierarchies too (`devices`, `net_cls`, `net_prio`,
    /// `perf_event`).
    ///
    /// # Errors
    /// As [`Cgroup::plan`].
    pub fn plan_native(host: &Host, path: &Path) -> Result<Planned> {
        let mut cgroup = Self::at(host, path);
        let relative = path.relative();
        cgroup.directories.extend(host.native_only().map(|root| Directory {
            path: root.join(&relative),
            root: root.to_owned(),
            controllers: Controllers::default(),
            deferred: false,
        }));
        cgroup.planned()
    }

    /// The same for one process that only sleeps, as a pod's holder of namespaces does. On v1 it has directories of its own
    /// where it is counted, stopped and killed, and is in the cgroup above, its pod's, for memory, processor and cpuset: a
    /// cgroup takes 49, 12 and 13 KiB of the kernel's memory there (Linux 6.18), more than the process itself. Limits of
    /// these are not set. On v2, or where systemd makes the cgroup, or nothing is above, it is as with [`Cgroup::plan`].
    ///
    /// # Errors
    /// As [`Cgroup::plan`].
    pub fn plan_sleeper(host: &Host, path: &Path) -> Result<Planned> {
        let mut cgroup = Self::at(host, path);
        if cgroup.version == Version::V1 && cgroup.unit.is_none() && has_above(path) {
            let dear: Controllers =
                [Controller::Memory, Controller::Cpu, Controller::Cpuset].into_iter().collect();
            let (borrowed, own) = cgroup.directories.into_iter().partition(|directory| {
                !directory.controllers.and(dear).is_empty() && !directory.controllers.has(Controller::Freezer)
            });
            (cgroup.borrowed, cgroup.directories) = (borrowed, own);
            for directory in &mut cgroup.borrowed {
                directory.path.pop();
            }
        }
        cgroup.planned()
    }

    fn planned(self) -> Result<Planned> {
        self.directories
            .iter()
            .filter(|directory| directory.path.is_dir())
            .try_for_each(Directory::unused)?;
        Ok(Planned(self))
    }

    /// Makes the cgroup with these limits, and any missing directory above it.
    ///
    /// A directory that is there already is taken over as it is, settings included, if no process is in it or
    /// below it. Directories are made with mode 0755 less the caller's umask; monitoring without privileges
    /// wants it to be 022. Directories above are nobody's in particular and are left when the cgroup is
    /// removed. On an error, everything made by this call is removed again.
    ///
    /// With a unit of systemd for a path, [`Cgroup::adopt`] has to follow when a process is in it.
    ///
    /// # Errors
    /// [`Error::AlreadyInUse`], [`Error::Io`], and those of [`Cgroup::apply`].
    pub fn create(host: &Host, path: &Path, limits: &Limits) -> Result<Self> {
        Self::at(host, path).make(limits)
    }

    fn make(self, limits: &Limits) -> Result<Self> {
        let cgroup = self;
        let mut made = Made::default();
        let placed = limits.cpu.cpus.is_some() || limits.cpu.mems.is_some();
        for directory in &cgroup.directories {
            if let Some(above) = directory.above().filter(|_| directory.deferred && !placed) {
                made.make(&directory.root, above)?;
                cpuset::inherit(&directory.root, above, &Cpu::default())?;
                continue;
            }
            if !made.make(&directory.root, &directory.path)? {
                directory.unused()?;
            }
            if cgroup.version == Version::V1 && directory.controllers.has(Controller::Cpuset) {
                cpuset::inherit(&directory.root, &directory.path, &limits.cpu)?;
            }
        }
        for directory in &cgroup.borrowed {
            made.make(&directory.root, &directory.path)?;
            if directory.controllers.has(Controller::Cpuset) {
                cpuset::inherit(&directory.root, &directory.path, &Cpu::default())?;
            }
        }
        if cgroup.version == Version::V2 {
            crate::delegate::enable_usual(&cgroup)?;
        }
        match cgroup.borrowed[..] {
            [] => cgroup.write_limits(limits)?,
            _ => cgroup.write_limits(&Limits {
                memory: Memory::default(),
                cpu: Cpu::default(),
                ..limits.clone()
            })?,
        }
        made.keep();
        Ok(cgroup)
    }

    /// The cgroup that exists at a path.
    ///
    /// # Errors
    /// [`Error::Missing`] if no hierarchy has it.
    pub fn open(host: &Host, path: &Path) -> Result<Self> {
        let cgroup = Self::at(host, path);
        match cgroup.directories.first() {
            Some(first) if !cgroup.directories.iter().any(|d| d.path.is_dir()) => {
                Err(Error::Missing(first.path.clone()))
            }
            _ => Ok(cgroup),
        }
    }

    /// The cgroup made of the directories of [`Cgroup::directories`], whether or not they still exist: enough
    /// to kill and remove what a dead server left, a unit of systemd included.
    ///
    /// A directory that is not strictly inside a mounted hierarchy is left out with a warning: a damaged
    /// record must not make anybody remove or kill elsewhere.
    #[must_use]
    pub fn from_directories(host: &Host, directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut known = Vec::new();
        for path in directories {
            let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
            match host.hierarchy_of(&path) {
                Some((root, controllers)) if plain => {
                    known.push(Directory { root: root.to_owned(), controllers, path, deferred: false });
                }
                _ => log::warn!("{} is not inside a cgroup hierarchy: left alone", path.display()),
            }
        }
        // Ours come sorted; those without a controller of ours go last.
        known.sort_by_key(|d| d.controllers.iter().next().map_or(u8::MAX, |first| first as u8));
        let unit = known
            .first()
            .filter(|_| host.has_systemd())
            .and_then(|directory| Unit::of_directory(directory.path.strip_prefix(&directory.root).ok()?));
        Self { version: host.version(), directories: known, borrowed: Vec::new(), unit }
    }

    /// Its directories, to be kept for [`Cgroup::from_directories`].
    pub fn directories(&self) -> impl Iterator<Item = &FilePath> {
        self.directories.iter().map(|d| d.path.as_path())
    }

    /// Its place below each hierarchy's root, as an absolute path, and each hierarchy's mount point with the directory.
    pub fn places(&self) -> (PathBuf, impl Iterator<Item = (&FilePath, &FilePath)>) {
        let place = self.directories.first().and_then(|d| d.path.strip_prefix(&d.root).ok());
        let place = FilePath::new("/").join(place.unwrap_or(FilePath::new("")));
        (place, self.directories.iter().map(|d| (d.root.as_path(), d.path.as_path())))
    }

    /// Which version it belongs to.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    fn at(host: &Host, path: &Path) -> Self {
        let relative = path.relative();
        let directory = |h: &crate::host::Hierarchy| Directory {
            path: h.root.join(&relative),
            root: h.root.clone(),
            controllers: h.controllers,
            deferred: false,
        };
        let directories = host.joined().iter().map(directory).collect();
        Self { version: host.version(), directories, borrowed: Vec::new(), unit: path.unit(host).cloned() }
    }

    /// The unit systemd makes of it.
    pub(crate) fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    /// v1: every directory that its process is in.
    pub(crate) fn entered(&self) -> impl Iterator<Item = &Directory> {
        self.directories.iter().chain(&self.borrowed)
    }

    /// v1: the cpuset, if it is one that may have to be made yet.
    pub(crate) fn deferred_cpuset(&self) -> Option<&Directory> {
        self.directories.iter().find(|directory| directory.deferred)
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

    /// Number of processes of this cgroup the kernel has killed for want of memory since it was made. 0 if it
    /// is gone. To be asked just before an exit is reported, because [`crate::OomWatcher`] may still be on
    /// its way.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        self.oom_file().and_then(|path| file::keyed(&file::read_if_there(&path)?, "oom_kill")).unwrap_or(0)
    }

    /// The file with the `oom_kill` counter.
    pub(crate) fn oom_file(&self) -> Option<PathBuf> {
        self.file(
            Controller::Memory,
            match self.version {
                Version::V1 => "memory.oom_control",
                Version::V2 => "memory.events",
            },
        )
    }
}

/// Whether there is a cgroup above that is not a hierarchy's root.
fn has_above(path: &Path) -> bool {
    path.relative().parent().is_some_and(|above| !above.as_os_str().is_empty())
}

/// Directories made so far, removed again unless they are kept.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory and those missing between it and the root. False if it existed.
    fn make(&mut self, root: &FilePath, path: &FilePath) -> Result<bool> {
        // Usually all but the last are there. If not, or if another container's removal takes one away in
        // between, go up. The bound is for two of them that do nothing but that.
        for _ in 0..64 {
            match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    self.0.push(path.to_owned());
                    return Ok(true);
                }
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::NOENT)
                    if path.parent().is_some_and(|parent| parent != root && parent.starts_with(root)) =>
                {
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

#[cfg(test)]
mod tests;
