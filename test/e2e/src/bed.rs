//! A private containerd, with folder, socket and cgroup of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::components::{Release, bed_script, shim_folder, target_folder};
use crate::{Cgroups, Client, Namespace, Network, wait_for};

/// What kind of containerd a bed has.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Writes its configuration, given the bed's folder.
    pub config: fn(&Path, &Release) -> String,
    /// Whether it, and so all it starts, gets a network of its own.
    pub own_network: bool,
    /// What a shell does first in the mount namespace that containerd and its shims then have for themselves.
    pub prepare: Option<String>,
}

impl Setup {
    /// For containers through the Task API: no CRI plugin, the host's network.
    pub const TASKS: Setup = Setup { config: tasks_alone, own_network: false, prepare: None };
}

/// Where shims meet.
const RUN: &str = "/run/containerd-shim-wamr";

/// A running containerd and what belongs to it. Everything ends with it, also when a test failed.
#[derive(Debug)]
pub struct Bed {
    /// Which containerd.
    pub release: &'static Release,
    /// Below this cgroup all containers live.
    pub cgroups: Cgroups,
    /// Its network, if that is not the host's.
    pub network: Option<Network>,
    setup: Setup,
    name: String,
    folder: PathBuf,
    daemon: Mutex<Option<Child>>,
    shared: bool,
}

impl Bed {
    /// The one that the tests of this binary share, as they may run side by side.
    pub fn shared() -> Arc<Bed> {
        Bed::shared_with(Setup::TASKS)
    }

    /// The same of another kind. All callers in one binary ask for the same.
    pub fn shared_with(setup: Setup) -> Arc<Bed> {
        static SHARED: OnceLock<Arc<Bed>> = OnceLock::new();
        extern "C" fn end() {
            if let Some(bed) = SHARED.get() {
                bed.end();
            }
        }
        let bed = SHARED.get_or_init(|| {
            // Statics are never dropped; the C library calls this when the process exits.
            // SAFETY: `end` is a function without arguments that lives as long as the program.
            assert_eq!(unsafe { libc::atexit(end) }, 0);
            Arc::new(Bed::new(setup, true))
        });
        Arc::clone(bed)
    }

    /// One of a test's own, for tests that kill containerd.
    pub fn own() -> Arc<Bed> {
        Bed::own_with(Setup::TASKS)
    }

    /// One of a test's own whose shims have a small run directory: so many KiB and so many files.
    pub fn with_run_directory(kib: u32, files: u32) -> Arc<Bed> {
        let options = format!("size={kib}k,nr_inodes={files},mode=755");
        let prepare = format!("mkdir -p {RUN} && mount -t tmpfs -o {options} bed {RUN}");
        Bed::own_with(Setup { prepare: Some(prepare), ..Setup::TASKS })
    }

    /// One of a test's own whose shims have a configuration of their own: see [`Bed::configure`].
    pub fn with_configuration() -> Arc<Bed> {
        let prepare = "mkdir -p $BED/etc $BED/etc-work && \
                       mount -t overlay -o lowerdir=/etc,upperdir=$BED/etc,workdir=$BED/etc-work bed /etc";
        Bed::own_with(Setup { prepare: Some(prepare.to_owned()), ..Setup::TASKS })
    }

    /// Writes the shims' configuration file, as they see it.
    pub fn configure(&self, text: &str) {
        let path = self.as_shims_see("/etc/containerd-shim-wamr/config.toml");
        fs::create_dir_all(path.parent().expect("it lies in a folder"))
            .expect("make /etc/containerd-shim-wamr");
        fs::write(path, text).expect("write the configuration");
    }

    /// One of a test's own, of another kind.
    pub fn own_with(setup: Setup) -> Arc<Bed> {
        Arc::new(Bed::new(setup, false))
    }

