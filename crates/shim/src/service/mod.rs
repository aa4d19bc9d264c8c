//! The ttrpc services: what containerd calls, on one socket.

mod metrics;
mod status;
mod task;

use std::collections::HashMap;
use std::sync::Arc;

use containerd_shim_protos::shim_async::create_task;
use ttrpc::asynchronous::Service;

use self::task::TaskService;
use crate::server::Server;

/// Task v3 is Task v2 under a new name, message for message; containerd 1.6 and 1.7 know the old one only.
const TASK_V2: &str = "containerd.task.v2.Task";

/// Everything to be registered on the socket.
pub fn services(server: &Arc<Server>) -> HashMap<String, Service> {
    let task = Arc::new(TaskService::new(Arc::clone(server)));
    let mut all = create_task(task.clone());
    // The generated table is not clonable, so it is made twice.
    all.extend(create_task(task).into_values().map(|service| (TASK_V2.to_owned(), service)));
    all
}
