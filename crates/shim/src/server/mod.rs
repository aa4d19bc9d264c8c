//! The long-lived process: one per (containerd socket, namespace, sharing group, build).

mod control;
mod lifetime;
mod log_file;
mod oom;
mod patient;
mod quick_moves;
mod quiet;
mod report;
mod warm_zygote;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use crate::aot::Aot;
use crate::cli::Flags;
use crate::config::Config;
use crate::container::{Registry, Templates};
use crate::events::Publisher;
use crate::rendezvous::Rendezvous;
use crate::sandbox::Sandboxes;
use crate::service;
use ttrpc::asynchronous::transport::Listener;

use self::warm_zygote::{MainThread, WarmZygote};

/// What all calls share.
#[derive(Debug)]
pub struct Server {
    /// Socket of the containerd it serves.
    pub containerd: PathBuf,
    /// Namespace of that containerd.
    pub namespace: String,
    /// Node-wide settings; a container may have its own on top.
    pub config: Config,
    /// Where the server can be met.
    pub place: Rendezvous,
    /// The host's cgroup hierarchies.
    pub cgroups: cgroup::Host,
    /// Digests of modules seen.
    pub modules: image::Modules,
    /// Modules loaded once for all their containers.
    pub templates: Templates,
    /// Compiled code.
    pub aot: Aot,
    /// Forks containers.
    pub zygote: WarmZygote,
    /// Watches all containers for OOM kills.
    pub oom: oom::Oom,
    /// Makes entering cgroups quick while containers are started.
    pub quick_moves: quick_moves::QuickMoves,
    /// Gives memory back now and then.
    pub quiet: quiet::Quiet,
    /// Takes events.
    pub publisher: Publisher,
    /// All containers.
    pub registry: Registry,
    /// All pods made through the Sandbox API.
    pub sandboxes: Sandboxes,
    /// What helpers of native containers run, made for the first one.
    pub native: OnceLock<native::Program>,
    /// The device nodes every container's `/dev` is a clone of, made for the first one.
    pub device_nodes: OnceLock<jail::DeviceNodes>,
}

impl Server {
    /// Whether there is nothing to serve and nothing is expected.
    pub fn is_idle(&self) -> bool {
        self.registry.is_idle() && self.sandboxes.is_empty()
    }

    /// Forgets a sandbox, ending it if it has not. False if there is none.
    pub fn remove_sandbox(&self, id: &str) -> bool {
        let Some(sandbox) = self.sandboxes.remove(id) else { return false };
        sandbox.stop();
        self.registry.shrunk.notify_one();
        true
    }
}

/// Runs the server until nothing is left for it to do. The caller's thread must be the process's only one.
///
/// # Errors
/// In words, also told to `start` through stdout.
pub fn serve(flags: &Flags) -> Result<(), String> {
    let outcome = prepare(flags);
    let mut stdout = std::io::stdout();
    let word = match &outcome {
        Ok(_) => "ready".to_owned(),
        Err(why) => why.clone(),
    };
    // `start` waits for the word and for the end of file; it, or nobody, is there.
    let _ = writeln!(stdout, "{word}");
    let _ = stdout.flush();
    redirect_stdout();
    outcome?.run();
    Ok(())
}

/// A server that listens, before it serves.
struct Prepared {
    server: Arc<Server>,
    runtime: tokio::runtime::Runtime,
    main_thread: MainThread,
}

