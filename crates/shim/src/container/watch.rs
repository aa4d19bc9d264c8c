//! From the end of a process to the news of it.

use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::topics;
use protobuf::MessageField;

use super::{Container, Native, Process};
use crate::blocking::blocking;
use crate::exit::Exit;
use crate::server::Server;

/// How long the answer to a Kill may hold back the news of the end that it brought about.
const KILL_ANSWERED: Duration = Duration::from_secs(1);

/// How long the news of an end waits for its last words to be read: containerd 1.6 closes the streams at that news,
/// and `kubectl logs` would lack them. Usually they are read at once; a reader that stalls must not hide the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Waits for a container's first process to end, then tells containerd and everybody who waits.
pub async fn first_process(server: Arc<Server>, container: Arc<Container>) {
    let process = &container.init;
    let exit = process.reap().await;
    let execs = container.execs();
    let others = container.native.as_ref().is_some_and(Native::may_leave_processes);
    if others || !execs.is_empty() {
        // With a pid namespace of its own the kernel has killed them; with the host's or the pod's it has not.
        let this = Arc::clone(&container);
        if let Err(e) = blocking(move || this.kill_rest()).await {
            log::error!("{e}");
        }
        // Their ends are told before the container's. The cgroup alone is not relied on: somebody may have removed it.
        for exec in execs {
            let _ = exec.kill(super::SIGKILL);
            exec.wait().await;
        }
    }
    let _read = tokio::time::timeout(LAST_WORDS, process.stdio.all_read()).await;
    // Not for ever: whoever waits for the end has a right to it too.
    let _answered = tokio::time::timeout(KILL_ANSWERED, container.kills.write()).await;
    process.record_end(exit, || {
        server.oom.report_if_killed(&server.publisher, &container);
        announce(&server, &container, &container.id, process, exit);
    });
}

/// The same for an exec.
pub async fn exec(server: Arc<Server>, container: Arc<Container>, exec_id: String, process: Arc<Process>) {
    let exit = process.reap().await;
    let _read = tokio::time::timeout(LAST_WORDS, process.stdio.all_read_by_clients()).await;
    process.record_end(exit, || announce(&server, &container, &exec_id, &process, exit));
}

fn announce(server: &Server, container: &Container, id: &str, process: &Process, exit: Exit) {
    let event = TaskExit {
        container_id: container.id.clone(),
        id: id.to_owned(),
        pid: process.pid as u32,
        exit_status: exit.status,
        exited_at: MessageField::some(exit.at.timestamp()),
        ..TaskExit::default()
    };
    server.publisher.publish(topics::TASK_EXIT_EVENT_TOPIC, &event);
}
