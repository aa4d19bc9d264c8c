//! A shim that does nothing: what starting costs when the runtime costs nothing is containerd's own part.
//!
//! It is this program under the name `containerd-shim-floor-v1`. One server serves a whole containerd, as ours does. It
//! makes no process, cgroup or mount; a started container's line is written by the server.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest, DeleteResponse,
    Empty, KillRequest, PidsRequest, PidsResponse, ProcessInfo, ShutdownRequest, StartRequest, StartResponse,
    StateRequest, StateResponse, Status, WaitRequest, WaitResponse,
};
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::shim_async::{Task, create_task};
use tokio::sync::watch;
use ttrpc::asynchronous::{Server, TtrpcContext};

/// The file name by which containerd finds it.
pub const FILE: &str = "containerd-shim-floor-v1";

/// Exit code of a process that SIGKILL ended.
const KILLED: u32 = 137;

/// Does what containerd, or the first `start`, asks for by the arguments.
pub fn run(arguments: &[String]) -> Result<()> {
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let containerd = after("-address").context("-address is missing")?;
    let folder = Path::new(&containerd).parent().context("-address has no folder")?;
    match arguments.last().map(String::as_str) {
        Some("start") => start(&containerd, folder),
        // Its answer is an empty message.
        Some("delete") => Ok(()),
        Some("serve") => serve(&folder.join("floor.sock")),
        _ => bail!("{arguments:?} is not what containerd asks a shim"),
    }
}

/// Prints the server's address, and starts the server first if there is none.
fn start(containerd: &str, folder: &Path) -> Result<()> {
    let socket = folder.join("floor.sock");
    let lock = File::create(folder.join("floor.lock"))?;
    lock.lock().context("lock the server's folder")?;
    if UnixStream::connect(&socket).is_err() {
        let mut server = Command::new(folder.join("bin").join(FILE));
        server.args(["-address", containerd, "serve"]).process_group(0);
        server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the server")?;
        let until = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&socket).is_err() {
            ensure!(Instant::now() < until, "the server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let address = format!("unix://{}", socket.display());
    // As containerd 2 reads it: the Task API's version 3 is what the library serves.
    print!("{}", serde_json::json!({ "version": 3, "address": address, "protocol": "ttrpc" }));
    Ok(())
}

fn serve(socket: &Path) -> Result<()> {
    match fs::remove_file(socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context("remove an old socket"),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = create_task(Arc::new(Floor::default()));
        let mut server =
            Server::new().bind(&format!("unix://{}", socket.display()))?.register_service(service);
        server.start().await?;
        // It is killed when the bed ends.
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Containers by id.
#[derive(Default)]
struct Floor(Mutex<HashMap<String, Container>>);

struct Container {
    stdout: PathBuf,
    /// True once it is killed.
    ended: watch::Sender<bool>,
}

impl Floor {
    fn with<T>(&self, id: &str, work: impl FnOnce(&Container) -> T) -> ttrpc::Result<T> {
        let containers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        containers
            .get(id)
            .map(work)
            .ok_or_else(|| failed(ttrpc::Code::NOT_FOUND, format!("no container {id}")))
    }
}

fn failed(code: ttrpc::Code, why: String) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, why))
}

fn pid() -> u32 {
    std::process::id()
}

#[async_trait]
impl Task for Floor {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        let container = Container { stdout: request.stdout.into(), ended: watch::Sender::new(false) };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request.id, container);
        Ok(CreateTaskResponse { pid: pid(), ..CreateTaskResponse::default() })
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let stdout = self.with(&request.id, |container| container.stdout.clone())?;
        // A sandbox has none.
        if !stdout.as_os_str().is_empty() {
            let said =
                File::options().write(true).open(&stdout).and_then(|mut file| file.write_all(b"hello\n"));
            said.map_err(|e| failed(ttrpc::Code::INTERNAL, format!("write to {}: {e}", stdout.display())))?;
        }
        Ok(StartResponse { pid: pid(), ..StartResponse::default() })
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let ended = self.with(&request.id, |container| *container.ended.borrow())?;
        let status = if ended { Status::STOPPED } else { Status::RUNNING };
        let (id, pid) = (request.id, pid());
        let exit_status = if ended { KILLED } else { 0 };
        Ok(StateResponse { id, pid, status: status.into(), exit_status, ..StateResponse::default() })
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        self.with(&request.id, |container| container.ended.send_replace(true))?;
        Ok(Empty::default())
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let mut ended = self.with(&request.id, |container| container.ended.subscribe())?;
        // An error says that it was deleted: it has ended as well.
        let _ = ended.wait_for(|ended| *ended).await;
        // CRI takes a container without a time of its end for one that runs.
        let exited_at = Some(Timestamp::now()).into();
        Ok(WaitResponse { exit_status: KILLED, exited_at, ..WaitResponse::default() })
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.id);
        let exited_at = Some(Timestamp::now()).into();
        Ok(DeleteResponse { pid: pid(), exit_status: KILLED, exited_at, ..DeleteResponse::default() })
    }

    async fn pids(&self, _: &TtrpcContext, _: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let processes = vec![ProcessInfo { pid: pid(), ..ProcessInfo::default() }];
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    async fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        Ok(ConnectResponse { shim_pid: pid(), task_pid: pid(), ..ConnectResponse::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::default())
    }
}
