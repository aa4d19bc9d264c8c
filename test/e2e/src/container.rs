//! A container through containerd's API: what `ctr run` does, with every step and every answer at hand.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use containerd_client::services::v1::container::Runtime;
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    CloseIoRequest, Container as Record, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest,
    DeleteTaskRequest, GetRequest, KillRequest, ListPidsRequest, MetricsRequest, StartRequest, WaitRequest,
};
use containerd_client::tonic::Status;
use containerd_client::types::Metric;
use prost_types::Any;
use serde_json::{Value, json};

use crate::stdio::{make_fifo, open_for_writing};
use crate::{Client, Image, Namespace, Network, Process, RUNTIME, Reader, Spec};

const SNAPSHOTTER: &str = "overlayfs";

/// A container under construction.
#[derive(Debug, Clone)]
#[must_use]
pub struct Container<'n> {
    namespace: &'n Namespace,
    id: String,
    image: String,
    parent: String,
    /// Its spec, for what has no method here.
    pub spec: Spec,
    runtime: String,
    options: Option<Any>,
    input: bool,
    stdout: Option<String>,
    stderr: Option<String>,
    terminal: bool,
}

/// A container that ended and was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Exit code.
    pub code: u32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, as text.
    pub stderr: String,
}

impl Finished {
    /// Its stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl<'n> Container<'n> {
    pub(crate) fn new(namespace: &'n Namespace, image: &Image, id: &str, args: &[&str]) -> Container<'n> {
        let cgroup = format!("{}/{id}", namespace.bed.cgroups.add(&namespace.name));
        let mut spec = Spec::new(&cgroup);
        spec.set("/process", "args", json!(args));
        Container {
            namespace,
            id: id.to_owned(),
            image: image.name().to_owned(),
            parent: image.chain_id(),
            spec,
            runtime: RUNTIME.to_owned(),
            options: None,
            input: false,
            stdout: None,
            stderr: None,
            terminal: false,
        }
    }

    /// Another runtime than ours.
    pub fn runtime(mut self, name: &str) -> Self {
        self.runtime = name.to_owned();
        self
    }

    /// Gives it runtime options: the name of their message and its bytes.
    pub fn options(mut self, message: &str, bytes: Vec<u8>) -> Self {
        self.options = Some(Any { type_url: message.to_owned(), value: bytes });
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.spec.push("/process/env", json!(format!("{name}={value}")));
        self
    }

    /// Sets the working directory.
    pub fn cwd(mut self, path: &str) -> Self {
        self.spec.set("/process", "cwd", json!(path));
        self
    }

    /// Makes the root file system read-only.
    pub fn read_only(mut self) -> Self {
        self.spec.set("/root", "readonly", json!(true));
        self
    }

    /// Adds a mount.
    pub fn mount(mut self, kind: &str, source: &str, destination: &str, options: &[&str]) -> Self {
        let mount = json!({ "type": kind, "source": source, "destination": destination, "options": options });
        self.spec.push("/mounts", mount);
        self
    }

    /// Limits its memory, in bytes.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.spec.set("/linux/resources", "memory", json!({ "limit": bytes }));
        self
    }

    /// Puts it into a network namespace that is there already.
    pub fn network(mut self, network: &Network) -> Self {
        let namespaces = self.spec.0.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
        let of_network = |namespace: &&mut Value| namespace["type"] == "network";
        let namespace = namespaces.expect("the spec has namespaces").iter_mut().find(of_network);
        namespace.expect("the spec has a network namespace")["path"] = json!(network.file());
        self
    }

    /// Leaves it in the host's network namespace.
    pub fn host_network(mut self) -> Self {
        let namespaces = self.spec.0.pointer_mut("/linux/namespaces").and_then(Value::as_array_mut);
        namespaces.expect("the spec has namespaces").retain(|namespace| namespace["type"] != "network");
        self
    }

