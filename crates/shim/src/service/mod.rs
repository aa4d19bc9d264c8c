//! The ttrpc services: what containerd calls, on one socket.

mod metrics;
mod sandbox;
mod status;
mod task;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use containerd_shim_protos::sandbox_async::create_sandbox;
use containerd_shim_protos::shim_async::create_task;
use ttrpc::asynchronous::Service;

use self::sandbox::SandboxService;
use self::status::status;
use self::task::TaskService;
use crate::error::{Error, Result};
use crate::server::Server;

/// Task v3 is Task v2 under a new name, message for message; containerd 1.6 and 1.7 know the old one only.
const TASK_V2: &str = "containerd.task.v2.Task";

/// Everything to be registered on the socket.
pub fn services(server: &Arc<Server>) -> HashMap<String, Service> {
    let task = Arc::new(TaskService::new(Arc::clone(server)));
    let mut all = create_task(task.clone());
    // The generated table is not clonable, so it is made twice.
    all.extend(create_task(task).into_values().map(|service| (TASK_V2.to_owned(), service)));
    all.extend(create_sandbox(Arc::new(SandboxService::new(Arc::clone(server)))));
    all
}

/// Runs `work` to its end even if nobody waits for it any more, and whatever happens in it.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> ttrpc::Result<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|e| Err(Error::Internal(format!("a bug in the shim: {e}")))).map_err(|e| status(&e))
}
