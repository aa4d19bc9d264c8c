//! Real directories and detached mounts for tests (root only); gone when dropped.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("image-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    pub fn directory(&self, below: &str) -> &Scratch {
        std::fs::create_dir_all(self.path(below)).unwrap();
        self
    }

    pub fn file(&self, below: &str, bytes: &[u8]) -> &Scratch {
        std::fs::create_dir_all(self.path(below).parent().unwrap()).unwrap();
        std::fs::write(self.path(below), bytes).unwrap();
        self
    }

    pub fn link(&self, below: &str, target: &str) -> &Scratch {
        std::fs::create_dir_all(self.path(below).parent().unwrap()).unwrap();
        symlink(target, self.path(below)).unwrap();
        self
    }

    /// A detached bind mount of the directory.
    pub fn detached(&self) -> OwnedFd {
        detached(&self.0)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn detached(path: &Path) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(rustix::fs::CWD, path, flags).unwrap()
}

/// A detached overlay, read-only unless an upper and a work directory are given.
pub fn overlay(lower: &[&Path], upper: Option<(&Path, &Path)>) -> OwnedFd {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for layer in lower {
        fsconfig_set_string(&context, "lowerdir+", *layer).unwrap();
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&context, "upperdir", upper).unwrap();
        fsconfig_set_string(&context, "workdir", work).unwrap();
    }
    fsconfig_create(&context).unwrap();
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

pub fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}
