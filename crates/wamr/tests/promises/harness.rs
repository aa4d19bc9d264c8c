//! Processes to run guests in, and what became of them.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wamr::{Engine, Entry, Instance, InstanceOptions, Module, ModuleSource, Outcome, Policy, Preopen, Wasi};

/// What a child reports when the guest trapped.
pub const TRAPPED: i32 = 134;
/// What a child reports when the guest was not run.
pub const NOT_RUN: i32 = 125;
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest with its world.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    pub wasm: &'a [u8],
    pub args: &'a [&'a str],
    pub env: &'a [&'a str],
    pub preopens: &'a [Preopen<'a>],
    pub entry: Entry<'a>,
    pub max_memory_pages: Option<u32>,
    pub sockets: &'a [Policy],
    /// One to serve on, where no others are handed over.
    pub listener: Option<&'a TcpListener>,
}

impl<'a> Guest<'a> {
    pub fn new(wasm: &'a [u8]) -> Guest<'a> {
        Guest {
            wasm,
            args: &["guest"],
            env: &[],
            preopens: &[],
            entry: Entry::Start,
            max_memory_pages: None,
            sockets: &[],
            listener: None,
        }
    }

    /// Runs it in this process. Traps and errors are written to stderr.
    pub fn run_here(&self) -> i32 {
        self.serve_here(Vec::new())
    }

    /// The same with sockets to serve on.
    pub fn serve_here(&self, listeners: Vec<OwnedFd>) -> i32 {
        with_engine(|engine| {
            let module = load(engine, self.wasm);
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: self.max_memory_pages };
            let mut instance = match Instance::new(&module, options) {
                Ok(instance) => instance,
                Err(e) => return say(NOT_RUN, &e.to_string()),
            };
            self.enter_with(&mut instance, listeners)
        })
    }

    /// Runs it in this process, from an image that a child makes.
    pub fn run_here_from_image(&self) -> i32 {
        self.run_here_from_image_of(self.wasm)
    }

    /// The same with the image of other bytes: compiled code.
    pub fn run_here_from_image_of(&self, module: &[u8]) -> i32 {
        with_engine(|engine| {
            let image = match Image::of(engine, module) {
                Ok(image) => image,
                Err(why) => return say(NOT_RUN, &why),
            };
            let mut instance = image.map(engine);
            if let Some(limit) = self.max_memory_pages
                && let Err(e) = instance.set_max_memory_pages(limit)
            {
                return say(NOT_RUN, &e.to_string());
            }
            self.enter(&mut instance)
        })
    }

    pub fn enter(&self, instance: &mut Instance<'_>) -> i32 {
        self.enter_with(instance, Vec::new())
    }

    /// An image of the guest at its ready point, which it reached in a child of this process that mapped `image`. Fails with
    /// the child's words.
    pub fn warm(&self, engine: &Engine, image: &Image) -> Result<Image, String> {
        let warm = Image::empty();
        let ended = in_child(|| {
            let mut instance = image.map(engine);
            let made = instance
                .set_wasi(self.wasi(Vec::new()))
                .and_then(|()| instance.run_until_ready(&self.entry))
                .and_then(|()| warm.write_instance(engine, &instance));
            match made {
                Ok(length) => i32::from(length != warm.0.metadata().unwrap().len()),
                Err(e) => say(1, &e.to_string()),
            }
        });
        if ended.code == 0 { Ok(warm) } else { Err(ended.stderr) }
    }

    /// Goes on with the guest of a warm image in this process.
    pub fn resume_here(&self, engine: &Engine, image: &Image) -> i32 {
        self.resume_here_with(engine, image, image)
    }

    /// The same with the compiled code of another image.
    pub fn resume_here_with(&self, engine: &Engine, image: &Image, code: &Image) -> i32 {
        let code = wamr::image::map_code(engine, code.file()).unwrap();
        let mut instance = wamr::image::map(engine, image.file(), Some(code)).unwrap();
        match instance.set_wasi(self.wasi(Vec::new())).and_then(|()| instance.resume(&self.entry)) {
            Ok(outcome) => ended(&outcome),
            Err(e) => say(NOT_RUN, &e.to_string()),
        }
    }

    fn wasi(&self, mut listeners: Vec<OwnedFd>) -> Wasi<'a> {
        listeners.extend(self.listener.map(|listener| OwnedFd::from(listener.try_clone().unwrap())));
        Wasi {
            args: self.args,
            env: self.env,
            preopens: self.preopens.to_vec(),
            stdio: [0, 1, 2],
            listeners,
            sockets: self.sockets.to_vec(),
        }
    }

    /// The same with sockets to serve on.
    pub fn enter_with(&self, instance: &mut Instance<'_>, listeners: Vec<OwnedFd>) -> i32 {
        match instance.set_wasi(self.wasi(listeners)).and_then(|()| instance.run(&self.entry)) {
            Ok(outcome) => ended(&outcome),
            Err(e) => say(NOT_RUN, &e.to_string()),
        }
    }

    /// Runs it in a process of its own, in which it is loaded.
    pub fn run_loaded(&self) -> Ended {
        in_child(|| self.run_here())
    }

    /// Runs it twice, each time in a process of its own: loaded there, and mapped from an image that another one
    /// made. It must be the same.
    pub fn run(&self) -> Ended {
        let loaded = self.run_loaded();
        let mapped = in_child(|| self.run_here_from_image());
        assert_eq!(loaded, mapped, "loaded, and mapped from an image");
        loaded
    }
}

