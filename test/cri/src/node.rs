//! A node without a kubelet: containerd, CNI and a registry.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use e2e::{Bed, Client, Image, Network, RUNTIME, Release, Server, Setup, base_config, bed_script, wait_for};
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{ImageSpec, PullImageRequest, StatusRequest};

use crate::images::{PAUSE, pause};
use crate::registry::Registry;
use crate::{Handler, Plugin, RUNC, Scene, WAMR, WAMR_WITH_PAUSE, WAMR_WITH_RUNC};

/// Client of the runtime service.
pub(crate) type Runtime = RuntimeServiceClient<Channel>;

/// Where the registry listens, inside the node's network.
const REGISTRY: &str = "127.0.0.1:5000";

/// See the module.
#[derive(Debug)]
pub struct Node {
    /// containerd and what belongs to it.
    pub bed: Arc<Bed>,
    /// Where its images come from.
    pub registry: Registry,
    client: Client,
    pulled: Mutex<Vec<String>>,
}

impl Node {
    /// The one that the tests of this binary share, as they may run side by side.
    pub fn shared() -> Arc<Node> {
        static SHARED: OnceLock<Arc<Node>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Node::on(Bed::shared_with(Node::setup(config))))))
    }

    /// One of a test's own, for tests that kill containerd or count what is on it.
    pub fn own() -> Arc<Node> {
        Arc::new(Node::on(Bed::own_with(Node::setup(config))))
    }

    /// One whose handler `wamr` is asked for pods by the Sandbox API, without a pause container.
    pub fn with_sandbox_api() -> Arc<Node> {
        Arc::new(Node::on(Bed::own_with(Node::setup(config_with_sandbox_api))))
    }

    fn setup(config: fn(&Path, &Release) -> String) -> Setup {
        Setup { config, own_network: true, ..Setup::TASKS }
    }

    fn on(bed: Arc<Bed>) -> Node {
        let listener =
            bed.network.as_ref().expect("a node has a network").enter(|| TcpListener::bind(REGISTRY));
        let registry = Registry::serve(listener.expect("listen on the node's loopback"));
        registry.add(&pause());
        let client = Client::new(&bed.socket(), "k8s.io");
        let node = Node { bed, registry, client, pulled: Mutex::default() };
        node.wait_until_ready();
        node
    }

    /// Waits until pods can be made: containerd has read the network's configuration.
    pub fn wait_until_ready(&self) {
        wait_for("runtime and network to be ready", || {
            let status = self
                .runtime(StatusRequest::default(), async |mut client, request| client.status(request).await);
            let conditions = status.ok()?.status?.conditions;
            conditions
                .iter()
                .all(|condition| condition.status || condition.r#type == "ContainerdHasNoDeprecationWarnings")
                .then_some(())
        });
    }

    /// What one test does here.
    pub fn scene(self: &Arc<Node>, name: &str) -> Scene {
        Scene::new(Arc::clone(self), name)
    }

    /// Has the node pull an image, once.
    pub fn pull(&self, image: &Image) {
        let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        if pulled.iter().any(|name| name == image.name()) {
            return;
        }
        self.try_pull(image).unwrap_or_else(|e| panic!("pull {}: {e}", image.name()));
        pulled.push(image.name().to_owned());
    }

    /// The same, for pulls that may fail, and as often as it is asked.
    ///
    /// # Errors
    /// containerd's words.
    pub fn try_pull(&self, image: &Image) -> Result<String, Status> {
        self.registry.add(image);
        let image = Some(ImageSpec { image: image.name().to_owned(), ..ImageSpec::default() });
        let request = PullImageRequest { image, ..PullImageRequest::default() };
        let answer = self.images(request, async |mut client, request| client.pull_image(request).await);
        Ok(answer?.image_ref)
    }

    /// Makes one call of the runtime service.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn runtime<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(
            RuntimeServiceClient<Channel>,
            Request<M>,
        ) -> Result<containerd_client::tonic::Response<R>, Status>,
    ) -> Result<R, Status> {
        self.client.call(message, async |channel, request| {
            Ok(call(RuntimeServiceClient::new(channel), request).await?.into_inner())
        })
    }

    /// Makes one call of the image service.
    ///
    /// # Errors
    /// containerd's answer.
    pub fn images<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(
            ImageServiceClient<Channel>,
            Request<M>,
        ) -> Result<containerd_client::tonic::Response<R>, Status>,
    ) -> Result<R, Status> {
        self.client.call(message, async |channel, request| {
            Ok(call(ImageServiceClient::new(channel), request).await?.into_inner())
        })
    }

    /// The node's network.
    pub fn network(&self) -> &Network {
        self.bed.network.as_ref().expect("a node has a network")
    }

    /// The one shim server.
    ///
    /// # Panics
    /// When there is none or more than one.
    pub fn server(&self) -> Server {
        let mut servers = Server::find(&self.bed.socket(), "k8s.io");
        assert_eq!(servers.len(), 1, "servers of the node: {servers:?}");
        servers.remove(0)
    }

    /// For failed tests: the last lines of containerd's log that mention a word, and of the shim server's.
    pub(crate) fn explain(&self, words: &[String]) {
        for server in Server::find(&self.bed.socket(), "k8s.io") {
            let log = fs::read_to_string(server.place.join("log")).unwrap_or_default();
            eprintln!("--- log of the shim's server:\n{}", last_lines(log.lines(), 20));
        }
        let log = self.bed.log();
        let ours = log.lines().filter(|line| words.iter().any(|word| line.contains(word.as_str())));
        eprintln!("--- containerd about it:\n{}", last_lines(ours, 30));
    }
}

fn last_lines<'l>(lines: impl Iterator<Item = &'l str>, count: usize) -> String {
    let lines: Vec<_> = lines.collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn config(folder: &Path, release: &Release) -> String {
    with_cri(folder, release, "")
}

fn config_with_sandbox_api(folder: &Path, release: &Release) -> String {
    with_cri(folder, release, "sandboxer = \"shim\"\n")
}

/// A configuration with the CRI plugin; `wamr` is more for that handler's table. Writes CNI's and the registry's as well.
fn with_cri(folder: &Path, release: &Release, wamr: &str) -> String {
    bed_script("fetch.sh", &["cni"]);
    let network_plugins = bed_script("fetch.sh", &["path", "cni"]);
    let annotations =
        "pod_annotations = ['wamr.containerd.io/*']\ncontainer_annotations = ['wamr.containerd.io/*']\n";
    let runc = release.program("runc");
    let native_runtime = format!("native_runtime = '{}'\n", runc.display());
    let with_settings = |name: &str, settings: &str| {
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, settings).expect("write a handler's settings");
        let options = format!("TypeUrl = 'runtimeoptions.v1.Options'\nConfigPath = '{}'\n", file.display());
        Handler { options, ..Handler::shim(name, RUNTIME) }
    };
    let handlers = [
        Handler::runc(RUNC, &runc),
        Handler { more: format!("{annotations}{wamr}"), ..Handler::shim(WAMR, RUNTIME) },
        with_settings(WAMR_WITH_RUNC, &native_runtime),
        with_settings(WAMR_WITH_PAUSE, "native_pause = true\n"),
    ];
    let plugin = Plugin {
        folder,
        is_2: release.is_2(),
        network_plugins: Path::new(network_plugins.trim()),
        pause: PAUSE,
        registry: Some(REGISTRY),
        handlers: &handlers,
    };
    plugin.write().expect("write the configuration of network and registry");
    base_config(folder, release, &[]) + &plugin.tables()
}
