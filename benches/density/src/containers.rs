//! Containers through containerd's gRPC API, timed.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest,
    GetRequest, KillRequest, StartRequest, WaitRequest,
};
use containerd_client::tonic::metadata::{Ascii, MetadataValue};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use containerd_client::types::Mount;
use prost_types::Any;
use rustix::fs::{FileType, Mode};
use tokio::net::unix::pipe::Receiver;

use crate::bed::Bed;
use crate::image::Image;
use crate::options::Options;
use crate::spec::spec;
use crate::stack::Stack;

/// How long a container may take to say its line.
const PATIENCE: Duration = Duration::from_secs(20);
const SNAPSHOTTER: &str = "overlayfs";

/// Makes containers of one stack.
#[derive(Debug)]
pub struct Containers {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    stack_args: Vec<&'static str>,
    runtime: &'static str,
    image: Image,
    cgroups_parent: String,
    fifos: PathBuf,
    own_network: bool,
}

/// Times of one container.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// containerd's part before there is a task: its record and the snapshot.
    pub prepare: Duration,
    /// The Create call.
    pub create: Duration,
    /// The Start call.
    pub start: Duration,
    /// From the Create call to the first line on stdout.
    pub line: Duration,
}

/// Containers started together.
#[derive(Debug)]
pub struct Batch {
    /// Each one's times.
    pub times: Vec<Times>,
    /// From the first call to the last one's first line.
    pub wall: Duration,
}

impl Containers {
    /// Connects to the bed's containerd.
    pub async fn connect(
        bed: &Bed,
        stack: &Stack,
        image: Image,
        options: &Options,
    ) -> Result<Arc<Containers>> {
        let channel = containerd_client::connect(bed.socket()).await.context("connect to containerd")?;
        Ok(Arc::new(Containers {
            channel,
            namespace: bed.namespace.parse().context("the namespace is not a header value")?,
            stack_args: stack.args.clone(),
            runtime: stack.runtime,
            image,
            cgroups_parent: bed.cgroups.path_of(""),
            fifos: bed.folder.join("fifo"),
            own_network: options.own_network,
        }))
    }

    /// Starts containers, so many at a time, and waits until each has said its line.
    pub async fn start(self: &Arc<Self>, ids: &[String], at_a_time: usize) -> Result<Batch> {
        let begun = Instant::now();
        let times = self.each(ids, at_a_time, |this, id| async move { this.start_one(&id).await }).await?;
        Ok(Batch { times, wall: begun.elapsed() })
    }

    /// Kills and deletes containers.
    pub async fn delete(self: &Arc<Self>, ids: &[String]) -> Result<()> {
        self.each(ids, 8, |this, id| async move { this.delete_one(&id).await }).await.map(drop)
    }

    /// The spec of a container.
    pub fn spec(&self, id: &str) -> Vec<u8> {
        let cgroup = format!("{}{id}", self.cgroups_parent);
        spec(&self.stack_args, &cgroup, self.own_network).to_string().into_bytes()
    }

