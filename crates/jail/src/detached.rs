//! Mounts that exist as a descriptor only: the server makes them, the container's process attaches them.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::Error;
use crate::error::Step;
use crate::mount_options::{Attributes, MountOptions, Propagation, attribute};

/// A mount that is attached nowhere. It goes away with its descriptor.
#[derive(Debug)]
pub struct Detached {
    /// The mount's root, as `move_mount(2)` takes it. Close-on-exec.
    pub fd: OwnedFd,
    /// Whether that root is a directory.
    pub directory: bool,
}

/// Clones the host's mount at `source` (a file, directory or socket; symbolic links are followed), with
/// everything mounted below it unless the options say `bind`. Runs in the server.
///
/// # Errors
/// [`Error::UnknownBindOption`] for a word that only a file system would understand; [`Error::Kernel`].
pub fn bind(source: &Path, options: &MountOptions) -> Result<Detached, Error> {
    if let Some((key, _)) = options.data.first() {
        return Err(Error::UnknownBindOption {
            option: key.clone(),
            source_path: source.display().to_string(),
        });
    }
    let recursive = options.bind.unwrap_or(true);
    let fd = clone_of(CWD, source, recursive).step(|| format!("bind {}", source.display()))?;
    let named = |what: &str| format!("{what} of the bind mount of {}", source.display());
    set_attributes(fd.as_fd(), options.top, false).step(|| named("set the options"))?;
    set_attributes(fd.as_fd(), options.recursive, true).step(|| named("set the recursive options"))?;
    // A clone is a peer of what it was cloned from: without this, the container's own mounts below it would
    // appear on the host.
    set_propagation(fd.as_fd(), options.propagation).step(|| named("set the propagation"))?;
    let stat = rustix::fs::fstat(&fd).step(|| named("look at the root"))?;
    Ok(Detached { directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory, fd })
}

/// Makes a new file system instance: `tmpfs`, or any kind the kernel mounts by itself. Runs in the server.
///
/// # Errors
/// [`Error::ShowsHost`] for kinds whose content depends on the namespaces of the process that makes them,
/// which here is the server; [`Error::Filesystem`] with the kernel's message.
pub fn filesystem(kind: &str, source: &str, options: &MountOptions) -> Result<Detached, Error> {
    const OF_THE_CALLER: [&str; 11] = [
        "proc",
        "sysfs",
        "mqueue",
        "cgroup",
        "cgroup2",
        "devtmpfs",
        "debugfs",
        "tracefs",
        "securityfs",
        "bpf",
        "binfmt_misc",
    ];
    if OF_THE_CALLER.contains(&kind) {
        return Err(Error::ShowsHost(kind.to_owned()));
    }
    let mut context = NewFilesystem::open(kind, source)?;
    for (key, value) in &options.data {
        context.set(key, value.as_deref())?;
    }
    let fd = context.mount(options)?;
    Ok(Detached { fd, directory: true })
}

/// A file system being configured (`fsopen(2)`).
pub(crate) struct NewFilesystem<'a> {
    kind: &'a str,
    source: &'a str,
    context: OwnedFd,
}

