//! A pod's sandbox: asked for, and made.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpStream};

use containerd_client::tonic::Status;
use e2e::Image;
use k8s_cri::v1::{
    LinuxPodSandboxConfig, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxState,
    PodSandboxStats, PodSandboxStatsRequest, PodSandboxStatus, PodSandboxStatusRequest, PortForwardRequest,
    RemovePodSandboxRequest, RunPodSandboxRequest,
};

use crate::{ContainerSpec, Scene, Stream, WAMR, kubelet};

/// A pod under construction.
#[derive(Debug, Clone)]
#[must_use]
pub struct PodSpec<'s> {
    scene: &'s Scene,
    /// What is asked of CRI, for what has no method here.
    pub config: PodSandboxConfig,
    handler: String,
}

impl<'s> PodSpec<'s> {
    pub(crate) fn new(scene: &'s Scene, name: &str) -> PodSpec<'s> {
        let logs = scene.folder().join(name).join("logs");
        std::fs::create_dir_all(&logs).expect("make a pod's folder of logs");
        let full_name = format!("{}-{name}", scene.name);
        let cgroup = scene.node.bed.cgroups.add(&scene.name);
        let config = kubelet::pod(&full_name, cgroup, &logs, false);
        PodSpec { scene, config, handler: WAMR.to_owned() }
    }

    /// Another runtime handler.
    pub fn handler(mut self, name: &str) -> Self {
        self.handler = name.to_owned();
        self
    }

    /// Whose namespaces it uses: (network, pid, ipc).
    pub fn namespaces(mut self, network: NamespaceMode, pid: NamespaceMode, ipc: NamespaceMode) -> Self {
        let options = NamespaceOption {
            network: network.into(),
            pid: pid.into(),
            ipc: ipc.into(),
            ..NamespaceOption::default()
        };
        self.linux().security_context.get_or_insert_default().namespace_options = Some(options);
        if network == NamespaceMode::Node {
            // The kubelet leaves it to the node's name.
            self.config.hostname.clear();
        }
        self
    }

    /// Sets a kernel parameter.
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        self.linux().sysctls.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.config.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    fn linux(&mut self) -> &mut LinuxPodSandboxConfig {
        self.config.linux.get_or_insert_default()
    }

    /// Makes it.
    ///
    /// # Panics
    /// With containerd's words when that fails.
    pub fn run(self) -> Pod<'s> {
        let name = self.config.hostname.clone();
        self.try_run().unwrap_or_else(|e| panic!("run pod {name}: {e}"))
    }

    /// Makes it, if it can be made.
    ///
    /// # Errors
    /// containerd's words.
    pub fn try_run(self) -> Result<Pod<'s>, Status> {
        let request =
            RunPodSandboxRequest { config: Some(self.config.clone()), runtime_handler: self.handler };
        let call = async |mut client: crate::node::Runtime, request| client.run_pod_sandbox(request).await;
        let id = self.scene.node.runtime(request, call)?.pod_sandbox_id;
        self.scene.owns_pod(&id);
        let pod = Pod { scene: self.scene, id, config: self.config };
        if let Some(path) = pod.network_namespace() {
            self.scene.leaves(&path);
        }
        Ok(pod)
    }
}

/// A pod that was made. Its scene removes it in the end, if the test does not.
#[derive(Debug, Clone)]
pub struct Pod<'s> {
    pub(crate) scene: &'s Scene,
    /// Its sandbox's id.
    pub id: String,
    /// What was asked for.
    pub config: PodSandboxConfig,
}

impl<'s> Pod<'s> {
    /// A container for it, with an image that is pulled if need be.
    pub fn container(&self, name: &str, image: &Image, command: &[&str]) -> ContainerSpec<'s> {
        ContainerSpec::new(self, name, image, command)
    }

    /// What CRI says about it.
    pub fn status(&self) -> PodSandboxStatus {
        self.verbose_status().0
    }

    /// Whether CRI calls it ready.
    pub fn is_ready(&self) -> bool {
        self.status().state() == PodSandboxState::SandboxReady
    }

    /// Its address; none on the host's network.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.status().network?.ip.parse().ok()
    }

    /// The path its network namespace is mounted at; none on the host's network.
    pub fn network_namespace(&self) -> Option<String> {
        let info = self.verbose_status().1;
        let namespaces = info.pointer("/runtimeSpec/linux/namespaces")?.as_array()?;
        let network = namespaces.iter().find(|namespace| namespace["type"] == "network")?;
        network["path"].as_str().map(str::to_owned)
    }

    /// Process id of what holds its namespaces.
    pub fn holder(&self) -> Option<i32> {
        self.verbose_status().1["pid"].as_i64()?.try_into().ok()
    }

    fn verbose_status(&self) -> (PodSandboxStatus, serde_json::Value) {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: true };
        let call = async |mut client: crate::node::Runtime, request| client.pod_sandbox_status(request).await;
        let answer = self
            .scene
            .node
            .runtime(request, call)
            .unwrap_or_else(|e| panic!("status of pod {}: {e}", self.id));
        let info: &HashMap<String, String> = &answer.info;
        let info = info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        (answer.status.expect("a status answer holds a status"), info)
    }

    /// What it uses, as CRI counts it.
    pub fn stats(&self) -> PodSandboxStats {
        let request = PodSandboxStatsRequest { pod_sandbox_id: self.id.clone() };
        let call = async |mut client: crate::node::Runtime, request| client.pod_sandbox_stats(request).await;
        let answer = self
            .scene
            .node
            .runtime(request, call)
            .unwrap_or_else(|e| panic!("stats of pod {}: {e}", self.id));
        answer.stats.expect("a stats answer holds stats")
    }

    /// Opens a connection to one of its ports, as `kubectl port-forward` does.
    pub fn port_forward(&self, port: u16) -> Stream {
        let request = PortForwardRequest { pod_sandbox_id: self.id.clone(), port: vec![port.into()] };
        let call = async |mut client: crate::node::Runtime, request| client.port_forward(request).await;
        let url =
            self.scene.node.runtime(request, call).unwrap_or_else(|e| panic!("forward port {port}: {e}")).url;
        Stream::open_ports(self.scene.node.network(), &url, port)
    }

    /// Connects to one of its ports as a neighbour on the node does, through the pod's address.
    pub fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let address = self.address().unwrap_or(Ipv4Addr::LOCALHOST);
        self.scene.node.network().enter(|| TcpStream::connect((address, port)))
    }

    /// Waits until somebody accepts connections to one of its ports.
    pub fn wait_until_it_listens(&self, port: u16) {
        e2e::eventually(&format!("a listener on port {port}"), || self.connect(port).is_ok());
    }

    /// Ends its containers and takes its network away.
    pub fn stop(&self) {
        self.scene.stop_pod(&self.id).unwrap_or_else(|e| panic!("stop pod {}: {e}", self.id));
    }

    /// Removes it and its containers.
    pub fn remove(&self) {
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        let call = async |mut client: crate::node::Runtime, request| client.remove_pod_sandbox(request).await;
        self.scene.node.runtime(request, call).unwrap_or_else(|e| panic!("remove pod {}: {e}", self.id));
        self.scene.lost_pod(&self.id);
    }
}
