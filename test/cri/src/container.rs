//! A container of a pod: asked for, and made.

use std::fs;
use std::path::{Path, PathBuf};

use containerd_client::tonic::Status;
use e2e::{Image, wait_for};
use k8s_cri::v1::{
    AttachRequest, ContainerConfig, ContainerState, ContainerStats, ContainerStatsRequest, ContainerStatus,
    ContainerStatusRequest, CreateContainerRequest, ExecRequest, ExecSyncRequest, ExecSyncResponse, KeyValue,
    LinuxContainerResources, LinuxContainerSecurityContext, Mount, MountPropagation, RemoveContainerRequest,
    StartContainerRequest, StopContainerRequest, UpdateContainerResourcesRequest,
};

use crate::node::Runtime;
use crate::{Log, Pod, Stream, kubelet};

/// A container under construction.
#[derive(Debug, Clone)]
#[must_use]
pub struct ContainerSpec<'s> {
    pod: Pod<'s>,
    /// What is asked of CRI, for what has no method here.
    pub config: ContainerConfig,
}

/// A volume, as the kubelet hands one over.
pub fn mount(host: &Path, container: &str, readonly: bool) -> Mount {
    Mount {
        host_path: host.display().to_string(),
        container_path: container.to_owned(),
        readonly,
        propagation: MountPropagation::PropagationPrivate.into(),
        ..Mount::default()
    }
}

impl<'s> ContainerSpec<'s> {
    pub(crate) fn new(pod: &Pod<'s>, name: &str, image: &Image, command: &[&str]) -> ContainerSpec<'s> {
        pod.scene.node.pull(image);
        let config = kubelet::container(&pod.config, name, image.name(), command);
        ContainerSpec { pod: pod.clone(), config }
    }

    /// Says which attempt of a restarted container it is.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.config.metadata.get_or_insert_default().attempt = attempt;
        self.config.log_path = format!("{}.{attempt}.log", self.config.metadata.get_or_insert_default().name);
        self
    }

    /// Adds a volume.
    pub fn volume(mut self, host: &Path, container: &str) -> Self {
        self.config.mounts.push(mount(host, container, false));
        self
    }

    /// Adds a volume that cannot be written to.
    pub fn read_only_volume(mut self, host: &Path, container: &str) -> Self {
        self.config.mounts.push(mount(host, container, true));
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.config.envs.push(KeyValue { key: key.to_owned(), value: value.to_owned() });
        self
    }

    /// Gives it a stdin that stays open for several clients.
    pub fn input(mut self) -> Self {
        self.config.stdin = true;
        self
    }

    /// Gives it a terminal.
    pub fn terminal(mut self) -> Self {
        self.config.tty = true;
        self
    }

    /// Limits its memory, in bytes.
    pub fn memory_limit(mut self, bytes: i64) -> Self {
        self.resources().memory_limit_in_bytes = bytes;
        self
    }

    /// Its limits.
    pub fn resources(&mut self) -> &mut LinuxContainerResources {
        self.config.linux.get_or_insert_default().resources.get_or_insert_default()
    }

    /// Changes who it runs as and what it may do.
    pub fn security(mut self, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> Self {
        change(self.config.linux.get_or_insert_default().security_context.get_or_insert_default());
        self
    }

    /// Makes it.
    ///
    /// # Errors
    /// containerd's words.
    pub fn try_create(self) -> Result<Container<'s>, Status> {
        let request = CreateContainerRequest {
            pod_sandbox_id: self.pod.id.clone(),
            config: Some(self.config.clone()),
            sandbox_config: Some(self.pod.config.clone()),
        };
        let call = async |mut client: Runtime, request| client.create_container(request).await;
        let id = self.pod.scene.node.runtime(request, call)?.container_id;
        self.pod.scene.leaves(&id);
        let log = Path::new(&self.pod.config.log_directory).join(&self.config.log_path);
        Ok(Container { pod: self.pod, id, log })
    }

    /// Makes it.
    ///
    /// # Panics
    /// With containerd's words when that fails.
    pub fn create(self) -> Container<'s> {
        self.try_create().unwrap_or_else(|e| panic!("create a container: {e}"))
    }

    /// Makes and starts it.
    ///
    /// # Errors
    /// containerd's words.
    pub fn try_start(self) -> Result<Container<'s>, Status> {
        let container = self.try_create()?;
        container.try_start()?;
        Ok(container)
    }

    /// Makes and starts it.
    ///
    /// # Panics
    /// With containerd's words when that fails.
    pub fn start(self) -> Container<'s> {
        self.try_start().unwrap_or_else(|e| panic!("start a container: {e}"))
    }

    /// Makes and starts it, and waits for its end. Returns its status and what it wrote to stdout.
    pub fn run(self) -> (ContainerStatus, String) {
        let container = self.start();
        let status = container.wait();
        (status, container.log().stdout())
    }
}

/// A container that was made. Removed with its pod, if not before.
#[derive(Debug, Clone)]
pub struct Container<'s> {
    pod: Pod<'s>,
    /// Its id.
    pub id: String,
    log: PathBuf,
}

