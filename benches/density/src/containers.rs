//! Containers through containerd's gRPC API, timed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

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
use prost::Message;
use prost_types::Any;
use rustix::fs::{FileType, Mode};
use tokio::net::unix::pipe::Receiver;

use crate::bed::Bed;
use crate::cgroups::CONTAINERS;
use crate::launcher::Times;
use crate::log_lines::PATIENCE;
use crate::options::{Network, Options};
use crate::spec::spec;
use crate::stack::Stack;

const SNAPSHOTTER: &str = "overlayfs";

/// `containerd.runc.v1.Options`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct RuncOptions {
    #[prost(string, tag = "6")]
    binary_name: String,
}

/// Makes containers of one stack.
#[derive(Debug)]
pub struct Containers {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    stack: Stack,
    image: String,
    chain_id: String,
    cgroups_parent: String,
    fifos: PathBuf,
    own_network: bool,
    /// Held open: a stdin that nobody can write to any more has ended.
    inputs: Mutex<HashMap<String, File>>,
}

impl Containers {
    /// Connects to the bed's containerd and imports the image of `stack`.
    pub async fn connect(bed: &Bed, stack: &Stack, options: &Options) -> Result<Containers> {
        let image = stack.image()?;
        bed.import(&image)?;
        let channel = containerd_client::connect(bed.socket()).await.context("connect to containerd")?;
        Ok(Containers {
            channel,
            namespace: bed.namespace.parse().context("the namespace is not a header value")?,
            stack: stack.clone(),
            image: image.name().to_owned(),
            chain_id: image.chain_id(),
            cgroups_parent: bed.cgroups.path_of(CONTAINERS),
            fifos: bed.folder.join("fifo"),
            own_network: options.network == Network::Own,
            inputs: Mutex::default(),
        })
    }

    /// Whether containers answer what is written to their stdin.
    pub fn answer(&self) -> bool {
        self.stack.stdin
    }

    /// The spec of a container.
    pub fn spec(&self, id: &str) -> Vec<u8> {
        let cgroup = format!("{}/{id}", self.cgroups_parent);
        spec(&self.stack, &cgroup, self.own_network).to_string().into_bytes()
    }

    /// Makes a container's root: containerd's mounts for it.
    pub async fn prepare(&self, id: &str) -> Result<Vec<Mount>> {
        let snapshot = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.into(),
            parent: self.chain_id.clone(),
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

    /// Starts one and waits for its line.
    pub async fn start(&self, id: &str) -> Result<Times> {
        let output = Output::make(&self.fifos, id)?;
        let stdin = self.fifos.join(format!("{id}-stdin"));
        let input = self.stack.stdin.then(|| input(&stdin)).transpose()?;
        let begun = Instant::now();
        let container = Container {
            id: id.into(),
            image: self.image.clone(),
            runtime: Some(Runtime { name: self.stack.runtime.clone(), options: self.options() }),
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
            stdin: if input.is_some() { stdin.display().to_string() } else { String::new() },
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
            return Err(e.context(format!("{:?}, exit code {}", task.status(), task.exit_status)));
        }
        let line = begun.elapsed();
        let mut steps = vec![prepared, created, started - created];
        if let Some(mut input) = input {
            let asked = Instant::now();
            input.write_all(b"ping\n").context("write to a container's stdin")?;
            output.first_line().await.context("wait for an answer")?;
            steps.push(asked.elapsed());
            self.inputs.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), input);
        }
        Ok(Times { steps, line })
    }

    /// Kills and deletes one.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let input = self.inputs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
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
        if input.is_some() {
            std::fs::remove_file(self.fifos.join(format!("{id}-stdin")))?;
        }
        self.unprepare(id).await
    }

    /// For runc's shim: what it starts.
    fn options(&self) -> Option<Any> {
        let binary_name = self.stack.program.as_ref()?.display().to_string();
        let value = RuncOptions { binary_name }.encode_to_vec();
        Some(Any { type_url: "containerd.runc.v1.Options".into(), value })
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
    make_fifo(path)?;
    // Read-write, so that neither opening nor a shim that comes and goes ends it.
    let end = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(path);
    end.with_context(|| format!("open the FIFO {}", path.display()))
}

/// The writing end of a stdin, which is read-write so that it opens before there is a reader.
fn input(path: &Path) -> Result<File> {
    make_fifo(path)?;
    let end = File::options().read(true).write(true).open(path);
    end.with_context(|| format!("open the FIFO {}", path.display()))
}

fn make_fifo(path: &Path) -> Result<()> {
    let made = rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
    made.with_context(|| format!("make the FIFO {}", path.display()))
}

/// containerd's answer, as an error.
pub fn refused(doing: &str, status: &Status) -> anyhow::Error {
    anyhow!("{doing}: {}", status.message())
}
