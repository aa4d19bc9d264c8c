//! The Task service: each method takes the request apart, does one thing, and puts the answer together.
//!
//! The library drops a handler when its client's deadline passes or its connection closes. Half a Create must
//! not be left, so whatever changes state runs in a task of its own and the handler only waits for it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, Empty, KillRequest, PidsRequest, PidsResponse, ProcessInfo, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status, WaitRequest, WaitResponse,
};
use containerd_shim_protos::events::task::{TaskCreate, TaskDelete, TaskIO, TaskStart};
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::topics;
use protobuf::MessageField;
use ttrpc::asynchronous::TtrpcContext;

use super::metrics;
use super::status::status;
use crate::container::{self, Container, Creation, Phase, Process};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::server::Server;
use crate::stdio;

/// Answers for all containers of the server.
pub struct TaskService {
    server: Arc<Server>,
}

impl TaskService {
    /// The service of `server`.
    pub fn new(server: Arc<Server>) -> TaskService {
        TaskService { server }
    }

    fn container(&self, id: &str) -> ttrpc::Result<Arc<Container>> {
        self.server.registry.get(id).map_err(|e| status(&e))
    }

    fn process(&self, id: &str, exec_id: &str) -> ttrpc::Result<Arc<Process>> {
        self.container(id)?.process(exec_id).map_err(|e| status(&e))
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        let server = Arc::clone(&self.server);
        detached(async move {
            let container = create(&server, request).await?;
            Ok(CreateTaskResponse { pid: container.init.pid as u32, ..CreateTaskResponse::default() })
        })
        .await
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let (server, container) = (Arc::clone(&self.server), self.container(&request.id)?);
        detached(async move {
            let _busy = container.busy.lock().await;
            let process = container.process(&request.exec_id)?;
            let pid = process.pid as u32;
            process.start(|| {
                let event = TaskStart { container_id: container.id.clone(), pid, ..TaskStart::default() };
                server.publisher.publish(topics::TASK_START_EVENT_TOPIC, &event);
            })?;
            Ok(StartResponse { pid, ..StartResponse::default() })
        })
        .await
    }

    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id).map_err(|e| status(&e))?;
        let phase = process.phase();
        Ok(StateResponse {
            id: container.id.clone(),
            bundle: container.bundle.display().to_string(),
            pid: process.pid as u32,
            status: wire_status(phase).into(),
            stdin: process.request.stdin.clone(),
            stdout: process.request.stdout.clone(),
            stderr: process.request.stderr.clone(),
            terminal: process.request.terminal,
            exit_status: phase.exit().map_or(0, |exit| exit.status),
            exited_at: phase.exit().map(|exit| exit.at.timestamp()).into(),
            exec_id: request.exec_id,
            ..StateResponse::default()
        })
    }

    async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
        let exit = self.process(&request.id, &request.exec_id)?.wait().await;
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(exit.at.timestamp()),
            ..WaitResponse::default()
        })
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id).map_err(|e| status(&e))?;
        process.kill(request.signal).map_err(|e| status(&e))?;
        Ok(Empty::default())
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        let (server, container) = (Arc::clone(&self.server), self.container(&request.id)?);
        detached(async move {
            let process = container.process(&request.exec_id)?;
            let exit = delete(&server, &container).await?;
            Ok(DeleteResponse {
                pid: process.pid as u32,
                exit_status: exit.status,
                exited_at: MessageField::some(exit.at.timestamp()),
                ..DeleteResponse::default()
            })
        })
        .await
    }

    async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
        let container = self.container(&request.id)?;
        let pids = container.pids().into_iter();
        let processes = pids.map(|pid| ProcessInfo { pid: pid as u32, ..ProcessInfo::default() }).collect();
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        let container = self.container(&request.id)?;
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: container.init.pid as u32,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ConnectResponse::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        // Means "end if nothing is left" to a server of many containers, which it does by itself.
        Ok(Empty::default())
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
        let container = self.container(&request.id)?;
        let metrics = metrics::message(&container.cgroup.stats()).map_err(|e| status(&e))?;
        Ok(StatsResponse { stats: MessageField::some(metrics), ..StatsResponse::default() })
    }

    async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
        let process = self.process(&request.id, &request.exec_id)?;
        if request.stdin {
            process.stdio.close_stdin();
        }
        Ok(Empty::default())
    }
}

/// Runs `work` to its end even if nobody waits for it any more, and whatever happens in it.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> ttrpc::Result<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|e| Err(Error::Internal(format!("a bug in the shim: {e}")))).map_err(|e| status(&e))
}

async fn create(server: &Arc<Server>, request: CreateTaskRequest) -> Result<Arc<Container>> {
    container::check_id(&request.id)?;
    if !request.checkpoint.is_empty() {
        return Err(Error::Unimplemented("a wasm container cannot be restored from a checkpoint".to_owned()));
    }
    let creation = Creation {
        id: request.id.clone(),
        bundle: Path::new(&request.bundle).to_owned(),
        rootfs: request.rootfs.clone(),
        stdio: stdio::Request {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        },
        options: request.options.clone().into_option(),
    };
    let claim = server.registry.claim(&request.id)?;
    let blocking = Arc::clone(server);
    let made = tokio::task::spawn_blocking(move || container::create(&blocking, creation)).await;
    let container = Arc::new(made.map_err(|e| Error::Internal(format!("a bug in the shim: {e}")))??);

    server.publisher.publish(
        topics::TASK_CREATE_EVENT_TOPIC,
        &TaskCreate {
            container_id: container.id.clone(),
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: MessageField::some(TaskIO {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
                ..TaskIO::default()
            }),
            pid: container.init.pid as u32,
            ..TaskCreate::default()
        },
    );
    tokio::spawn(container::watch(Arc::clone(server), Arc::clone(&container), Arc::clone(&container.init)));
    if claim.settle(&container) {
        return Ok(container);
    }
    container.end().await;
    dismantle(&container).await?;
    announce_delete(server, &container, container.init.wait().await);
    Err(Error::NotFound(format!("container {:?} was deleted while it was being created", container.id)))
}

/// Deletes a container that has ended or was never started.
async fn delete(server: &Arc<Server>, container: &Arc<Container>) -> Result<Exit> {
    let _busy = container.busy.lock().await;
    container.init.phase().delete(&container.init.name)?;
    remove(server, container).await
}

/// Ends a container whatever it is doing, and deletes it.
pub async fn remove(server: &Arc<Server>, container: &Arc<Container>) -> Result<Exit> {
    let exit = container.end().await;
    dismantle(container).await?;
    if server.registry.remove(container) {
        announce_delete(server, container, exit);
    }
    Ok(exit)
}

async fn dismantle(container: &Arc<Container>) -> Result<()> {
    let container = Arc::clone(container);
    let done = tokio::task::spawn_blocking(move || container.dismantle()).await;
    done.unwrap_or_else(|e| Err(Error::Internal(format!("a bug in the shim: {e}"))))
}

fn announce_delete(server: &Server, container: &Container, exit: Exit) {
    let event = TaskDelete {
        container_id: container.id.clone(),
        pid: container.init.pid as u32,
        exit_status: exit.status,
        exited_at: MessageField::some(exit.at.timestamp()),
        ..TaskDelete::default()
    };
    server.publisher.publish(topics::TASK_DELETE_EVENT_TOPIC, &event);
}

fn wire_status(phase: Phase) -> Status {
    match phase {
        Phase::Created => Status::CREATED,
        Phase::Running => Status::RUNNING,
        Phase::Paused => Status::PAUSED,
        Phase::Stopped(_) => Status::STOPPED,
    }
}