fn prepare(flags: &Flags) -> Result<Prepared, String> {
    let failed = |doing: &'static str| move |e: std::io::Error| format!("{doing}: {e}");
    let place = Rendezvous::at(&flags.rendezvous);
    let config = Config::load(Path::new(crate::config::PATH), None).map_err(|e| e.to_string())?;
    let log = config.log_file.clone().unwrap_or_else(|| place.log());
    log_file::install(&log, if flags.debug { log::LevelFilter::Debug } else { config.log_level });

    // The name in /proc, which the kernel took from `/proc/self/exe`.
    let _ = rustix::thread::set_name(c"containerd-shim");
    // Out of containerd's session and of the first bundle, which is deleted sooner than this process ends.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/").map_err(failed("change to /"))?;
    protect_from_oom();

    // Sockets for root alone; cgroups and log files made later are for everybody to read, as usual.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let task = UnixListener::bind(place.task_socket()).map_err(failed("listen for containerd"))?;
    let control =
        UnixListener::bind(place.control_socket()).map_err(failed("listen for start and delete"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    task.set_nonblocking(true).map_err(failed("listen for containerd"))?;
    control.set_nonblocking(true).map_err(failed("listen for start and delete"))?;

    let (sender, main_thread) = mpsc::channel();
    let main_thread = MainThread::new(main_thread);
    let zygote = WarmZygote::start(sender).map_err(|e| e.to_string())?;
    let cgroups = cgroup::Host::detect().map_err(|e| e.to_string())?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(32)
        .thread_stack_size(256 * 1024)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(failed("start the runtime"))?;
    let entered = runtime.enter();
    let server = Arc::new(Server {
        containerd: PathBuf::from(&flags.address),
        namespace: flags.namespace.clone(),
        modules: image::Modules::new(config.max_module_size),
        templates: Templates::new(&config),
        quick_moves: quick_moves::QuickMoves::default(),
        config,
        place,
        oom: oom::Oom::new(&cgroups).map_err(|e| e.to_string())?,
        aot: Aot::new(&cgroups),
        cgroups,
        zygote,
        quiet: quiet::Quiet::default(),
        publisher: Publisher::start(flags.ttrpc_address.clone(), &flags.namespace),
        registry: Registry::default(),
        sandboxes: Sandboxes::default(),
        native: OnceLock::new(),
        device_nodes: OnceLock::new(),
    });
    let task = tokio::net::UnixListener::from_std(task).map_err(failed("listen for containerd"))?;
    let control =
        tokio::net::UnixListener::from_std(control).map_err(failed("listen for start and delete"))?;
    let mut ttrpc = ttrpc::asynchronous::Server::new()
        .add_listener(Listener::new(patient::Patient::new(task)))
        .register_service(service::services(&server));
    runtime.block_on(ttrpc.start()).map_err(|e| format!("serve containerd: {e}"))?;
    runtime.spawn(control::serve(Arc::clone(&server), control));
    runtime.spawn(quiet::give_memory_back(Arc::clone(&server)));
    if server.config.quick_cgroup_moves {
        runtime.spawn(quick_moves::hold(Arc::clone(&server)));
    }
    runtime.spawn(oom::report(Arc::clone(&server)));
    runtime.spawn(crate::container::drop_idle(Arc::clone(&server)));
    runtime.spawn(lifetime::end_when_idle(Arc::clone(&server), ttrpc));
    drop(entered);
    log::info!("serving namespace {:?} of {} in {}", flags.namespace, flags.address, flags.rendezvous);
    Ok(Prepared { server, runtime, main_thread })
}

impl Prepared {
    fn run(self) {
        // The main thread has one duty: it is the parent, in the kernel's eyes, of the zygote and so of every
        // container, which the kernel kills when this very thread ends.
        self.main_thread.run();
        log::info!("nothing left to do");
        self.runtime.shutdown_background();
        drop(self.server);
    }
}

/// Stdout was the line to `start`; it closes here so that `start` need not wait for the server's end.
fn redirect_stdout() {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null");
    if let Err(e) = null.and_then(|null| Ok(rustix::stdio::dup2_stdout(&null)?)) {
        log::warn!("close stdout: {e}");
    }
}

/// As shims do: the kernel is to kill a container before what serves all of them. Needs `CAP_SYS_RESOURCE`.
fn protect_from_oom() {
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", "-998") {
        log::debug!("lower oom_score_adj: {e}");
    }
}