    /// Runs it as this user and group.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.spec.set("/process", "user", json!({ "uid": uid, "gid": gid }));
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        if self.spec.0.get("annotations").is_none() {
            self.spec.set("", "annotations", json!({}));
        }
        self.spec.set("/annotations", key, json!(value));
        self
    }

    /// Gives it a stdin to be written to; without, it has none.
    pub fn input(mut self) -> Self {
        self.input = true;
        self
    }

    /// Where its stdout goes, instead of a FIFO that is read here. Empty: nowhere.
    pub fn stdout(mut self, uri: &str) -> Self {
        self.stdout = Some(uri.to_owned());
        self
    }

    /// Where its stderr goes, instead of a FIFO that is read here. Empty: nowhere.
    pub fn stderr(mut self, uri: &str) -> Self {
        self.stderr = Some(uri.to_owned());
        self
    }

    /// Asks for a terminal.
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self.spec.set("/process", "terminal", json!(true));
        self
    }

    /// Makes container and task. The guest does not run yet.
    ///
    /// # Errors
    /// What containerd and the shim say; nothing is left then.
    pub fn create(self) -> Result<Task, Status> {
        let client = self.namespace.client.clone();
        let fifos = self.namespace.bed.fifos().join(&self.namespace.name);
        let fifo = |stream: &str| fifos.join(format!("{}-{stream}", self.id));
        let spec = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
            value: self.spec.0.to_string().into_bytes(),
        };
        let record = Record {
            id: self.id.clone(),
            image: self.image.clone(),
            runtime: Some(Runtime { name: self.runtime.clone(), options: self.options.clone() }),
            spec: Some(spec),
            snapshotter: SNAPSHOTTER.into(),
            snapshot_key: self.id.clone(),
            ..Record::default()
        };
        let message = CreateContainerRequest { container: Some(record) };
        client.call(message, async |channel, request| {
            ContainersClient::new(channel).create(request).await.map(drop)
        })?;
        // From here on the task removes what there is when it is dropped.
        let mut task = Task {
            id: self.id.clone(),
            pid: 0,
            client: client.clone(),
            stdin: None,
            stdin_path: self.input.then(|| fifo("stdin")),
            stdout: self.stdout.is_none().then(|| Reader::new(fifo("stdout"))),
            stderr: self.stderr.is_none().then(|| Reader::new(fifo("stderr"))),
            removed: false,
        };
        if let Some(path) = &task.stdin_path {
            make_fifo(path);
        }
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: self.id.clone(),
            parent: self.parent.clone(),
            ..PrepareSnapshotRequest::default()
        };
        let rootfs = client.call(prepare, async |channel, request| {
            Ok(SnapshotsClient::new(channel).prepare(request).await?.into_inner().mounts)
        })?;
        let uri = |given: &Option<String>, reader: &Option<Reader>| match (given, reader) {
            (Some(uri), _) => uri.clone(),
            (None, Some(reader)) => reader.path(),
            (None, None) => String::new(),
        };
        let message = CreateTaskRequest {
            container_id: self.id.clone(),
            rootfs,
            stdin: task.stdin_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            stdout: uri(&self.stdout, &task.stdout),
            stderr: uri(&self.stderr, &task.stderr),
            terminal: self.terminal,
            ..CreateTaskRequest::default()
        };
        task.pid = client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).create(request).await?.into_inner().pid)
        })? as i32;
        if let Some(path) = &task.stdin_path {
            task.stdin = Some(open_for_writing(path));
        }
        Ok(task)
    }

    /// Creates and starts it.
    ///
    /// # Panics
    /// With the error, if that fails.
    pub fn start(self) -> Task {
        let id = self.id.clone();
        let task = self.create().unwrap_or_else(|e| panic!("create {id}: {}", e.message()));
        task.start().unwrap_or_else(|e| panic!("start {id}: {}", e.message()));
        task
    }

    /// Runs it to its end and removes it.
    pub fn run(self) -> Finished {
        self.start().finish()
    }

    /// The words with which it is refused, by Create or by Start.
    ///
    /// # Panics
    /// When it is not refused.
    pub fn refusal(self) -> String {
        match self.create() {
            Err(e) => e.message().to_owned(),
            Ok(task) => match task.start() {
                Err(e) => e.message().to_owned(),
                Ok(()) => panic!("it should have been refused, but ran: {:?}", task.finish()),
            },
        }
    }
}

/// A container that exists. Dropped, it is killed and removed.
#[derive(Debug)]
pub struct Task {
    /// Container id.
    pub id: String,
    /// Process id on the host.
    pub pid: i32,
    client: Client,
    stdin: Option<File>,
    stdin_path: Option<PathBuf>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    removed: bool,
}

impl Task {
    /// Lets the guest run.
    ///
    /// # Errors
    /// What the shim says.
    pub fn start(&self) -> Result<(), Status> {
        let message = StartRequest { container_id: self.id.clone(), ..StartRequest::default() };
        self.client
            .call(message, async |channel, request| TasksClient::new(channel).start(request).await.map(drop))
    }

    /// Sends the guest a signal.
    ///
    /// # Errors
    /// What the shim says.
    pub fn kill(&self, signal: i32) -> Result<(), Status> {
        let message =
            KillRequest { container_id: self.id.clone(), signal: signal as u32, ..KillRequest::default() };
        self.client
            .call(message, async |channel, request| TasksClient::new(channel).kill(request).await.map(drop))
    }

    /// Waits for the end and returns the exit code.
    pub fn wait(&self) -> u32 {
        self.try_wait().unwrap_or_else(|e| panic!("wait for {}: {}", self.id, e.message()))
    }

