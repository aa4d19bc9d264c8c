//! From the end of a process to the news of it.

use std::sync::Arc;

use containerd_shim_protos::events::task::{TaskExit, TaskOOM};
use containerd_shim_protos::topics;
use protobuf::MessageField;

use super::{Container, Process};
use crate::server::Server;

/// Waits for the first process of a container to end, then tells containerd and everybody who waits.
pub async fn watch(server: Arc<Server>, container: Arc<Container>, process: Arc<Process>) {
    let exit = process.reap().await;
    process.record_end(exit, || {
        if container.cgroup.oom_kills() > 0 {
            let event = TaskOOM { container_id: container.id.clone(), ..TaskOOM::default() };
            server.publisher.publish(topics::TASK_OOM_EVENT_TOPIC, &event);
        }
        let event = TaskExit {
            container_id: container.id.clone(),
            id: container.id.clone(),
            pid: process.pid as u32,
            exit_status: exit.status,
            exited_at: MessageField::some(exit.at.timestamp()),
            ..TaskExit::default()
        };
        server.publisher.publish(topics::TASK_EXIT_EVENT_TOPIC, &event);
    });
}
