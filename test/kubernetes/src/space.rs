//! A Kubernetes namespace of one test.

use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use e2e::Output;
use serde_json::{Value, json};

use crate::{Cluster, PATIENCE, Pod, PodStatus, eventually};

/// A namespace and what is done in it. Deleted with all that is in it when the test ends.
#[derive(Debug)]
pub struct Space {
    /// Where it is.
    pub cluster: &'static Cluster,
    /// The namespace's name.
    pub name: String,
    _turn: Turn,
}

#[derive(Debug)]
#[expect(dead_code, reason = "guards are held, not looked at")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Space {
    /// One beside those of other tests. The name is the test's alone.
    pub fn new(name: &str) -> Space {
        let turn = Cluster::shared().turn.read().unwrap_or_else(PoisonError::into_inner);
        Space::make(name, Turn::Shared(turn))
    }

    /// One for a test that restarts what all tests need: no other runs meanwhile.
    pub fn alone(name: &str) -> Space {
        let turn = Cluster::shared().turn.write().unwrap_or_else(PoisonError::into_inner);
        Space::make(name, Turn::Alone(turn))
    }

    fn make(name: &str, turn: Turn) -> Space {
        let cluster = Cluster::shared();
        cluster.api.create("/api/v1/namespaces", &json!({ "metadata": { "name": name } }));
        let space = Space { cluster, name: name.to_owned(), _turn: turn };
        let account = space.path("serviceaccounts/default");
        // Without its token no pod is let in.
        eventually("the namespace's account", || {
            space.cluster.api.get(&account).is_some_and(|account| account["secrets"].is_array())
        });
        space
    }

    /// The API's path of something of the core group in here, such as `pods/NAME`.
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// Makes an object of the core group; `kind` is the path's word for it, such as `configmaps`.
    pub fn create(&self, kind: &str, object: &Value) -> Value {
        self.cluster.api.create(&self.path(kind), object)
    }

    /// Makes a pod.
    pub fn pod(&self, pod: &Pod) -> String {
        self.create("pods", &pod.0);
        pod.name()
    }

    /// A pod as it is now.
    ///
    /// # Panics
    /// When there is none of the name.
    pub fn status(&self, pod: &str) -> PodStatus {
        let status = self.cluster.api.get(&self.path(&format!("pods/{pod}")));
        PodStatus(status.unwrap_or_else(|| panic!("no pod {pod}")))
    }

    /// Pods with a label `app` of this value.
    pub fn pods(&self, app: &str) -> Vec<PodStatus> {
        let list = self.cluster.api.get(&self.path(&format!("pods?labelSelector=app%3D{app}")));
        let list = list.expect("there is a list of pods");
        list["items"].as_array().into_iter().flatten().cloned().map(PodStatus).collect()
    }

    /// Waits until something is true of a pod.
    ///
    /// # Panics
    /// After a while, with what is known of the pod.
    pub fn wait(&self, pod: &str, what: &str, is: impl Fn(&PodStatus) -> bool) -> PodStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status(pod);
            if is(&status) {
                return status;
            }
            assert!(
                Instant::now() < until,
                "waited {PATIENCE:?} in vain for pod {pod} {what}: {:#}\n{}",
                status.0["status"],
                self.events()
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Waits until a pod is ready.
    pub fn ready(&self, pod: &str) -> PodStatus {
        self.wait(pod, "to be ready", PodStatus::ready)
    }

    /// Waits until a pod that is not restarted has ended; exit code and reason of its first container.
    pub fn ended(&self, pod: &str) -> (i64, String) {
        let status = self.wait(pod, "to end", |status| status.end().is_some());
        status.end().expect("it has ended")
    }

    /// What kubectl does, in this namespace.
    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        let mut words = vec!["--namespace", &self.name];
        words.extend(args);
        self.cluster.try_kubectl(&words)
    }

    /// What kubectl prints, in this namespace.
    ///
    /// # Panics
    /// When it fails.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).succeeded().text()
    }

    /// The log of a pod's only container.
    pub fn logs(&self, pod: &str) -> String {
        self.kubectl(&["logs", pod])
    }

    /// What the cluster says happened here.
    pub fn events(&self) -> String {
        let list = self.cluster.api.get(&self.path("events")).unwrap_or_default();
        let events = list["items"].as_array().into_iter().flatten();
        let line = |event: &Value| {
            let word = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            let object = event["involvedObject"]["name"].as_str().unwrap_or_default();
            format!("{object}: {} {}", word("reason"), word("message"))
        };
        events.map(line).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.cluster.api.ask("DELETE", &format!("/api/v1/namespaces/{}", self.name), None);
    }
}
