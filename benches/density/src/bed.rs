//! A containerd of the benchmark's own: folder, socket, cgroups. Nothing of it is left when it is dropped.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Image, Network};
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroups::{CONTAINERS, Cgroups, SANDBOXES, STACK};
use crate::host_mounts::HostMounts;
use crate::options::{Options, Through};
use crate::stack::Stack;
use crate::{compiled, configuration, floor, host_mounts};

/// How long containerd may take to start, and anything to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A private containerd.
#[derive(Debug)]
pub struct Bed {
    /// Everything on disk is below it.
    pub folder: PathBuf,
    /// Cgroups of everything that runs.
    pub cgroups: Cgroups,
    /// containerd namespace in use.
    pub namespace: String,
    name: String,
    ctr: PathBuf,
    containerd: Child,
    /// Where containerd and pods on "the host's network" are, when CNI is to make bridges.
    network: Option<Network>,
    mounts: HostMounts,
}

impl Bed {
    /// Starts containerd and waits until it listens.
    pub fn start(stack: &Stack, options: &Options) -> Result<Bed> {
        let name = format!("wamr-bench-{}-{}", std::process::id(), stack.name);
        let folder = std::env::temp_dir().join(&name);
        let made = Bed::make(&name, &folder, stack, options);
        if made.is_err() {
            // There is no bed that could end it, and nothing runs in it.
            remove_folder(&folder)?;
            Cgroups::make(&name)?.remove()?;
        }
        let mut bed = made?;
        bed.wait_until_it_listens()?;
        Ok(bed)
    }

    fn make(name: &str, folder: &Path, stack: &Stack, options: &Options) -> Result<Bed> {
        for part in ["bin", "fifo"] {
            fs::create_dir_all(folder.join(part)).with_context(|| format!("make {}", folder.display()))?;
        }
        let bin = folder.join("bin");
        symlink(fs::canonicalize(&options.shim)?, bin.join("containerd-shim-wamr-v1"))?;
        symlink(std::env::current_exe()?, bin.join(floor::FILE))?;
        let cri = options.through == Through::Cri;
        fs::write(folder.join("config.toml"), configuration::of(folder, stack, options)?)?;
        let cgroups = Cgroups::make(name)?;
        let network = cri.then(|| Network::new(&folder.join("network")));
        let mounts = HostMounts::make(&folder.join("mounts"), stack.mounts)?;
        let settings = match (&options.compiler, stack.is_compiled()) {
            (Some(compiler), true) => Some(compiled::settings(folder, compiler)?),
            _ => None,
        };
        let containerd = spawn(folder, &cgroups, network.as_ref(), settings, options)?;
        let ctr = options.containerd.join("ctr");
        let namespace = if cri { "k8s.io" } else { name }.to_owned();
        let (folder, name) = (folder.to_owned(), name.to_owned());
        Ok(Bed { folder, cgroups, namespace, name, ctr, containerd, network, mounts })
    }

    /// The socket of its gRPC API.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// containerd's process id.
    pub fn containerd(&self) -> i32 {
        i32::try_from(self.containerd.id()).unwrap_or_default()
    }

