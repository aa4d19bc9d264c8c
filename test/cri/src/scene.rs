//! What one test does on a node.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use containerd_client::tonic::Status;
use k8s_cri::v1::{RemovePodSandboxRequest, StopPodSandboxRequest};

use crate::{Node, PodSpec, Traces};

/// Pods of one test, in a cgroup of their own. All are removed when it is dropped, and then it fails the test if
/// anything of them is left.
#[derive(Debug)]
pub struct Scene {
    /// Where it plays.
    pub node: Arc<Node>,
    /// Its name: part of the names of its pods, its cgroup and its folder.
    pub name: String,
    pods: Mutex<Vec<String>>,
    traces: Mutex<Vec<String>>,
}

impl Scene {
    pub(crate) fn new(node: Arc<Node>, name: &str) -> Scene {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        node.bed.cgroups.add(&name);
        let scene = Scene { node, name, pods: Mutex::default(), traces: Mutex::default() };
        fs::create_dir_all(scene.folder()).expect("make a scene's folder");
        scene
    }

    /// A folder of the test's own on the host: logs, volumes.
    pub fn folder(&self) -> PathBuf {
        self.node.bed.folder().join("pods").join(&self.name)
    }

    /// A pod as Kubernetes asks for one by default, for the handler `wamr`.
    pub fn pod(&self, name: &str) -> PodSpec<'_> {
        PodSpec::new(self, name)
    }

    /// What is there now of the test's pods.
    pub fn traces(&self) -> Traces {
        let ids = self.traces.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Traces::of(&self.node, &self.name, &ids)
    }

    /// Remembers a pod, to be removed in the end.
    pub(crate) fn owns_pod(&self, id: &str) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
        self.leaves(id);
    }

    /// A test removed a pod itself.
    pub(crate) fn lost_pod(&self, id: &str) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).retain(|pod| pod != id);
    }

    /// Remembers an id or path, of which nothing may be left in the end.
    pub(crate) fn leaves(&self, word: &str) {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).push(word.to_owned());
    }

    /// Ends a pod's containers and takes its network away. containerd kills a container that ends at this very moment over
    /// a connection that it has just closed; a kubelet tries again, whatever the reason.
    pub(crate) fn stop_pod(&self, id: &str) -> Result<(), Status> {
        let stop = || {
            let stop = StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
            self.node.runtime(stop, async |mut client, request| client.stop_pod_sandbox(request).await)
        };
        stop().or_else(|_| stop()).map(drop)
    }

    /// Removes all pods.
    fn clear(&self) {
        for id in std::mem::take(&mut *self.pods.lock().unwrap_or_else(PoisonError::into_inner)) {
            let stopped = self.stop_pod(&id);
            let remove = RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
            let removed = self
                .node
                .runtime(remove, async |mut client, request| client.remove_pod_sandbox(request).await);
            if !std::thread::panicking() {
                stopped.unwrap_or_else(|e| panic!("stop pod {id}: {e}"));
                removed.unwrap_or_else(|e| panic!("remove pod {id}: {e}"));
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.node.explain(&self.traces.lock().unwrap_or_else(PoisonError::into_inner));
            return self.clear();
        }
        self.clear();
        // A runtime may take a moment after it has answered: runc's shim is a process that ends by itself.
        let until = Instant::now() + Duration::from_secs(20);
        while !self.traces().is_empty() {
            assert!(Instant::now() < until, "left of {}: {:#?}", self.name, self.traces());
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::remove_dir_all(self.folder()).expect("remove a scene's folder");
    }
}
