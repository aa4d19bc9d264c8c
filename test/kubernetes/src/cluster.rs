//! A cluster of one node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{OnceLock, RwLock};

use e2e::{Cgroups, Release, bed_script, run, shim_folder, target_folder, test_folder};

use crate::{Api, Node, config, eventually, images};

/// A running cluster and what belongs to it. Everything ends with it, also when a test failed.
#[derive(Debug)]
pub struct Cluster {
    /// Which containerd.
    pub release: &'static Release,
    /// Where its programs run.
    pub node: Node,
    /// Its API server.
    pub api: Api,
    /// Below this cgroup are those of the pods.
    pub cgroups: Cgroups,
    name: String,
    folder: PathBuf,
    /// Held for reading by tests, for writing by those that restart what all tests need.
    pub(crate) turn: RwLock<()>,
}

impl Cluster {
    /// The one that all tests share. They may run side by side.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        extern "C" fn end() {
            if let Some(cluster) = SHARED.get() {
                cluster.end();
            }
        }
        SHARED.get_or_init(|| {
            // Statics are never dropped; the C library calls this when the process exits.
            // SAFETY: `end` is a function without arguments that lives as long as the program.
            assert_eq!(unsafe { libc::atexit(end) }, 0);
            Cluster::start()
        })
    }

    fn start() -> Cluster {
        let release = Release::chosen();
        let name = format!("wamr-bed-{}-0", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        bed_script("fetch.sh", &["cni"]);
        let cni = PathBuf::from(bed_script("fetch.sh", &["path", "cni"]).trim());
        config::write(&folder, &name, release, &cni);
        let path = [
            shim_folder(),
            release.bin.clone(),
            script("fetch.sh", &[]),
            script("build.sh", &["path"]),
            PathBuf::from(std::env::var("PATH").unwrap_or_default()),
        ];
        let path = path.map(|folder| folder.display().to_string()).join(":");
        let cgroups = Cgroups::new(&name);
        let node = Node::start(&folder, &path);
        let api = Api::new(&folder.join("api.sock"));
        let cluster = Cluster { release, node, api, cgroups, name, folder, turn: RwLock::new(()) };
        cluster.bring_up();
        cluster
    }

    fn bring_up(&self) {
        let node = &self.node;
        node.begin("etcd");
        node.begin("kube-apiserver");
        node.begin("containerd");
        node.begin("kubectl");
        eventually("the API server to be ready", || {
            for component in ["etcd", "kube-apiserver", "kubectl"] {
                assert!(node.runs(component), "{component} ended: {}", node.log(component));
            }
            matches!(self.api.ask("GET", "/readyz", None), Ok((200, _)))
        });
        // The kubelet ends when it finds no containerd.
        self.wait_for_containerd();
        for component in ["kube-controller-manager", "kube-scheduler", "kube-proxy", self.kubelet()] {
            node.begin(component);
        }
        images::import(node, &self.folder);
        self.wait_for_node();
        let class = test_folder().parent().expect("test/ lies in the checkout");
        self.kubectl(&[
            "apply",
            "-f",
            &class.join("deploy/kubernetes/runtimeclass.yaml").display().to_string(),
        ]);
    }

    /// The kubelet that speaks this containerd's CRI.
    pub fn kubelet(&self) -> &'static str {
        if self.release.is_2() { "kubelet-v1" } else { "kubelet" }
    }

    /// The cluster's folder, the same inside and outside of the node.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until containerd answers.
    pub fn wait_for_containerd(&self) {
        eventually("containerd to answer", || {
            assert!(self.node.runs("containerd"), "containerd ended: {}", self.node.log("containerd"));
            self.node.run(&["ctr", "version"]).code == 0
        });
    }

    /// Waits until the node is ready.
    pub fn wait_for_node(&self) {
        eventually("the node to be ready", || {
            assert!(self.node.runs(self.kubelet()), "the kubelet ended: {}", self.node.log(self.kubelet()));
            let node = self.api.get("/api/v1/nodes/node").unwrap_or_default();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
    }

    /// What kubectl prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).succeeded().text()
    }

    /// What kubectl does.
    pub fn try_kubectl(&self, args: &[&str]) -> e2e::Output {
        let config = self.folder.join("etc/kubeconfig").display().to_string();
        let mut words = vec!["kubectl", "--kubeconfig", &config];
        words.extend(args);
        self.node.run(&words)
    }

    /// Ends and removes everything. The logs stay, in cargo's target folder.
    fn end(&self) {
        let logs = target_folder().join("kubernetes-logs").join(&self.name);
        self.node.end();
        let _ = fs::create_dir_all(&logs);
        for entry in fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten() {
            let _ = fs::copy(entry.path(), logs.join(entry.file_name()));
        }
        bed_script("end.sh", &[&self.folder.display().to_string(), &self.name]);
    }
}

/// The folder that a script of `test/kubernetes` prints.
fn script(name: &str, args: &[&str]) -> PathBuf {
    let mut command = Command::new(test_folder().join("kubernetes").join(name));
    PathBuf::from(run(command.args(args), b"").succeeded().text().trim())
}