    fn new(setup: Setup, shared: bool) -> Bed {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(
            rustix::process::geteuid().is_root(),
            "the end-to-end tests run containers: run them as root"
        );
        let release = Release::chosen();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("wamr-bed-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(folder.join("fifo")).expect("make the bed's folder");
        fs::write(folder.join("config.toml"), (setup.config)(&folder, release))
            .expect("write containerd's configuration");
        let cgroups = Cgroups::new(&name);
        let network = setup.own_network.then(|| Network::new(&folder.join("network")));
        let daemon = Mutex::default();
        let bed = Bed { release, cgroups, network, setup, name, folder, daemon, shared };
        bed.start_containerd();
        bed
    }

    /// A namespace nobody else uses; `tag` tells a reader of logs whose it is.
    pub fn namespace(self: &Arc<Self>, tag: &str) -> Namespace {
        Namespace::new(Arc::clone(self), tag)
    }

    /// The bed's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// containerd's gRPC socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// containerd's state folder: bundles.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// containerd's root folder: what outlives a reboot.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Where FIFOs are made.
    pub fn fifos(&self) -> PathBuf {
        self.folder.join("fifo")
    }

    /// The run directory of its shims.
    pub fn run_directory(&self) -> PathBuf {
        match &self.setup.prepare {
            None => RUN.into(),
            Some(_) => self.as_shims_see(RUN),
        }
    }

    /// A program to be run where containerd and its shims are: with their mounts and their network.
    pub fn beside(&self, program: &Path) -> Command {
        let pid = self.daemon().as_ref().expect("containerd runs").id();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid.to_string(), "--mount", "--net", "--"]).arg(program);
        command
    }

    fn as_shims_see(&self, path: &str) -> PathBuf {
        assert!(self.setup.prepare.is_some(), "its shims see what all see");
        let pid = self.daemon().as_ref().expect("containerd runs").id();
        PathBuf::from(format!("/proc/{pid}/root{path}"))
    }

    /// What containerd logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("containerd.log")).unwrap_or_default()
    }

    /// Ends containerd as a power cut would end it: SIGKILL. Containers go on.
    pub fn kill_containerd(&self) {
        let mut daemon = self.daemon();
        let child = daemon.as_mut().expect("containerd runs");
        child.kill().expect("kill containerd");
        child.wait().expect("reap containerd");
        *daemon = None;
    }

    /// Starts containerd, for the first time or again on what is there; waits until it answers.
    pub fn start_containerd(&self) {
        let log = File::options().create(true).append(true).open(self.folder.join("containerd.log"));
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{path}", shim_folder().display(), self.release.bin.display());
        let child = self
            .containerd()
            .arg("--config")
            .arg(self.folder.join("config.toml"))
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("open containerd's log"))
            .spawn()
            .expect("start containerd");
        fs::write(self.folder.join("containerd.pid"), child.id().to_string()).expect("note containerd's id");
        *self.daemon() = Some(child);
        wait_for("containerd to answer", || {
            if let Ok(Some(status)) = self.daemon().as_mut().expect("just started").try_wait() {
                panic!("containerd ended with {status}:\n{}", self.log());
            }
            Client::new(&self.socket(), "default").version().ok()
        });
    }

    /// containerd's command, in a mount namespace of its own if something is set up there.
    fn containerd(&self) -> Command {
        let program = self.release.program("containerd");
        if let Some(network) = &self.network {
            return network.command(&program);
        }
        let Some(prepare) = &self.setup.prepare else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(format!("BED={}; {prepare} && exec \"$0\" \"$@\"", self.folder.display()));
        command.arg(program);
        command
    }

    fn daemon(&self) -> MutexGuard<'_, Option<Child>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends and removes everything of the bed. containerd's log stays, in cargo's target folder.
    fn end(&self) {
        let logs = target_folder().join("e2e-logs");
        let _ = fs::create_dir_all(&logs);
        let _ = fs::copy(self.folder.join("containerd.log"), logs.join(format!("{}.log", self.name)));
        if let Some(mut child) = self.daemon().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        bed_script("end.sh", &[&self.folder.display().to_string(), &self.name]);
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !self.shared {
            self.end();
        }
    }
}

const CRI: [&str; 3] =
    ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"];

/// A configuration without the CRI plugin.
fn tasks_alone(folder: &Path, release: &Release) -> String {
    let cri: &[&str] = if release.is_2() { &CRI } else { &CRI[2..] };
    base_config(folder, release, cri)
}

/// The head of a configuration, without what tests do not use: containerd starts in half the time and touches nothing
/// outside its folder. `more_off` are further plugins to leave out.
pub fn base_config(folder: &Path, release: &Release, more_off: &[&str]) -> String {
    let off: &[&str] = if release.is_2() {
        &[
            "io.containerd.internal.v1.opt",
            "io.containerd.internal.v1.restart",
            "io.containerd.internal.v1.tracing",
            "io.containerd.nri.v1.nri",
            "io.containerd.snapshotter.v1.blockfile",
            "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.erofs",
            "io.containerd.snapshotter.v1.zfs",
            "io.containerd.tracing.processor.v1.otlp",
        ]
    } else {
        &[
            "io.containerd.internal.v1.opt",
            "io.containerd.internal.v1.restart",
            "io.containerd.internal.v1.tracing",
            "io.containerd.nri.v1.nri",
            "io.containerd.snapshotter.v1.aufs",
            "io.containerd.snapshotter.v1.blockfile",
            "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.zfs",
            "io.containerd.tracing.processor.v1.otlp",
        ]
    };
    let off: Vec<_> = off.iter().chain(more_off).collect();
    let version = if release.is_2() { 3 } else { 2 };
    let folder = folder.display();
    format!(
        "version = {version}\nroot = \"{folder}/root\"\nstate = \"{folder}/state\"\ndisabled_plugins = {off:?}\n\
         [grpc]\naddress = \"{folder}/containerd.sock\"\n[debug]\nlevel = \"info\"\n"
    )
}
