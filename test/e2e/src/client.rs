//! containerd's gRPC API, one blocking call at a time.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Status};
use containerd_client::types::Envelope;
use prost::Message;
use prost_types::Any;

use crate::{PATIENCE, eventually};

/// Speaks to one containerd about one namespace. Connects for each call, so that it outlives a restart.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    namespace: String,
}

impl Client {
    /// Does nothing yet.
    pub fn new(socket: &Path, namespace: &str) -> Client {
        Client { socket: socket.to_owned(), namespace: namespace.to_owned() }
    }

    /// Makes one call: `client.call(message, async |channel, request| ...)`.
    ///
    /// # Errors
    /// containerd's answer, or that it cannot be reached.
    ///
    /// # Panics
    /// When no answer comes in time.
    pub fn call<M, R>(
        &self,
        message: M,
        call: impl AsyncFnOnce(Channel, Request<M>) -> Result<R, Status>,
    ) -> Result<R, Status> {
        block(async {
            let asked = async {
                let channel = containerd_client::connect(&self.socket).await;
                let channel =
                    channel.map_err(|e| Status::unavailable(format!("connect to containerd: {e}")))?;
                call(channel, self.request(message)).await
            };
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            answer.unwrap_or_else(|_| panic!("containerd gave no answer within {PATIENCE:?}"))
        })
    }

    /// containerd's version.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn version(&self) -> Result<String, Status> {
        self.call((), async |channel, request| {
            Ok(VersionClient::new(channel).version(request).await?.into_inner().version)
        })
    }

    /// Records all events of the namespace from now on.
    pub fn events(&self) -> Events {
        let events = Events { seen: Arc::default() };
        let (client, seen) = (self.clone(), Arc::clone(&events.seen));
        runtime().spawn(async move {
            let channel = containerd_client::connect(&client.socket).await.expect("connect to containerd");
            let filters = vec![format!("namespace=={}", client.namespace)];
            let request = client.request(SubscribeRequest { filters });
            let stream = EventsClient::new(channel).subscribe(request).await;
            let mut stream = stream.expect("subscribe to events").into_inner();
            while let Ok(Some(envelope)) = stream.message().await {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(envelope);
            }
        });
        // The subscription holds once one of our own comes through it.
        eventually("the event subscription", || {
            let event = Any { type_url: "containerd.events.TaskOOM".into(), value: Vec::new() };
            let message = PublishRequest { topic: "/e2e/ready".into(), event: Some(event) };
            let sent = self.call(message, async |channel, request| {
                EventsClient::new(channel).publish(request).await.map(drop)
            });
            sent.expect("publish an event");
            std::thread::sleep(std::time::Duration::from_millis(20));
            !events.seen.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        });
        events
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let namespace = self.namespace.parse().expect("namespaces are plain text");
        request.metadata_mut().insert("containerd-namespace", namespace);
        request
    }
}

/// Events as they came.
#[derive(Debug)]
pub struct Events {
    seen: Arc<Mutex<Vec<Envelope>>>,
}

impl Events {
    /// Topics of the task events about a container, in order.
    pub fn topics(&self, container: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let about = |envelope: &&Envelope| {
            // All task events begin with the container's id, as this smallest one does.
            let event = envelope.event.as_ref().map(|event| event.value.as_slice()).unwrap_or_default();
            let id = containerd_client::events::TaskOom::decode(event).map(|event| event.container_id);
            envelope.topic.starts_with("/tasks/") && id.is_ok_and(|id| id == container)
        };
        seen.iter().filter(about).map(|envelope| envelope.topic.clone()).collect()
    }

    /// Task events about a container in order, each as the last part of its topic and, for those that name them, the id
    /// of the process and its exit code: `exit a 137`.
    pub fn told(&self, container: &str) -> Vec<String> {
        use containerd_client::events::{TaskExecAdded, TaskExecStarted, TaskExit};
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |envelope: &Envelope| {
            let bytes = envelope.event.as_ref()?.value.as_slice();
            let about = containerd_client::events::TaskOom::decode(bytes).ok()?.container_id;
            let topic = envelope.topic.strip_prefix("/tasks/")?;
            let words = match topic {
                "exit" => {
                    TaskExit::decode(bytes).map(|exit| format!("exit {} {}", exit.id, exit.exit_status))
                }
                "exec-added" => {
                    TaskExecAdded::decode(bytes).map(|exec| format!("exec-added {}", exec.exec_id))
                }
                "exec-started" => {
                    TaskExecStarted::decode(bytes).map(|exec| format!("exec-started {}", exec.exec_id))
                }
                other => Ok(other.to_owned()),
            };
            (about == container).then(|| words.expect("an event of its topic's type"))
        };
        seen.iter().filter_map(line).collect()
    }

    /// Waits until the container's deletion was told, and returns what [`Events::told`] until then.
    pub fn until_deleted(&self, container: &str) -> Vec<String> {
        eventually("the news of a container's deletion", || {
            self.told(container).iter().any(|line| line == "delete")
        });
        self.told(container)
    }

    /// The containers whose deletion was told, in order.
    pub fn deleted(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let deletions = seen.iter().filter(|envelope| envelope.topic == "/tasks/delete");
        let id = |envelope: &Envelope| {
            let event = envelope.event.as_ref()?.value.as_slice();
            Some(containerd_client::events::TaskDelete::decode(event).ok()?.container_id)
        };
        deletions.filter_map(id).collect()
    }

    /// Exit codes told by the exit events about a container.
    pub fn exits(&self, container: &str) -> Vec<u32> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let exits = seen.iter().filter(|envelope| envelope.topic == "/tasks/exit").filter_map(|envelope| {
            containerd_client::events::TaskExit::decode(envelope.event.as_ref()?.value.as_slice()).ok()
        });
        exits.filter(|exit| exit.container_id == container).map(|exit| exit.exit_status).collect()
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("start the runtime")
    })
}

/// Runs a future to its end on the test's own thread.
pub fn block<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}
