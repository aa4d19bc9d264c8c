//! The Sandbox service: pods without a pause container. See [`crate::sandbox`].

use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, ShutdownSandboxResponse, StartSandboxRequest,
    StartSandboxResponse, StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};
use containerd_shim_protos::sandbox_async::Sandbox as Service;
use containerd_shim_protos::types::platform::Platform;
use protobuf::MessageField;
use ttrpc::asynchronous::TtrpcContext;

use super::status::status;
use super::{detached, metrics};
use crate::container;
use crate::error::{Error, Result};
use crate::exit::Instant;
use crate::sandbox::{Pod, Sandbox};
use crate::server::Server;

/// Answers for all sandboxes of the server.
pub struct SandboxService {
    server: Arc<Server>,
}

impl SandboxService {
    /// The service of `server`.
    pub fn new(server: Arc<Server>) -> SandboxService {
        SandboxService { server }
    }

    fn sandbox(&self, id: &str) -> ttrpc::Result<Arc<Sandbox>> {
        self.server.sandboxes.get(id).map_err(|e| status(&e))
    }

    fn create(&self, request: &CreateSandboxRequest) -> Result<()> {
        container::check_id(&request.sandbox_id)?;
        let pod = Pod::from_options(request.options.as_ref())?;
        self.server.registry.redeem(&request.sandbox_id)?;
        let bundle = request.bundle_path.as_str().into();
        self.server.sandboxes.create(&request.sandbox_id, bundle, &request.netns_path, pod)
    }

    fn metrics(&self, sandbox: &Sandbox) -> Result<SandboxMetricsResponse> {
        let parent = &sandbox.pod.cgroup_parent;
        let path = cgroup::Path::parent(parent).map_err(|e| Error::NotFound(e.to_string()))?;
        let cgroup = cgroup::Cgroup::open(&self.server.cgroups, &path)
            .map_err(|e| Error::NotFound(format!("the cgroup of pod {:?}: {e}", sandbox.id)))?;
        let mut answer = SandboxMetricsResponse::default();
        let metrics = answer.metrics.mut_or_insert_default();
        metrics.timestamp = MessageField::some(Instant::now().timestamp());
        metrics.id.clone_from(&sandbox.id);
        metrics.data = MessageField::some(metrics::message(&cgroup.stats())?);
        Ok(answer)
    }
}

#[async_trait]
impl Service for SandboxService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        self.create(&request).map_err(|e| status(&e))?;
        Ok(CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let (server, sandbox) = (Arc::clone(&self.server), self.sandbox(&request.sandbox_id)?);
        let started = detached(async move { sandbox.start(&server).await }).await?;
        Ok(StartSandboxResponse {
            pid: started.pid,
            created_at: started.since.map(Instant::timestamp).into(),
            ..StartSandboxResponse::default()
        })
    }

    async fn platform(&self, _: &TtrpcContext, request: PlatformRequest) -> ttrpc::Result<PlatformResponse> {
        self.sandbox(&request.sandbox_id)?;
        // containerd knows no specs for another operating system than its own.
        let platform = Platform { os: "linux".into(), architecture: architecture(), ..Platform::default() };
        Ok(PlatformResponse { platform: MessageField::some(platform), ..PlatformResponse::default() })
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: StopSandboxRequest,
    ) -> ttrpc::Result<StopSandboxResponse> {
        self.sandbox(&request.sandbox_id)?.stop();
        Ok(StopSandboxResponse::default())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: WaitSandboxRequest,
    ) -> ttrpc::Result<WaitSandboxResponse> {
        let exit = self.sandbox(&request.sandbox_id)?.wait().await;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(exit.at.timestamp()),
            ..WaitSandboxResponse::default()
        })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        let now = self.sandbox(&request.sandbox_id)?.status();
        let state = if now.ready { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" };
        Ok(SandboxStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: now.pid,
            state: state.to_owned(),
            created_at: now.since.map(Instant::timestamp).into(),
            exited_at: now.exit.map(|exit| exit.at.timestamp()).into(),
            ..SandboxStatusResponse::default()
        })
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, request: PingRequest) -> ttrpc::Result<PingResponse> {
        self.sandbox(&request.sandbox_id)?;
        Ok(PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        // The process goes on for other pods; of this one nothing is kept. Asked again, nothing is there to do.
        self.server.remove_sandbox(&request.sandbox_id);
        Ok(ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        let sandbox = self.sandbox(&request.sandbox_id)?;
        self.metrics(&sandbox).map_err(|e| status(&e))
    }
}

/// As Go and so containerd names it.
fn architecture() -> String {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
    .to_owned()
}