fn ended(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Exited(code) => *code as i32,
        Outcome::Trapped(trap) => say(TRAPPED, &trap.to_string()),
    }
}

/// A file in memory: of an instance, or of a module.
pub struct Image(File);

impl Image {
    pub fn empty() -> Image {
        Image(memory_file())
    }

    /// Made in a child of this process, which ends then. Fails with the child's words.
    pub fn of(engine: &Engine, wasm: &[u8]) -> Result<Image, String> {
        let image = Image::empty();
        image.fill(engine, wasm).map(|()| image)
    }

    pub fn fill(&self, engine: &Engine, wasm: &[u8]) -> Result<(), String> {
        let bytes = Image::empty();
        bytes.write(wasm);
        let ended = in_child(|| {
            let options = InstanceOptions { stack_size: 64 * 1024, max_memory_pages: None };
            let made = ModuleSource::from_file(bytes.0.try_clone().unwrap()).and_then(|source| {
                let module = match wasm.starts_with(b"\0aot") {
                    true => Module::load_aot(engine, source)?,
                    false => Module::load(engine, source)?,
                };
                self.write_instance(engine, &Instance::new(&module, options)?)
            });
            match made {
                Ok(length) => i32::from(length != self.0.metadata().unwrap().len()),
                Err(e) => say(1, &e.to_string()),
            }
        });
        if ended.code == 0 { Ok(()) } else { Err(ended.stderr) }
    }

    pub fn write_instance(&self, engine: &Engine, instance: &Instance<'_>) -> wamr::Result<u64> {
        wamr::image::write(engine, instance, &self.0)
    }

    pub fn try_map(&self, engine: &Engine) -> wamr::Result<Instance<'static>> {
        let code = wamr::image::map_code(engine, &self.0)?;
        wamr::image::map(engine, &self.0, Some(code))
    }

    pub fn map(&self, engine: &Engine) -> Instance<'static> {
        self.try_map(engine).unwrap()
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    pub fn write(&self, bytes: &[u8]) {
        self.0.write_all_at(bytes, 0).unwrap();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.metadata().unwrap().len() as usize];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

pub fn with_engine<R>(body: impl FnOnce(&Engine) -> R) -> R {
    body(&Engine::init().unwrap())
}

pub fn load<'e>(engine: &'e Engine, wasm: &[u8]) -> Module<'e> {
    Module::load(engine, ModuleSource::from_bytes(wasm.to_vec())).unwrap()
}

pub fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// Writes to the process's stderr past the test framework's capture.
pub fn say(code: i32, text: &str) -> i32 {
    // SAFETY: a valid buffer.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    code
}

/// How a process ended, and all that was written to its stdout and stderr, by whomever.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; 1000 + the signal's number if a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A process that runs.
pub struct Child {
    pub pid: i32,
    stdout: File,
    stderr: File,
}

/// Forks, and ends the child with what `body` returns.
pub fn spawn(body: impl FnOnce() -> i32) -> Child {
    let (stdout, stderr) = (output_file(), output_file());
    // SAFETY: the C library's own fork keeps its locks usable in the child, which ends with _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // SAFETY: plain system calls on valid descriptors.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::dup2(stdout.as_raw_fd(), 1);
            libc::dup2(stderr.as_raw_fd(), 2);
        }
        std::panic::set_hook(Box::new(|panic| {
            say(0, &format!("{panic}\n"));
        }));
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
        // SAFETY: ends the process.
        unsafe { libc::_exit(code) };
    }
    Child { pid, stdout, stderr }
}

pub fn in_child(body: impl FnOnce() -> i32) -> Ended {
    spawn(body).wait()
}

impl Child {
    /// Waits until the guest has written something.
    pub fn wait_for_output(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.stdout.metadata().unwrap().len() == 0 {
            assert!(Instant::now() < deadline, "no output; stderr: {}", contents(&self.stderr));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn kill(&self, signal: i32) {
        // SAFETY: a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    pub fn wait(self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let mut status = 0;
        // SAFETY: our own child.
        while unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } == 0 {
            if Instant::now() > deadline {
                self.kill(libc::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ended { code: exit_code(status), stdout: contents(&self.stdout), stderr: contents(&self.stderr) }
    }
}

pub fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + libc::WTERMSIG(status) }
}

fn memory_file() -> File {
    // SAFETY: the name ends with NUL; the descriptor is new.
    unsafe {
        let fd = libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

/// Written to at its end, by several processes.
fn output_file() -> File {
    let file = memory_file();
    // SAFETY: an open descriptor.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND) };
    file
}

fn contents(file: &File) -> String {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Compiles C for WASI; `None`, and a word about it, where Debian's clang, lld, wasi-libc and
/// libclang-rt-14-dev-wasm32 are not installed.
pub fn c(source: &str) -> Option<Vec<u8>> {
    if !Path::new("/usr/lib/wasm32-wasi/libc.a").exists() {
        eprintln!("SKIPPED: no wasi-libc to compile the guest with");
        return None;
    }
    let dir = TempDir::new();
    std::fs::write(dir.path().join("guest.c"), source).unwrap();
    let compiled = std::process::Command::new("clang")
        .args(["--target=wasm32-wasi", "-O1", "-Wno-everything", "-o", "guest.wasm", "guest.c"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let mut wasm = Vec::new();
    File::open(dir.path().join("guest.wasm")).unwrap().read_to_end(&mut wasm).unwrap();
    Some(wasm)
}

/// A directory that goes away with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("wamr-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
