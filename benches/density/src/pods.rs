//! Pods of one container through containerd's CRI plugin, asked for as a kubelet asks, timed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use containerd_client::tonic::transport::Channel;
use cri::api::runtime_service_client::RuntimeServiceClient;
use cri::api::{
    ContainerStatusRequest, CreateContainerRequest, PodSandboxConfig, RemovePodSandboxRequest,
    RunPodSandboxRequest, StartContainerRequest, StopPodSandboxRequest,
};
use cri::kubelet;

use crate::bed::Bed;
use crate::cgroups::{CONTAINERS, SANDBOXES};
use crate::containers::refused;
use crate::launcher::Times;
use crate::log_lines::LogLines;
use crate::options::{Network, Options};
use crate::stack::Stack;

/// Makes pods of one stack.
#[derive(Debug)]
pub struct Pods {
    channel: Channel,
    handler: String,
    image: String,
    args: Vec<String>,
    stdin: bool,
    annotations: HashMap<String, String>,
    host_network: bool,
    /// Of all pods: names of log files are names of pods.
    logs: PathBuf,
    lines: LogLines,
    sandboxes_parent: String,
    containers_parent: String,
    /// Ids of living sandboxes by their pods' names.
    sandboxes: Mutex<HashMap<String, String>>,
}

impl Pods {
    /// Connects to the bed's containerd, imports the images and waits until CRI can make pods.
    pub async fn connect(bed: &Bed, stack: &Stack, options: &Options) -> Result<Pods> {
        let image = stack.image()?;
        bed.import(&cri::pause())?;
        bed.import(&image)?;
        let channel = containerd_client::connect(bed.socket()).await.context("connect to containerd")?;
        let logs = bed.folder.join("logs");
        std::fs::create_dir_all(&logs)?;
        Ok(Pods {
            channel,
            handler: stack.name.clone(),
            image: image.name().to_owned(),
            args: stack.args.clone(),
            stdin: stack.stdin,
            annotations: stack.annotations.iter().cloned().collect(),
            host_network: options.network == Network::Host,
            lines: LogLines::watch(&logs)?,
            logs,
            sandboxes_parent: bed.cgroups.path_of(SANDBOXES),
            containers_parent: bed.cgroups.path_of(CONTAINERS),
            sandboxes: Mutex::default(),
        })
    }

    /// Starts one and waits for its line.
    pub async fn start(&self, name: &str) -> Result<Times> {
        let mut client = RuntimeServiceClient::new(self.channel.clone());
        let config = PodSandboxConfig {
            annotations: self.annotations.clone(),
            ..kubelet::pod(name, self.sandboxes_parent.clone(), &self.logs, self.host_network)
        };
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let mut container = kubelet::container(&config, name, &self.image, &args);
        container.stdin = self.stdin;
        let line = self.lines.expect(&container.log_path);

        let begun = Instant::now();
        let sandbox =
            RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: self.handler.clone() };
        let sandbox = client.run_pod_sandbox(sandbox).await.map_err(|e| refused("run a pod", &e))?;
        let sandbox = sandbox.into_inner().pod_sandbox_id;
        self.sandboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), sandbox.clone());
        let sandboxed = begun.elapsed();
        // A kubelet's pod has one parent for both; here they are apart, so that each can be accounted for.
        let mut of_containers = config;
        if let Some(linux) = &mut of_containers.linux {
            linux.cgroup_parent.clone_from(&self.containers_parent);
        }
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox,
            config: Some(container),
            sandbox_config: Some(of_containers),
        };
        let id = client.create_container(request).await.map_err(|e| refused("create a container", &e))?;
        let id = id.into_inner().container_id;
        let created = begun.elapsed();
        let request = StartContainerRequest { container_id: id.clone() };
        client.start_container(request).await.map_err(|e| refused("start a container", &e))?;
        let started = begun.elapsed();
        let said = match line.await {
            Ok(said) => said,
            Err(e) => {
                let request = ContainerStatusRequest { container_id: id, verbose: false };
                let status =
                    client.container_status(request).await.map_err(|e| refused("ask for a status", &e))?;
                let status = status.into_inner().status.unwrap_or_default();
                let (state, code) = (status.state(), status.exit_code);
                return Err(e.context(format!("{state:?}, exit code {code}, {:?}", status.message)));
            }
        };
        let steps = vec![sandboxed, created - sandboxed, started - created];
        Ok(Times { steps, line: said.saturating_duration_since(begun) })
    }

    /// Removes one with its container.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let id = self.sandboxes.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let id = id.with_context(|| format!("there is no pod {name}"))?;
        let mut client = RuntimeServiceClient::new(self.channel.clone());
        let stop = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
        client.stop_pod_sandbox(stop).await.map_err(|e| refused("stop a pod", &e))?;
        let remove = RemovePodSandboxRequest { pod_sandbox_id: id };
        client.remove_pod_sandbox(remove).await.map_err(|e| refused("remove a pod", &e))?;
        Ok(())
    }
}