    /// Makes a container's root: containerd's mounts for it.
    pub async fn prepare(&self, id: &str) -> Result<Vec<Mount>> {
        let snapshot = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.into(),
            parent: self.image.chain_id.clone(),
            // containerd collects what neither a record nor this label keeps.
            labels: [("containerd.io/gc.root".into(), "bench".into())].into(),
        };
        let prepared = SnapshotsClient::new(self.channel.clone()).prepare(self.request(snapshot)).await;
        Ok(prepared.map_err(|e| refused("prepare a snapshot", &e))?.into_inner().mounts)
    }

    /// Removes a container's root.
    pub async fn unprepare(&self, id: &str) -> Result<()> {
        let snapshot = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: id.into() };
        let removed = SnapshotsClient::new(self.channel.clone()).remove(self.request(snapshot)).await;
        removed.map_err(|e| refused("remove a snapshot", &e)).map(drop)
    }

    async fn start_one(&self, id: &str) -> Result<Times> {
        let output = Output::make(&self.fifos, id)?;
        let begun = Instant::now();
        let container = Container {
            id: id.into(),
            image: self.image.name.clone(),
            runtime: Some(Runtime { name: self.runtime.into(), options: None }),
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
                value: self.spec(id),
            }),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: id.into(),
            ..Container::default()
        };
        let record = self.request(CreateContainerRequest { container: Some(container) });
        let recorded = ContainersClient::new(self.channel.clone()).create(record).await;
        recorded.map_err(|e| refused("make a container's record", &e))?;
        let rootfs = self.prepare(id).await?;
        let prepared = begun.elapsed();

        let mut tasks = TasksClient::new(self.channel.clone());
        let request = CreateTaskRequest {
            container_id: id.into(),
            rootfs,
            stdout: output.stdout.display().to_string(),
            stderr: output.stderr.display().to_string(),
            ..CreateTaskRequest::default()
        };
        let begun = Instant::now();
        tasks.create(self.request(request)).await.map_err(|e| refused("create a task", &e))?;
        let created = begun.elapsed();
        let request = StartRequest { container_id: id.into(), ..StartRequest::default() };
        tasks.start(self.request(request)).await.map_err(|e| refused("start a task", &e))?;
        let started = begun.elapsed();
        if let Err(e) = output.first_line().await {
            let get = GetRequest { container_id: id.into(), ..GetRequest::default() };
            let task =
                tasks.get(self.request(get)).await.map_err(|e| refused("ask for a task's state", &e))?;
            let task = task.into_inner().process.unwrap_or_default();
            return Err(e.context(format!(
                "container {id}: {:?}, exit code {}",
                task.status(),
                task.exit_status
            )));
        }
        Ok(Times { prepare: prepared, create: created, start: started - created, line: begun.elapsed() })
    }

    async fn delete_one(&self, id: &str) -> Result<()> {
        let mut tasks = TasksClient::new(self.channel.clone());
        let kill = KillRequest { container_id: id.into(), signal: 9, ..KillRequest::default() };
        tasks.kill(self.request(kill)).await.map_err(|e| refused("kill a task", &e))?;
        let wait = WaitRequest { container_id: id.into(), ..WaitRequest::default() };
        tasks.wait(self.request(wait)).await.map_err(|e| refused("wait for a task", &e))?;
        let delete = DeleteTaskRequest { container_id: id.into() };
        tasks.delete(self.request(delete)).await.map_err(|e| refused("delete a task", &e))?;
        let record = self.request(DeleteContainerRequest { id: id.into() });
        let deleted = ContainersClient::new(self.channel.clone()).delete(record).await;
        deleted.map_err(|e| refused("delete a container's record", &e))?;
        self.unprepare(id).await
    }

    /// Does something for each of `ids`, so many at a time.
    async fn each<T, F, Fut>(self: &Arc<Self>, ids: &[String], at_a_time: usize, work: F) -> Result<Vec<T>>
    where
        T: Send + 'static,
        F: Fn(Arc<Self>, String) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<T>> + Send,
    {
        let ids: Arc<[String]> = ids.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..at_a_time.min(ids.len()) {
            let (this, ids, next, work) =
                (Arc::clone(self), Arc::clone(&ids), Arc::clone(&next), work.clone());
            workers.spawn(async move {
                let mut done = Vec::new();
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    done.push(work(Arc::clone(&this), id.clone()).await?);
                }
                Ok::<_, anyhow::Error>(done)
            });
        }
        let mut all = Vec::with_capacity(ids.len());
        while let Some(done) = workers.join_next().await {
            all.extend(done.context("a worker of the harness ended")??);
        }
        Ok(all)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        request
    }
}

/// The reading ends of a container's output. The container may outlive them: a sleeping one writes no more.
pub struct Output {
    /// The FIFO of its stdout.
    pub stdout: PathBuf,
    /// The FIFO of its stderr, which runc's shim insists on.
    pub stderr: PathBuf,
    lines: Receiver,
    _errors: Receiver,
}

impl Output {
    /// Makes the FIFOs.
    pub fn make(folder: &Path, id: &str) -> Result<Output> {
        let (stdout, stderr) = (folder.join(format!("{id}-stdout")), folder.join(format!("{id}-stderr")));
        Ok(Output { lines: fifo(&stdout)?, _errors: fifo(&stderr)?, stdout, stderr })
    }

    /// Waits for the first line.
    pub async fn first_line(&self) -> Result<()> {
        tokio::time::timeout(PATIENCE, self.read_line())
            .await
            .map_err(|_| anyhow!("said nothing on stdout within {PATIENCE:?}"))?
    }

    async fn read_line(&self) -> Result<()> {
        let mut bytes = [0; 64];
        loop {
            self.lines.readable().await?;
            match self.lines.try_read(&mut bytes) {
                Ok(n) if bytes.get(..n).is_some_and(|read| read.contains(&b'\n')) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The folder goes with the bed in any case.
        let _ = std::fs::remove_file(&self.stdout);
        let _ = std::fs::remove_file(&self.stderr);
    }
}

fn fifo(path: &Path) -> Result<Receiver> {
    let made = rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    made.with_context(|| format!("make the FIFO {}", path.display()))?;
    // Read-write, so that neither opening nor a shim that comes and goes ends it.
    let end = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(path);
    end.with_context(|| format!("open the FIFO {}", path.display()))
}

fn refused(doing: &str, status: &Status) -> anyhow::Error {
    anyhow!("{doing}: {}", status.message())
}
