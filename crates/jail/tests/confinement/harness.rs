//! Runs tests one by one, and code in confined processes.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jail::{Attach, Confinement, Descriptors, Filter, MinimalRoot, Namespaces};

/// A promise and the function that checks it.
pub type Test = (&'static str, fn());

/// Makes a list of [`Test`]s named after their functions.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::harness::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name as fn())),*];
    };
}
pub(crate) use tests;

/// Runs those whose name contains the command line's word, like cargo's own harness.
pub fn run(tests: &[Test]) {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.find(|word| !word.starts_with("--"));
    let wanted = tests.iter().filter(|(name, _)| filter.as_deref().is_none_or(|word| name.contains(word)));
    let wanted: Vec<&Test> = wanted.collect();
    if std::env::args().any(|word| word == "--list") {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    // SAFETY: takes nothing, returns a number.
    assert_eq!(unsafe { libc::geteuid() }, 0, "these tests make namespaces and mounts: run them as root");
    println!("\nrunning {} tests", wanted.len());
    let mut failed = Vec::new();
    for (name, test) in &wanted {
        let before = host_state();
        let outcome = catch_unwind(|| {
            test();
            assert_eq!(before, host_state(), "the host's mounts or our descriptors are not as before");
        });
        let ok = outcome.is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if !ok {
            failed.push(name);
        }
    }
    let (passed, word) = (wanted.len() - failed.len(), if failed.is_empty() { "ok" } else { "FAILED" });
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out\n",
        failed.len(),
        tests.len() - wanted.len()
    );
    if !failed.is_empty() {
        std::process::exit(101);
    }
}

fn host_state() -> (String, usize) {
    (mount_table(), fs::read_dir("/proc/self/fd").unwrap().count())
}

/// The mounts of this process's namespace.
pub fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// A directory on the host, removed with all it holds.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jail-test-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One process to be confined.
pub struct Case<'a> {
    pub confinement: Confinement<'a>,
    pub descriptors: Descriptors,
    pub filter: bool,
    /// Whether it may make no sockets either.
    pub no_sockets: bool,
    /// Stays when the process that waits for it goes away.
    pub lingers: bool,
    /// Runs in the child just before it is confined.
    pub before: Box<dyn FnOnce() + 'a>,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// Warnings of `enter`, or its error in words.
    pub entered: Result<Vec<String>, String>,
    /// What the code inside returned.
    pub said: String,
}

impl Outcome {
    /// What the code inside returned; the process must have been confined.
    pub fn said(self) -> String {
        assert_eq!(self.entered, Ok(Vec::new()));
        self.said
    }

    pub fn error(self) -> String {
        self.entered.expect_err("the process should not have been confined")
    }
}

impl<'a> Case<'a> {
    /// A root below `dir`, own namespaces, user 1000.
    pub fn in_dir(dir: &Path) -> Self {
        Self::with_root(jail::rootfs(&[], dir).unwrap())
    }

    pub fn with_root(root: OwnedFd) -> Self {
        let fresh =
            Namespaces { mount: true, pid: true, network: false, ipc: true, uts: true, cgroup: false };
        let user = jail::User { uid: 1000, gid: 1001, groups: vec![1002, 1003], umask: None };
        Self {
            confinement: Confinement { fresh, user, cwd: "/", ..Confinement::default() },
            descriptors: Descriptors { root: Some(root), ..Descriptors::default() },
            filter: true,
            no_sockets: false,
            lingers: false,
            before: Box::new(|| {}),
        }
    }

    pub fn root_user(mut self) -> Self {
        self.confinement.user = jail::User::default();
        self
    }

    /// Mounts a host path the way the server would.
    pub fn bind(self, source: &Path, destination: &'a str, options: &[&str]) -> Self {
        let words: Vec<String> = options.iter().map(|w| (*w).to_owned()).collect();
        let options = jail::parse_options(&words).unwrap();
        self.mount(jail::bind(source, &options).unwrap(), destination)
    }

    pub fn mount(mut self, mount: jail::Detached, destination: &'a str) -> Self {
        self.confinement.mounts.push(Attach { destination, directory: mount.directory });
        self.descriptors.mounts.push(mount.fd);
        self
    }

