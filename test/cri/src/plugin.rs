//! What containerd reads for its CRI plugin: the plugin's tables, and CNI's network of the node.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// A runtime that a pod can ask for.
#[derive(Debug, Clone)]
pub struct Handler {
    /// By which name.
    pub name: String,
    /// containerd's name of the runtime.
    pub runtime_type: String,
    /// Lines for its table.
    pub more: String,
    /// Lines for the table of its options.
    pub options: String,
}

impl Handler {
    /// runc, or what has its command line.
    pub fn runc(name: &str, program: &Path) -> Handler {
        Handler {
            name: name.to_owned(),
            runtime_type: "io.containerd.runc.v2".to_owned(),
            more: String::new(),
            options: format!("BinaryName = '{}'\n", program.display()),
        }
    }

    /// A shim of its own.
    pub fn shim(name: &str, runtime_type: &str) -> Handler {
        Handler {
            name: name.to_owned(),
            runtime_type: runtime_type.to_owned(),
            more: String::new(),
            options: String::new(),
        }
    }
}

/// The CRI plugin of a private containerd, whose files are all below one folder.
#[derive(Debug)]
pub struct Plugin<'p> {
    /// The folder.
    pub folder: &'p Path,
    /// Whether it is containerd 2 or later: tables have other names there.
    pub is_2: bool,
    /// Holds CNI's plugins.
    pub network_plugins: &'p Path,
    /// The image of a pod's first container.
    pub pause: &'p str,
    /// Address of the registry that all images come from.
    pub registry: Option<&'p str>,
    /// The first is the default.
    pub handlers: &'p [Handler],
}

impl Plugin<'_> {
    /// The tables.
    pub fn tables(&self) -> String {
        let (folder, pause) = (self.folder.display(), self.pause);
        let registries = match self.registry {
            Some(_) => format!("config_path = '{folder}/registries'\n"),
            None => String::new(),
        };
        // `restrict_oom_score_adj`: who runs this may lack CAP_SYS_RESOURCE.
        let common = "restrict_oom_score_adj = true\nnetns_mounts_under_state_dir = true\n";
        let streams = "stream_server_address = '127.0.0.1'\nstream_server_port = '0'\n";
        if self.is_2 {
            let (root, images) = ("io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images");
            format!(
                "[plugins.'{root}']\n{common}{}\
                 [plugins.'{images}'.pinned_images]\nsandbox = '{pause}'\n\
                 [plugins.'{images}'.registry]\n{registries}\
                 [plugins.'io.containerd.grpc.v1.cri']\n{streams}",
                self.runtimes(root)
            )
        } else {
            let root = "io.containerd.grpc.v1.cri";
            format!(
                "[plugins.'{root}']\n{common}sandbox_image = '{pause}'\n{streams}{}\
                 [plugins.'{root}'.registry]\n{registries}",
                self.runtimes(root)
            )
        }
    }

    fn runtimes(&self, root: &str) -> String {
        let default = self.handlers.first().map_or("", |handler| &handler.name);
        let mut text = format!("[plugins.'{root}'.containerd]\ndefault_runtime_name = '{default}'\n");
        for Handler { name, runtime_type, more, options } in self.handlers {
            let table = format!("plugins.'{root}'.containerd.runtimes.{name}");
            // Writing to a string does not fail.
            let _ = write!(text, "[{table}]\nruntime_type = '{runtime_type}'\n{more}");
            if !options.is_empty() {
                let _ = write!(text, "[{table}.options]\n{options}");
            }
        }
        let (folder, plugins) = (self.folder.display(), self.network_plugins.display());
        let _ = write!(text, "[plugins.'{root}'.cni]\nbin_dir = '{plugins}'\nconf_dir = '{folder}/cni'\n");
        text
    }

    /// Writes the network of pods, a bridge, and where images come from.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self) -> io::Result<()> {
        let network = serde_json::json!({
            "cniVersion": "1.0.0", "name": "pods",
            "plugins": [{
                "type": "bridge", "bridge": "pods", "isGateway": true,
                "ipam": {
                    "type": "host-local", "dataDir": self.folder.join("addresses"),
                    "ranges": [[{ "subnet": "10.88.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
                },
            }],
        });
        std::fs::create_dir_all(self.folder.join("cni"))?;
        std::fs::write(self.folder.join("cni/pods.conflist"), network.to_string())?;
        let Some(registry) = self.registry else { return Ok(()) };
        let hosts = self.folder.join("registries/_default");
        std::fs::create_dir_all(&hosts)?;
        let text = format!("[host.\"http://{registry}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
        std::fs::write(hosts.join("hosts.toml"), text)
    }
}
