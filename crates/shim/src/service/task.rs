//! The Task service: each method takes the request apart, does one thing, and puts the answer together.
//!
//! The library drops a handler when its client's deadline passes or its connection closes. Half a Create must
//! not be left, so whatever changes state runs in a task of its own and the handler only waits for it.

use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PauseRequest,
    PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest, ShutdownRequest, StartRequest,
    StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse, Status, UpdateTaskRequest,
    WaitRequest, WaitResponse,
};
use containerd_shim_protos::shim_async::Task;
use protobuf::MessageField;
use ttrpc::asynchronous::TtrpcContext;

use super::status::status;
use super::{detached, metrics};
use crate::blocking::blocking;
use crate::container::{self, Container, Creation, Phase, Process};
use crate::error::Error;
use crate::server::Server;
use crate::{spec, stdio};

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
    async fn create(
        &self,
        _: &TtrpcContext,
        request: CreateTaskRequest,
    ) -> ttrpc::Result<CreateTaskResponse> {
        if !request.checkpoint.is_empty() {
            return Err(no_checkpoints());
        }
        let creation = Creation {
            id: request.id,
            bundle: request.bundle.into(),
            rootfs: request.rootfs,
            stdio: stdio::Request {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            },
            options: request.options.into_option(),
        };
        let server = Arc::clone(&self.server);
        detached(async move {
            let container = container::create(&server, creation).await?;
            Ok(CreateTaskResponse { pid: container.init.pid as u32, ..CreateTaskResponse::default() })
        })
        .await
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        let (server, container) = (Arc::clone(&self.server), self.container(&request.id)?);
        detached(async move {
            let pid = container::start(&server, &container, &request.exec_id).await?;
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
        let this = Arc::clone(&container);
        let _until_answered = this.kills.read().await;
        detached(
            async move { blocking(move || container.kill(&process, request.signal, request.all)).await },
        )
        .await?;
        Ok(Empty::default())
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        let (server, container) = (Arc::clone(&self.server), self.container(&request.id)?);
        let stdio = stdio::Request {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let process = request.spec.into_option().unwrap_or_default().value;
        detached(async move { container::exec(&server, &container, request.exec_id, process, stdio).await })
            .await?;
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> ttrpc::Result<Empty> {
        let process = self.process(&request.id, &request.exec_id)?;
        let cells = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        process.stdio.resize(cells(request.height), cells(request.width)).map_err(|e| status(&e))?;
        Ok(Empty::default())
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        let (server, container) = (Arc::clone(&self.server), self.container(&request.id)?);
        detached(async move { container::pause(&server, &container).await }).await?;
        Ok(Empty::default())
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        let (server, container) = (Arc::clone(&self.server), self.container(&request.id)?);
        detached(async move { container::resume(&server, &container).await }).await?;
        Ok(Empty::default())
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        let container = self.container(&request.id)?;
        let resources = request.resources.into_option().unwrap_or_default().value;
        let limits =
            spec::limits_from_json(&resources).map_err(|e| status(&Error::Invalid(e.to_string())))?;
        detached(async move {
            let _busy = container.busy.lock().await;
            let this = Arc::clone(&container);
            blocking(move || this.update(&limits)).await
        })
        .await?;
        Ok(Empty::default())
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        Err(no_checkpoints())
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        let container =
            match request.exec_id.as_str() {
                // containerd deletes what it has given up creating, also while the Create is on its way.
                "" => self.server.registry.give_up(&request.id).await.ok_or_else(|| {
                    status(&Error::NotFound(format!("container {:?} not found", request.id)))
                })?,
                _ => self.container(&request.id)?,
            };
        let server = Arc::clone(&self.server);
        detached(async move {
            let (pid, exit) = container::delete(&server, &container, &request.exec_id).await?;
            Ok(DeleteResponse {
                pid,
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
        // containerd asks for sandboxes here too when it restarts, and gives up those that are not known.
        let task_pid = match self.server.sandboxes.get(&request.id) {
            Ok(sandbox) => sandbox.status().pid,
            Err(_) => self.container(&request.id)?.init.pid as u32,
        };
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
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

fn no_checkpoints() -> ttrpc::Error {
    status(&Error::Unimplemented("wasm containers can be neither checkpointed nor restored".to_owned()))
}

fn wire_status(phase: Phase) -> Status {
    match phase {
        Phase::Created => Status::CREATED,
        Phase::Running => Status::RUNNING,
        Phase::Paused => Status::PAUSED,
        Phase::Stopped(_) => Status::STOPPED,
    }
}