    /// Confines a process, runs `inside` in it, and while it still lives `outside` with its process id.
    pub fn run_watched(self, inside: impl FnOnce() -> String, outside: impl FnOnce(i32)) -> Outcome {
        let Self { confinement, descriptors, filter, no_sockets, lingers, before } = self;
        let (ours, theirs) = pair();
        // SAFETY: this process has one thread.
        let zygote = unsafe { libc::fork() };
        assert!(zygote >= 0);
        if zygote == 0 {
            drop(ours);
            let root = MinimalRoot::enter().unwrap_or_else(|e| die(&theirs, &e.to_string()));
            let compiled = Filter::compile().unwrap();
            let child = fork_with(jail::clone_flags(&confinement) | libc::CLONE_PARENT as u64);
            if child != 0 {
                send(&theirs, &child.to_string());
                exit(0);
            }
            before();
            let entered = jail::enter(&confinement, descriptors, root.proc_dir(), &[theirs.as_raw_fd()])
                .and_then(|entered| {
                    if no_sockets {
                        jail::forbid_new_sockets()?;
                    }
                    if filter {
                        compiled.install()?;
                    }
                    Ok(entered)
                });
            match &entered {
                Ok(entered) => send(&theirs, &format!("entered {}", entered.warnings.join("\n"))),
                Err(e) => die(&theirs, &e.to_string()),
            }
            let said = catch_unwind(AssertUnwindSafe(inside)).unwrap_or_else(|_| "panicked".into());
            send(&theirs, &format!("said {said}"));
            // Lives until the parent has looked at it.
            while receive(&theirs).is_none() && lingers {
                std::thread::sleep(std::time::Duration::from_secs(1));
            }
            exit(0);
        }
        drop((theirs, descriptors));
        wait(zygote);
        // The zygote and its child write independently.
        let mut child = None;
        let mut entered = None;
        let mut said = None;
        while child.is_none() || (said.is_none() && !matches!(entered, Some(Err(_)))) {
            let message = receive(&ours).expect("the confined process died early");
            if let Some(words) = message.strip_prefix("said ") {
                said = Some(words.to_owned());
            } else if let Some(words) = message.strip_prefix("died ") {
                entered = Some(Err(words.to_owned()));
            } else if let Some(warnings) = message.strip_prefix("entered ") {
                entered = Some(Ok(warnings.lines().map(str::to_owned).collect()));
            } else {
                child = Some(message.parse().unwrap());
            }
        }
        let child = child.unwrap();
        let entered = entered.unwrap();
        // The child is ended whatever the checks outside find.
        let seen = catch_unwind(AssertUnwindSafe(|| {
            if entered.is_ok() {
                outside(child)
            }
        }));
        drop(ours);
        wait(child);
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Outcome { entered, said: said.unwrap_or_default() }
    }

    pub fn run(self, inside: impl FnOnce() -> String) -> Outcome {
        self.run_watched(inside, |_| {})
    }
}

/// The error of a call as a word, `ok` for none.
pub fn word<T>(result: std::io::Result<T>) -> String {
    let Err(e) = result else { return "ok".into() };
    match e.raw_os_error() {
        Some(libc::EPERM) => "EPERM".into(),
        Some(libc::EACCES) => "EACCES".into(),
        Some(libc::EROFS) => "EROFS".into(),
        Some(libc::ENOENT) => "ENOENT".into(),
        Some(libc::ENOSYS) => "ENOSYS".into(),
        _ => e.to_string(),
    }
}

/// Names in a directory, sorted.
pub fn list(dir: &str) -> String {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.join(" ")
}

/// Runs `body` in a process of its own and fails if it does.
pub fn in_own_process(body: impl FnOnce()) {
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        exit(catch_unwind(AssertUnwindSafe(body)).map_or(1, |()| 0));
    }
    assert_eq!(wait(child), 0, "see above");
}

/// `clone3` in the way of `fork`: 0 in the child, which is in the namespaces of `flags`.
pub fn fork_with(flags: u64) -> i32 {
    let exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    let args: [u64; 8] = [flags, 0, 0, 0, exit_signal, 0, 0, 0];
    // SAFETY: `struct clone_args` in its first version, all numbers; the process has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    assert!(pid >= 0, "clone3: {}", std::io::Error::last_os_error());
    pid as i32
}

/// Waits for a child and returns its raw status.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: writes one number to a live one.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

pub fn exit(code: i32) -> ! {
    // SAFETY: always safe.
    unsafe { libc::_exit(code) }
}

/// Sockets that keep messages apart.
pub fn pair() -> (OwnedFd, OwnedFd) {
    let mut fds: [RawFd; 2] = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors to an array of two.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }, 0);
    // SAFETY: new descriptors, nobody else's.
    fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into()
}

pub fn send(to: &OwnedFd, message: &str) {
    // SAFETY: a live buffer and its length.
    unsafe { libc::write(to.as_raw_fd(), message.as_ptr().cast(), message.len()) };
}

pub fn receive(from: &OwnedFd) -> Option<String> {
    let mut buffer = [0; 16384];
    // SAFETY: a live buffer and its length.
    match unsafe { libc::read(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) } {
        1.. if buffer[0] == 0 => None,
        length @ 1.. => Some(String::from_utf8(buffer[..length as usize].to_vec()).unwrap()),
        _ => None,
    }
}

fn die(to: &OwnedFd, message: &str) -> ! {
    send(to, &format!("died {message}"));
    exit(1)
}