    /// Imports and unpacks an image.
    pub fn import(&self, image: &Image) -> Result<()> {
        let archive = self.folder.join("image.tar");
        image.write(&archive);
        let mut ctr = Command::new(&self.ctr);
        ctr.arg("-a").arg(self.socket()).args(["-n", &self.namespace, "images", "import"]).arg(&archive);
        let output = ctr.output().context("run ctr")?;
        ensure!(
            output.status.success(),
            "ctr images import: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(fs::remove_file(archive)?)
    }

    /// Ends all shims and servers, which must have no container: some linger for the next one.
    pub fn end_shims(&self) -> Result<()> {
        let containerd = self.containerd();
        let left = self.end_processes(|bed| {
            let stack = bed.cgroups.processes(STACK);
            stack.into_iter().filter(|pid| *pid != containerd).collect()
        });
        ensure!(left.is_empty(), "these shims do not end: {left:?}");
        Ok(())
    }

    /// What deleted containers left behind: processes, cgroups and mounts, in words. Empty: nothing.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        for child in [CONTAINERS, SANDBOXES] {
            left.extend(self.cgroups.processes(child).iter().map(|pid| format!("process {pid}")));
            left.extend(self.cgroups.children(child).iter().map(|path| format!("cgroup {}", path.display())));
        }
        let own = |path: &Path| {
            self.network.as_ref().is_some_and(|network| network.file() == path) || self.mounts.has(path)
        };
        let mounts = host_mounts::below(&self.folder).into_iter().filter(|path| !own(path));
        left.extend(mounts.map(|path| format!("mount {}", path.display())));
        left
    }

    /// The end of containerd's log.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn wait_until_it_listens(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.containerd.try_wait()? {
                bail!("containerd ended ({status}):\n{}", self.log());
            }
            ensure!(Instant::now() < until, "containerd does not listen:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Kills what `find` finds until it finds nothing; returns what would not go.
    fn end_processes(&self, find: impl Fn(&Bed) -> Vec<i32>) -> Vec<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = find(self);
            if found.is_empty() || Instant::now() > until {
                return found;
            }
            for pid in found.into_iter().filter_map(Pid::from_raw) {
                // Fails if it ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn tear_down(&mut self) -> Result<()> {
        let sockets = self.shim_sockets();
        // containerd first: it would clean up after the shims while they are ended.
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
        let left = self.end_processes(|bed| bed.cgroups.processes(""));
        ensure!(left.is_empty(), "these processes do not end: {left:?}");
        for socket in sockets {
            match socket.parent().filter(|place| place.starts_with("/run/containerd-shim-wamr/")) {
                Some(place) => gone(fs::remove_dir_all(place))?,
                None => gone(fs::remove_file(&socket))?,
            }
        }
        // CRI's namespace has the same name for all; there runc was told to keep its state in the folder.
        gone(fs::remove_dir_all(Path::new("/run/containerd/runc").join(&self.name)))?;
        remove_folder(&self.folder)?;
        self.remove_cgroups()
    }

    /// A cgroup stays busy for a moment after its last process ended.
    fn remove_cgroups(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while let Err(e) = self.cgroups.remove() {
            ensure!(Instant::now() < until, "remove the cgroups of {}: {e}", self.name);
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sockets of living shims: of bundles, and of servers that wait for the next container.
    fn shim_sockets(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let bundles = self.folder.join("state/io.containerd.runtime.v2.task").join(&self.namespace);
        for bundle in fs::read_dir(bundles).into_iter().flatten().flatten() {
            let address = fs::read_to_string(bundle.path().join("address")).unwrap_or_default();
            found.extend(address.strip_prefix("unix://").map(PathBuf::from));
        }
        found.extend(self.server_socket());
        found
    }

    /// The ttrpc socket of our server, if one is alive.
    pub fn server_socket(&self) -> Option<PathBuf> {
        self.cgroups.processes(STACK).into_iter().find_map(|pid| {
            let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let mut arguments = arguments.split('\0');
            arguments.find(|argument| *argument == "-rendezvous")?;
            Some(Path::new(arguments.next()?).join("task.sock"))
        })
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(e) = self.tear_down() {
            eprintln!("benchmark: left behind: {e:#}");
        }
    }
}

/// containerd joins its cgroups before it is containerd, so that all its memory is charged there.
/// `settings`: what is done first, in a mount namespace of its own.
fn spawn(
    folder: &Path,
    cgroups: &Cgroups,
    network: Option<&Network>,
    settings: Option<String>,
    options: &Options,
) -> Result<Child> {
    let log = File::create(folder.join("log"))?;
    let path = std::env::var("PATH").unwrap_or_default();
    let first = Path::new(if settings.is_some() { "unshare" } else { "/bin/sh" });
    let mut shell = network.map_or_else(|| Command::new(first), |network| network.command(first));
    if let Some(settings) = settings {
        shell.args(["--mount", "--propagation", "private", "/bin/sh", "-c", &settings, "/bin/sh"]);
    }
    shell
        .args(["-c", r#"program=$1; config=$2; shift 2; for f; do echo $$ >"$f" || exit; done; exec "$program" -c "$config""#])
        .arg("sh")
        .arg(options.containerd.join("containerd"))
        .arg(folder.join("config.toml"))
        .args(cgroups.procs(STACK))
        .env("PATH", format!("{}/bin:{}:{path}", folder.display(), options.containerd.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // Ctrl-C is for the harness, which then ends the rest in order.
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    shell.spawn().context("start containerd")
}

/// A bed's folder, with whatever is mounted in it.
fn remove_folder(folder: &Path) -> Result<()> {
    for mount in host_mounts::below(folder).iter().rev() {
        rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("unmount {}", mount.display()))?;
    }
    gone(fs::remove_dir_all(folder)).with_context(|| format!("remove {}", folder.display()))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