impl Container<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// containerd's words.
    pub fn try_start(&self) -> Result<(), Status> {
        let request = StartContainerRequest { container_id: self.id.clone() };
        let call = async |mut client: Runtime, request| client.start_container(request).await;
        self.pod.scene.node.runtime(request, call).map(drop)
    }

    /// What CRI says about it.
    pub fn status(&self) -> ContainerStatus {
        self.verbose_status().0
    }

    /// Its process's id while it runs.
    pub fn pid(&self) -> i32 {
        let pid = self.verbose_status().1["pid"].as_i64().and_then(|pid| pid.try_into().ok());
        pid.expect("a running container has a process id")
    }

    fn verbose_status(&self) -> (ContainerStatus, serde_json::Value) {
        let request = ContainerStatusRequest { container_id: self.id.clone(), verbose: true };
        let call = async |mut client: Runtime, request| client.container_status(request).await;
        let answer = self.pod.scene.node.runtime(request, call);
        let answer = answer.unwrap_or_else(|e| panic!("status of container {}: {e}", self.id));
        let info =
            answer.info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        (answer.status.expect("a status answer holds a status"), info)
    }

    /// Waits until CRI says that it has ended.
    pub fn wait(&self) -> ContainerStatus {
        wait_for("a container's end", || {
            Some(self.status()).filter(|status| status.state() == ContainerState::ContainerExited)
        })
    }

    /// Its log as it is now.
    pub fn log(&self) -> Log {
        Log::parse(&fs::read_to_string(&self.log).expect("read a container's log"))
    }

    /// Waits until its stdout holds a text.
    pub fn wait_until_it_says(&self, text: &str) {
        e2e::eventually(&format!("{text:?} in a container's log"), || self.log().stdout().contains(text));
    }

    /// Runs a program in it, as an exec probe does.
    ///
    /// # Errors
    /// containerd's words.
    pub fn try_exec(&self, command: &[&str], timeout_seconds: i64) -> Result<ExecSyncResponse, Status> {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: self.id.clone(), cmd, timeout: timeout_seconds };
        self.pod
            .scene
            .node
            .runtime(request, async |mut client: Runtime, request| client.exec_sync(request).await)
    }

    /// Runs a program in it and returns its exit code and stdout.
    pub fn exec(&self, command: &[&str]) -> (i32, String) {
        let answer = self.try_exec(command, 30).unwrap_or_else(|e| panic!("exec {command:?}: {e}"));
        (answer.exit_code, String::from_utf8_lossy(&answer.stdout).into_owned())
    }

    /// Runs a program in it with streams, as `kubectl exec -i` does.
    pub fn exec_stream(&self, command: &[&str], tty: bool) -> Stream {
        let cmd = command.iter().map(|word| (*word).to_owned()).collect();
        // stderr is a stream of its own only without a terminal.
        let request =
            ExecRequest { container_id: self.id.clone(), cmd, tty, stdin: true, stdout: true, stderr: !tty };
        let call = async |mut client: Runtime, request| client.exec(request).await;
        let url = self
            .pod
            .scene
            .node
            .runtime(request, call)
            .unwrap_or_else(|e| panic!("exec {command:?}: {e}"))
            .url;
        Stream::open_process(self.pod.scene.node.network(), &url)
    }

    /// Connects to its own streams, as `kubectl attach -i` does.
    pub fn attach(&self, tty: bool) -> Stream {
        let request =
            AttachRequest { container_id: self.id.clone(), tty, stdin: true, stdout: true, stderr: !tty };
        let call = async |mut client: Runtime, request| client.attach(request).await;
        let url = self.pod.scene.node.runtime(request, call).unwrap_or_else(|e| panic!("attach: {e}")).url;
        Stream::open_process(self.pod.scene.node.network(), &url)
    }

    /// What it uses, as CRI counts it.
    pub fn stats(&self) -> ContainerStats {
        let request = ContainerStatsRequest { container_id: self.id.clone() };
        let call = async |mut client: Runtime, request| client.container_stats(request).await;
        let answer = self.pod.scene.node.runtime(request, call);
        answer.unwrap_or_else(|e| panic!("stats: {e}")).stats.expect("a stats answer holds stats")
    }

    /// Changes its limits.
    ///
    /// # Errors
    /// containerd's words.
    pub fn update(&self, linux: LinuxContainerResources) -> Result<(), Status> {
        let request = UpdateContainerResourcesRequest {
            container_id: self.id.clone(),
            linux: Some(linux),
            ..Default::default()
        };
        let call = async |mut client: Runtime, request| client.update_container_resources(request).await;
        self.pod.scene.node.runtime(request, call).map(drop)
    }

    /// Ends it: SIGTERM, and SIGKILL after so many seconds.
    pub fn stop(&self, timeout_seconds: i64) {
        let request = StopContainerRequest { container_id: self.id.clone(), timeout: timeout_seconds };
        let call = async |mut client: Runtime, request| client.stop_container(request).await;
        self.pod
            .scene
            .node
            .runtime(request, call)
            .unwrap_or_else(|e| panic!("stop container {}: {e}", self.id));
    }

    /// Removes it.
    pub fn remove(&self) {
        let request = RemoveContainerRequest { container_id: self.id.clone() };
        let call = async |mut client: Runtime, request| client.remove_container(request).await;
        self.pod
            .scene
            .node
            .runtime(request, call)
            .unwrap_or_else(|e| panic!("remove container {}: {e}", self.id));
    }
}
