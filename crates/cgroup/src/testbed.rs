//! What tests need: cgroups of their own on this host, children that run in them, and a v2 tree of plain
//! files.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Cgroup, Entry, Host, Limits, Path};

/// A place of a test's own in every hierarchy of this host; gone, and checked to be gone, at the end.
pub(crate) struct Bed {
    pub(crate) host: Host,
    name: String,
}

static LAST: AtomicU32 = AtomicU32::new(0);

fn unique() -> String {
    format!("wamr-test-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed))
}

impl Bed {
    /// On the version in force.
    pub(crate) fn new() -> Self {
        Self::on(Host::detect().unwrap())
    }

    /// On the v2 tree, be it one without controllers beside v1: freezing, killing and counting are real
    /// there.
    pub(crate) fn unified() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let root = PathBuf::from(line.split(' ').nth(4).unwrap());
        Some(Self::on(Host::at([], Some(root)).unwrap()))
    }

    fn on(host: Host) -> Self {
        Self { host, name: unique() }
    }

    pub(crate) fn path(&self, below: &str) -> Path {
        Path::parse(&format!("/{}/{below}", self.name)).unwrap()
    }

    pub(crate) fn create(&self, below: &str, limits: &Limits) -> Cgroup {
        Cgroup::create(&self.host, &self.path(below), limits).unwrap()
    }

    /// The bed's own directories that exist now.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        self.host.joined().iter().map(|h| h.root.join(&self.name)).filter(|path| path.exists()).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let own = Cgroup::from_directories(&self.host, self.directories());
        let removed = own.kill().and_then(|()| own.remove());
        if !std::thread::panicking() {
            removed.unwrap();
            assert_eq!(self.directories(), Vec::<PathBuf>::new());
        }
    }
}

/// A forked child in a cgroup. Killed and reaped at the end.
pub(crate) struct Child {
    pub(crate) pid: i32,
    reaped: bool,
}

impl Child {
    /// Forks; the child enters the cgroup as a container's process does, then runs `work`, which must make
    /// nothing but system calls: the test process has many threads. Returns when it is in.
    pub(crate) fn enter(cgroup: &Cgroup, work: impl FnOnce()) -> Self {
        let files: Vec<_> = match cgroup.entry().unwrap() {
            Entry::Procs(files) => files,
            Entry::Directory(directory) => {
                let flags = rustix::fs::OFlags::WRONLY;
                vec![
                    rustix::fs::openat(&directory, "cgroup.procs", flags, rustix::fs::Mode::empty()).unwrap(),
                ]
            }
        };
        let (read, write) = std::io::pipe().unwrap();
        // SAFETY: the child makes system calls only, on memory that is its own copy, and ends by `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0);
        if pid == 0 {
            // SAFETY: as above; the descriptors are open in the copy.
            unsafe {
                for file in &files {
                    if libc::write(file.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
                        libc::_exit(99);
                    }
                }
                libc::write(write.as_raw_fd(), c"x".as_ptr().cast(), 1);
            }
            work();
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) }
        }
        drop(write);
        let mut byte = [0];
        assert_eq!(rustix::io::read(&read, &mut byte).unwrap(), 1, "the child did not get into the cgroup");
        Self { pid, reaped: false }
    }

    /// Waits for its end: the signal, or `None` if it exited.
    pub(crate) fn wait_signal(&mut self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::waitpid(self.pid, &raw mut status, 0) }, self.pid);
        self.reaped = true;
        libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: the child is ours and not reaped yet, so the id is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.wait_signal();
        }
    }
}

/// Work for a child: uses this many bytes of memory.
pub(crate) fn touch(bytes: usize) {
    // SAFETY: a new private mapping, written within its bounds if there is one.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let memory = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
        if memory == libc::MAP_FAILED {
            libc::_exit(98);
        }
        for offset in (0..bytes).step_by(4096) {
            memory.cast::<u8>().add(offset).write_volatile(1);
        }
    }
}

/// Work for a child: uses this much processor time.
pub(crate) fn burn(time: std::time::Duration) {
    let used = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        std::time::Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
    };
    while used() < time {}
}

/// Work for a child: waits to be killed.
pub(crate) fn sleep() {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// A number that a child counts up and its parent can read.
pub(crate) struct Counter(*mut u64);

impl Counter {
    pub(crate) fn new() -> Self {
        // SAFETY: a new mapping, shared with children.
        let memory = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        Self(memory.cast())
    }

    pub(crate) fn get(&self) -> u64 {
        // SAFETY: the mapping lives as long as `self`; a torn read is no harm to a test.
        unsafe { self.0.read_volatile() }
    }

    /// Work for a child: counts for ever, with short sleeps.
    pub(crate) fn count(&self) {
        loop {
            // SAFETY: as in `get`; only this child writes.
            unsafe {
                self.0.write_volatile(self.0.read_volatile() + 1);
                libc::usleep(100);
            }
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, not used any more.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}

/// A directory of plain files laid out like a v2 tree, to see what is written. It shows the names, values and
/// order we mean to write, nothing of what the kernel makes of them.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(std::env::temp_dir().join(unique()));
        for (name, text) in files {
            std::fs::create_dir_all(tree.0.join(name).parent().unwrap()).unwrap();
            tree.write(name, text);
        }
        tree
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }

    pub(crate) fn host(&self) -> Host {
        Host::at([], Some(self.0.clone())).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}