impl<'a> NewFilesystem<'a> {
    pub(crate) fn open(kind: &'a str, source: &'a str) -> Result<Self, Error> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| Error::Filesystem {
            kind: kind.to_owned(),
            source_name: source.to_owned(),
            errno: errno.into(),
            detail: match errno {
                rustix::io::Errno::NODEV => " (this kernel does not have it)".to_owned(),
                _ => String::new(),
            },
        })?;
        let mut new = Self { kind, source, context };
        if !source.is_empty() {
            new.set("source", Some(source))?;
        }
        Ok(new)
    }

    /// Sets one parameter. The kernel takes values of up to 255 bytes.
    pub(crate) fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), Error> {
        match value {
            Some(value) => fsconfig_set_string(&self.context, key, value),
            None => fsconfig_set_flag(&self.context, key),
        }
        .map_err(|errno| {
            let tried = value.map_or_else(|| format!("option {key:?}"), |v| format!("option \"{key}={v}\""));
            self.failed(errno, &tried)
        })
    }

    pub(crate) fn mount(mut self, options: &MountOptions) -> Result<OwnedFd, Error> {
        if options.read_only() {
            // A read-only device or image would refuse a writable superblock.
            self.set("ro", None)?;
        }
        fsconfig_create(&self.context).map_err(|errno| self.failed(errno, ""))?;
        let attributes = options.top.set | options.recursive.set;
        let flags = MountAttrFlags::from_bits_retain((attributes & u64::from(u32::MAX)) as u32);
        fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(|errno| self.failed(errno, ""))
    }

    fn failed(&self, errno: rustix::io::Errno, tried: &str) -> Error {
        let mut detail = String::new();
        for words in [tried.to_owned(), self.kernel_says()] {
            if !words.is_empty() {
                detail.push_str(": ");
                detail.push_str(&words);
            }
        }
        Error::Filesystem {
            kind: self.kind.to_owned(),
            source_name: self.source.to_owned(),
            errno: errno.into(),
            detail,
        }
    }

    /// Error messages queued on the context, `"e overlay: …"` one per read (fsopen(2)).
    fn kernel_says(&self) -> String {
        let mut buffer = [0; 512];
        let mut said = Vec::new();
        while let Ok(length @ 1..) = rustix::io::read(&self.context, &mut buffer) {
            let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            if let Some(words) = line.strip_prefix("e ") {
                said.push(words.trim().to_owned());
            }
        }
        said.join("; ")
    }
}

/// A clone of the mount that `path` lies on, with `path` as its root.
pub(crate) fn clone_of(at: BorrowedFd<'_>, path: &Path, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    open_tree(at, path, flags)
}

/// A descriptor of `path` that cannot be read or written, only named.
pub(crate) fn name_only(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// `struct mount_attr` of `linux/mount.h`, first version.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

pub(crate) fn set_attributes(mount: BorrowedFd<'_>, change: Attributes, recursive: bool) -> io::Result<()> {
    if change.is_empty() {
        return Ok(());
    }
    let attr = MountAttr { attr_set: change.set, attr_clr: change.clear, ..MountAttr::default() };
    mount_setattr(mount, &attr, recursive)
}

pub(crate) fn set_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(mount, Attributes { set: attribute::RDONLY, clear: 0 }, false)
}

/// For the whole tree: what is mounted below comes from the same image or bundle.
pub(crate) fn set_no_devices(mount: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(mount, Attributes { set: attribute::NODEV, clear: 0 }, true)
}

/// Always for the whole tree: one mount that stayed a peer of the host's would be a way out.
pub(crate) fn set_propagation(mount: BorrowedFd<'_>, propagation: Propagation) -> io::Result<()> {
    let kind = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::FromHost => libc::MS_SLAVE,
    };
    mount_setattr(mount, &MountAttr { propagation: kind, ..MountAttr::default() }, true)
}

fn mount_setattr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal and `attr` is a live structure of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `mount(2)`: the older call, for what the newer ones do not take.
pub(crate) fn mount_at(
    target: &Path,
    kind: &str,
    source: &str,
    options: &MountOptions,
    data: &str,
) -> Result<(), Error> {
    let flags = rustix::mount::MountFlags::from_bits_retain(mount_flags(options.top.set));
    let data = CString::new(data).map_err(|_| Error::Rootfs("a mount option holds a NUL".into()))?;
    rustix::mount::mount(source, target, kind, flags, data.as_c_str())
        .step(|| format!("mount {kind} at {}", target.display()))
}

/// `MS_*` flags of attributes.
fn mount_flags(set: u64) -> u32 {
    [
        (attribute::RDONLY, libc::MS_RDONLY),
        (attribute::NOSUID, libc::MS_NOSUID),
        (attribute::NODEV, libc::MS_NODEV),
        (attribute::NOEXEC, libc::MS_NOEXEC),
        (attribute::NOATIME, libc::MS_NOATIME),
        (attribute::STRICTATIME, libc::MS_STRICTATIME),
        (attribute::NODIRATIME, libc::MS_NODIRATIME),
    ]
    .iter()
    .filter(|(attribute, _)| set & attribute != 0)
    .fold(0, |flags, (_, flag)| flags | *flag as u32)
}