    fn try_wait(&self) -> Result<u32, Status> {
        let message = WaitRequest { container_id: self.id.clone(), ..WaitRequest::default() };
        self.client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).wait(request).await?.into_inner().exit_status)
        })
    }

    /// Its state as containerd names it: `CREATED`, `RUNNING`, `STOPPED`; and its exit code, if it has one.
    pub fn state(&self) -> (String, u32) {
        let message = GetRequest { container_id: self.id.clone(), ..GetRequest::default() };
        let answer = self.client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).get(request).await?.into_inner().process)
        });
        let process = answer.unwrap_or_else(|e| panic!("state of {}: {}", self.id, e.message()));
        let process = process.expect("an answer about a process");
        (process.status().as_str_name().to_owned(), process.exit_status)
    }

    /// Process ids in it.
    pub fn pids(&self) -> Vec<i32> {
        let message = ListPidsRequest { container_id: self.id.clone() };
        let answer = self.client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).list_pids(request).await?.into_inner().processes)
        });
        let processes = answer.unwrap_or_else(|e| panic!("pids of {}: {}", self.id, e.message()));
        processes.iter().map(|process| process.pid as i32).collect()
    }

    /// Its metrics.
    ///
    /// # Panics
    /// When there are none.
    pub fn metrics(&self) -> Metric {
        let message = MetricsRequest { filters: vec![format!("id=={}", self.id)] };
        let answer = self.client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).metrics(request).await?.into_inner().metrics)
        });
        let metrics = answer.unwrap_or_else(|e| panic!("metrics of {}: {}", self.id, e.message()));
        metrics.into_iter().find(|metric| metric.id == self.id).expect("metrics of the container")
    }

    /// Its first process.
    ///
    /// # Panics
    /// When it has ended.
    pub fn process(&self) -> Process {
        Process::of(self.pid).unwrap_or_else(|| panic!("{} has no process {}", self.id, self.pid))
    }

    /// Writes to the guest's stdin.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("made with input()").write_all(bytes).expect("write to the guest");
    }

    /// Ends the guest's stdin: closes the FIFO here and tells the shim.
    pub fn close_input(&mut self) {
        self.stdin = None;
        let message =
            CloseIoRequest { container_id: self.id.clone(), stdin: true, ..CloseIoRequest::default() };
        let closed = self.client.call(message, async |channel, request| {
            TasksClient::new(channel).close_io(request).await.map(drop)
        });
        closed.unwrap_or_else(|e| panic!("close stdin of {}: {}", self.id, e.message()));
    }

    /// The guest's stdout.
    pub fn stdout(&self) -> &Reader {
        self.stdout.as_ref().expect("its stdout is read here")
    }

    /// The guest's stderr.
    pub fn stderr(&self) -> &Reader {
        self.stderr.as_ref().expect("its stderr is read here")
    }

    /// Deletes the task and returns the exit code Delete tells. The container's record stays.
    ///
    /// # Errors
    /// What containerd and the shim say, for one while the guest runs.
    pub fn delete(&self) -> Result<u32, Status> {
        let message = DeleteTaskRequest { container_id: self.id.clone() };
        self.client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).delete(request).await?.into_inner().exit_status)
        })
    }

    /// Any other call to the task service.
    ///
    /// # Errors
    /// What containerd and the shim say.
    pub fn call<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(
            TasksClient<containerd_client::tonic::transport::Channel>,
            containerd_client::tonic::Request<M>,
        ) -> Result<R, Status>,
    ) -> Result<R, Status> {
        self.client.call(message, async |channel, request| call(TasksClient::new(channel), request).await)
    }

    /// Waits for the guest's end, reads its streams to theirs and removes everything.
    pub fn finish(mut self) -> Finished {
        let code = self.wait();
        let stdout = self.stdout.take().map(Reader::finish).unwrap_or_default();
        let stderr = self.stderr.take().map(Reader::finish).unwrap_or_default();
        let told = self.delete().unwrap_or_else(|e| panic!("delete {}: {}", self.id, e.message()));
        assert_eq!(told, code, "Wait and Delete tell different exit codes of {}", self.id);
        self.remove();
        Finished { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// Kills the guest, waits for its end and removes everything.
    pub fn end(self) -> Finished {
        self.kill(9).unwrap_or_else(|e| panic!("kill {}: {}", self.id, e.message()));
        self.finish()
    }

    /// Removes the container's record and snapshot.
    fn remove(&mut self) {
        self.removed = true;
        let message = DeleteContainerRequest { id: self.id.clone() };
        let removed = self.client.call(message, async |channel, request| {
            ContainersClient::new(channel).delete(request).await.map(drop)
        });
        let message = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: self.id.clone() };
        let gone = self.client.call(message, async |channel, request| {
            SnapshotsClient::new(channel).remove(request).await.map(drop)
        });
        // Of a containerd that was killed nobody can ask anything.
        if !std::thread::panicking() && self.client.version().is_ok() {
            removed.unwrap_or_else(|e| panic!("remove container {}: {}", self.id, e.message()));
            // After a Create that failed early there is none.
            if let Err(e) = gone {
                assert_eq!(e.code(), containerd_client::tonic::Code::NotFound, "{}", e.message());
            }
        }
        if let Some(path) = &self.stdin_path {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        if self.pid != 0 {
            let _ = self.kill(9);
            if self.state_if_any().is_some() && !std::thread::panicking() {
                let _ = self.try_wait();
            }
            let _ = self.delete();
        }
        self.remove();
    }
}

impl Task {
    fn state_if_any(&self) -> Option<()> {
        let message = GetRequest { container_id: self.id.clone(), ..GetRequest::default() };
        self.client
            .call(message, async |channel, request| TasksClient::new(channel).get(request).await.map(drop))
            .ok()
    }
}
