//! Walking a path inside a [`Tree`], one component at a time.
//!
//! The kernel is only ever asked to open one name, which holds no `/` and is not `..`, in one directory, without
//! following a link. So whatever an image or a volume holds, and however it changes meanwhile, the walk can reach
//! nothing but the tree's own descriptors and what lies below them. (`openat2` with `RESOLVE_IN_ROOT` does that for one
//! mount; here the mounts are not attached to each other yet.)

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use crate::tree::Tree;
use crate::{Error, Result};

/// Most symbolic links in one walk, the kernel's own number (`path_resolution(7)`).
const LINKS: usize = 40;
/// Most directories below each other; each is held open, so that a hostile image can not use up descriptors.
const DEPTH: usize = 128;

/// One directory (or, at the end, file) on the way.
struct Step {
    name: OsString,
    fd: OwnedFd,
    /// The mount it lies in, by index; `None` is the root.
    mount: Option<usize>,
    directory: bool,
}

pub(crate) struct Walk<'t> {
    tree: &'t Tree<'t>,
    asked: &'t Path,
    /// Components still to go, last one first.
    ahead: Vec<OsString>,
    /// Where we are: each step lies in the one before.
    behind: Vec<Step>,
    links: usize,
}

impl<'t> Walk<'t> {
    pub fn new(tree: &'t Tree<'t>, asked: &'t Path) -> Walk<'t> {
        let mut walk = Walk { tree, asked, ahead: Vec::new(), behind: Vec::new(), links: 0 };
        walk.push(asked.as_os_str().as_bytes());
        walk
    }

    /// What is at the end of the path, with `O_PATH`, and the mount it lies in.
    pub fn existing(mut self) -> Result<(OwnedFd, Option<usize>)> {
        while let Some(name) = self.ahead.pop() {
            if !self.enter(name)? {
                return Err(Error::NotFound { path: self.asked.into() });
            }
        }
        match self.behind.pop() {
            Some(last) => Ok((last.fd, last.mount)),
            None => {
                let root = self.tree.root.try_clone_to_owned();
                Ok((root.map_err(|e| Error::io("hold", "/", e))?, None))
            }
        }
    }

    /// The path without links and dots. Where nothing exists any more, the rest is taken as it is written.
    pub fn real_path(mut self) -> Result<PathBuf> {
        let mut missing = Vec::new();
        while let Some(name) = self.ahead.pop() {
            if missing.is_empty() {
                if !self.enter(name.clone())? {
                    missing.push(name);
                }
            } else if name == ".." {
                missing.pop();
            } else if name != "." {
                missing.push(name);
            }
        }
        let steps = self.behind.into_iter().map(|step| step.name);
        Ok([OsString::from("/")].into_iter().chain(steps).chain(missing).collect())
    }

    /// Takes one component; false if it does not exist.
    fn enter(&mut self, name: OsString) -> Result<bool> {
        if name == "." || name == ".." {
            if self.behind.last().is_some_and(|step| !step.directory) {
                return Ok(false);
            }
            if name == ".." {
                // At the root, `..` is the root.
                self.behind.pop();
            }
            return Ok(true);
        }
        if self.behind.len() == DEPTH {
            return Err(Error::TooDeep { path: self.asked.into(), depth: DEPTH });
        }
        let (here, mount) = match self.behind.last() {
            Some(step) => (step.fd.as_fd(), step.mount),
            None => (self.tree.root, None),
        };
        if let Some(covering) = self.mount_at(&name, mount) {
            let Some(attached) = self.tree.mounts.get(covering) else { return Ok(false) };
            let fd = attached.fd.try_clone_to_owned().map_err(|e| self.io("hold", e))?;
            self.behind.push(Step { name, fd, mount: Some(covering), directory: attached.directory });
            return Ok(true);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(here, &name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(e) => return Err(self.io("look up", e)),
        };
        let kind = file_type(fd.as_fd(), self.asked)?;
        if kind == FileType::Symlink {
            self.links += 1;
            if self.links > LINKS {
                return Err(Error::Loop { path: self.asked.into() });
            }
            // The very link that was opened, whatever its name stands for by now.
            let target =
                readlinkat(&fd, "", Vec::new()).map_err(|e| self.io("read link in", e))?.into_bytes();
            if target.first() == Some(&b'/') {
                self.behind.clear();
            }
            self.push(&target);
            return Ok(true);
        }
        self.behind.push(Step { name, fd, mount, directory: kind == FileType::Directory });
        Ok(true)
    }

    /// The mount that is seen at `name` in the present directory. One that was attached before the mount we are
    /// in is covered by it.
    fn mount_at(&self, name: &OsString, inside: Option<usize>) -> Option<usize> {
        let after = inside.map_or(0, |index| index + 1);
        (after..self.tree.mounts.len()).rev().find(|index| {
            let Some(mount) = self.tree.mounts.get(*index) else { return false };
            let parts = self.behind.iter().map(|step| step.name.as_os_str()).chain([name.as_os_str()]);
            mount.destination.iter().skip(1).eq(parts)
        })
    }

    /// Puts the components of `path` before what is still ahead.
    fn push(&mut self, path: &[u8]) {
        // A trailing slash asks for a directory, as a trailing `.` does.
        let trailing: &[u8] = if path.last() == Some(&b'/') { b"." } else { b"" };
        let parts = path.split(|b| *b == b'/').chain([trailing]).filter(|part| !part.is_empty());
        let at = self.ahead.len();
        self.ahead.extend(parts.map(|part| OsString::from_vec(part.to_vec())));
        if let Some(new) = self.ahead.get_mut(at..) {
            new.reverse();
        }
    }

    fn io(&self, action: &'static str, source: impl Into<std::io::Error>) -> Error {
        Error::io(action, self.asked, source)
    }
}

pub(crate) fn file_type(fd: BorrowedFd<'_>, path: &Path) -> Result<FileType> {
    let stat = rustix::fs::fstat(fd).map_err(|e| Error::io("look at", path, e))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scratch, content, detached, overlay};
    use crate::{Mount, Origin};

    fn read(tree: &Tree<'_>, path: &str) -> String {
        String::from_utf8(content(&tree.open(Path::new(path)).unwrap().0)).unwrap()
    }

    fn fails(tree: &Tree<'_>, path: &str) -> Error {
        tree.open(Path::new(path)).unwrap_err()
    }

    #[test]
    fn links_are_followed_inside_the_container_only() {
        let outside = Scratch::new();
        outside.file("secret", b"host");
        let host = outside.path("secret");
        let scratch = Scratch::new();
        scratch
            .file("bin/app", b"app")
            .link("absolute", "/bin/app")
            .link("bin/relative", "./../bin//app")
            .link("usr", "bin")
            .link("up", "../../../../../../bin/app")
            .link("host", host.to_str().unwrap())
            .link("host_up", &format!("../../../../../..{}", host.display()))
            .link("magic", "/proc/self/root/etc/passwd");
        let root = scratch.detached();
        let tree = Tree::new(root.as_fd(), None, &[]).unwrap();
        let inside = [
            "/bin/app",
            "/absolute",
            "/bin/relative",
            "/usr/app",
            "/up",
            "/../..//bin/./app",
            "/usr/../bin/app",
        ];
        for path in inside {
            assert_eq!(read(&tree, path), "app", "{path}");
        }
        let escaping = format!("/../../../../..{}", host.display());
        for path in ["/host", "/host_up", "/magic", &escaping] {
            assert!(matches!(fails(&tree, path), Error::NotFound { .. }), "{path}");
        }
        // As the kernel has it, a file is no directory.
        for path in ["/bin/app/", "/bin/app/.", "/bin/app/../app", "/absolute/"] {
            assert!(matches!(fails(&tree, path), Error::NotFound { .. }), "{path}");
        }
    }

    #[test]
    fn circles_of_links_and_endless_directories_end_in_an_error() {
        let scratch = Scratch::new();
        scratch.link("a", "b").link("b", "a").link("self", "self/x").directory(&"d/".repeat(DEPTH + 1));
        for i in 0..LINKS {
            scratch.link(&format!("chain{}", i + 1), &format!("chain{i}"));
        }
        scratch.file("chain0", b"end");
        let root = scratch.detached();
        let tree = Tree::new(root.as_fd(), None, &[]).unwrap();
        assert!(matches!(fails(&tree, "/a"), Error::Loop { .. }));
        assert!(matches!(fails(&tree, "/self"), Error::Loop { .. }));
        assert!(matches!(fails(&tree, &"/d".repeat(DEPTH + 1)), Error::TooDeep { .. }));
        assert_eq!(read(&tree, &format!("/chain{LINKS}")), "end", "forty links are allowed");
        scratch.link("one_more", &format!("chain{LINKS}"));
        assert!(matches!(fails(&tree, "/one_more"), Error::Loop { .. }));
    }

    #[test]
    fn only_regular_files_are_opened_and_a_fifo_does_not_block() {
        let scratch = Scratch::new();
        scratch.directory("directory");
        let mode = Mode::from_raw_mode(0o600);
        for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
            rustix::fs::mknodat(rustix::fs::CWD, scratch.path(name), kind, mode, 0).unwrap();
        }
        let null = rustix::fs::makedev(1, 3);
        let device = FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, scratch.path("null"), device, mode, null).unwrap();
        let root = scratch.detached();
        let tree = Tree::new(root.as_fd(), None, &[]).unwrap();
        for (path, kind) in
            [("/directory", "directory"), ("/", "directory"), ("/fifo", "FIFO"), ("/socket", "socket")]
        {
            assert!(matches!(fails(&tree, path), Error::NotRegular { kind: k, .. } if k == kind), "{path}");
        }
        assert!(matches!(fails(&tree, "/null"), Error::NotRegular { kind: "character device", .. }));
    }

    #[test]
    fn mounts_are_seen_where_they_will_be_and_later_ones_cover_earlier_ones() {
        let image = Scratch::new();
        image.file("data/x", b"image").file("keep/x", b"image").link("var/run", "/run").directory("run");
        let first = Scratch::new();
        first.file("x", b"first").file("sub/x", b"first").link("out", "../keep/x").link("root", "/keep/x");
        let second = Scratch::new();
        second.file("x", b"second");
        let root = overlay(&[&image.path(""), &second.path("")], None);
        let (a, b, file) = (first.detached(), second.detached(), detached(&second.path("x")));
        let directory = |destination, fd| Mount { destination, fd, directory: true };
        let tree = Tree::new(
            root.as_fd(),
            Some("layers"),
            &[
                directory("/covered/below", a.as_fd()),
                directory("/covered", b.as_fd()),
                directory("/data", a.as_fd()),
                directory("/data/sub", b.as_fd()),
                directory("/twice", a.as_fd()),
                directory("/twice", b.as_fd()),
                directory("/var/run/./new/../secrets", a.as_fd()),
                Mount { destination: "/keep/mounted", fd: file.as_fd(), directory: false },
            ],
        )
        .unwrap();
        assert_eq!(read(&tree, "/keep/x"), "image");
        assert_eq!(read(&tree, "/data/x"), "first");
        assert_eq!(read(&tree, "/data/sub/x"), "second");
        assert_eq!(read(&tree, "/data/sub/../x"), "first");
        assert_eq!(read(&tree, "/data/out"), "image", "`..` in a volume leads to the mount's parent");
        assert_eq!(read(&tree, "/data/root"), "image");
        assert_eq!(read(&tree, "/covered/x"), "second");
        assert!(matches!(fails(&tree, "/covered/below/x"), Error::NotFound { .. }));
        assert_eq!(read(&tree, "/twice/x"), "second");
        assert_eq!(read(&tree, "/run/secrets/x"), "first", "links in a destination are followed");
        assert_eq!(read(&tree, "/keep/mounted"), "second");

        let origin = |path: &str| tree.open(Path::new(path)).unwrap().1;
        assert_eq!(origin("/keep/x"), Origin::Layers("layers".into()));
        assert!(matches!(origin("/data/x"), Origin::Device(_)));
        assert!(matches!(origin("/keep/mounted"), Origin::Device(_)));
        let expected = ["/covered", "/data", "/keep", "/run", "/twice", "/var"];
        assert_eq!(tree.top_level_directories().unwrap(), expected);
        assert_eq!(tree.directory(Path::new("/var/run")).unwrap(), Some(true));
        assert_eq!(tree.directory(Path::new("/keep/mounted")).unwrap(), Some(false));
        assert_eq!(tree.directory(Path::new("/none")).unwrap(), None);
    }

    #[test]
    fn names_that_change_under_the_walk_never_lead_outside() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let outside = Scratch::new();
        outside.file("app", b"host");
        let scratch = Scratch::new();
        scratch.file("real/app", b"app").link("swap", outside.path("").to_str().unwrap());
        let root = scratch.detached();
        let tree = Tree::new(root.as_fd(), None, &[]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                while !done.load(Ordering::Relaxed) {
                    let (a, b) = (scratch.path("real"), scratch.path("swap"));
                    rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).unwrap();
                }
            });
            for _ in 0..20_000 {
                if let Ok((file, _)) = tree.open(Path::new("/real/app")) {
                    assert_eq!(content(&file), b"app");
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn nothing_stays_open_after_a_walk() {
        let scratch = Scratch::new();
        scratch.file("a/b/c/app", b"x").link("l", "/a/b/c/app");
        let root = scratch.detached();
        let tree = Tree::new(root.as_fd(), None, &[]).unwrap();
        // Other tests run beside this one, so only what points into this directory is counted.
        let ours = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            links.filter(|l| std::fs::read_link(l.path()).is_ok_and(|t| t.ends_with("c/app"))).count()
        };
        for _ in 0..100 {
            tree.open(Path::new("/l")).unwrap();
            tree.open(Path::new("/a/b/c/app/x")).unwrap_err();
        }
        assert_eq!(ours(), 0);
    }
}
