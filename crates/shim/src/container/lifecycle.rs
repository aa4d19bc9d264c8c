//! What happens to a container as a whole, in the order containerd is to learn of it: create, start, oom, exit,
//! delete, and the same for execs.
//!
//! Each function runs to its end in a task of its own, whether its caller waits or not.

use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskIO, TaskPaused, TaskResumed, TaskStart,
};
use containerd_shim_protos::topics;
use protobuf::MessageField;

use super::create::{Creation, check_id};
use super::{Container, Kind, Phase, watch};
use crate::blocking::blocking;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::server::Server;
use crate::stdio;

/// How long the Delete of an exec waits for somebody to read its last words.
const READERS: Duration = Duration::from_secs(1);

/// Creates a container.
///
/// # Errors
/// Those of [`super::create::create`]; [`Error::Exists`]; [`Error::NotFound`] when containerd gave it up meanwhile.
pub async fn create(server: &Arc<Server>, creation: Creation) -> Result<Arc<Container>> {
    check_id(&creation.id)?;
    let claim = server.registry.claim(&creation.id)?;
    let event = TaskCreate {
        container_id: creation.id.clone(),
        bundle: creation.bundle.display().to_string(),
        rootfs: creation.rootfs.clone(),
        io: MessageField::some(TaskIO {
            stdin: creation.stdio.stdin.clone(),
            stdout: creation.stdio.stdout.clone(),
            stderr: creation.stdio.stderr.clone(),
            terminal: creation.stdio.terminal,
            ..TaskIO::default()
        }),
        ..TaskCreate::default()
    };
    let blocking_server = Arc::clone(server);
    let container = Arc::new(blocking(move || super::create::create(&blocking_server, creation)).await?);
    server.quick_moves.entered();
    let event = TaskCreate { pid: container.init.pid as u32, ..event };
    server.publisher.publish(topics::TASK_CREATE_EVENT_TOPIC, &event);
    // A holder of namespaces takes no memory that it could be killed for.
    if container.kind != Kind::Sandbox
        && let Err(e) = server.oom.watch(&container)
    {
        log::error!("watch {} for OOM kills: {e}", container.init.name);
    }
    tokio::spawn(watch::first_process(Arc::clone(server), Arc::clone(&container)));
    // Held until nothing is left: the id, the bundle and the cgroup are free no sooner.
    let Err(_claim) = claim.settle(&container) else { return Ok(container) };
    let exit = container.end().await;
    dismantle(server, &container).await?;
    announce_delete(server, &container, exit);
    Err(Error::NotFound(format!("{} was deleted while it was being created", container.init.name)))
}

/// Starts the first process or an exec; returns its process id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::State`].
pub async fn start(server: &Arc<Server>, container: &Arc<Container>, exec_id: &str) -> Result<u32> {
    let _busy = container.busy.lock().await;
    let process = container.process(exec_id)?;
    if !exec_id.is_empty() {
        // Paused or ended since the exec was added.
        container.init.phase().exec(&container.init.name)?;
    }
    let (pid, container_id, exec_id) = (process.pid as u32, container.id.clone(), exec_id.to_owned());
    let first = exec_id.is_empty();
    let announcing = Arc::clone(server);
    let announce = move || match first {
        true => {
            let event = TaskStart { container_id, pid, ..TaskStart::default() };
            announcing.publisher.publish(topics::TASK_START_EVENT_TOPIC, &event);
        }
        false => {
            let event = TaskExecStarted { container_id, exec_id, pid, ..TaskExecStarted::default() };
            announcing.publisher.publish(topics::TASK_EXEC_STARTED_EVENT_TOPIC, &event);
        }
    };
    if process.starts_slowly() {
        blocking(move || process.start(announce)).await?;
    } else {
        process.start(announce)?;
    }
    if first && container.native.as_ref().is_some_and(|native| native.poststart) {
        let (server, container) = (Arc::clone(server), Arc::clone(container));
        blocking(move || {
            super::native::started(&server, &container);
            Ok(())
        })
        .await?;
    }
    Ok(pid)
}

/// Adds an exec; it is not started.
///
/// # Errors
/// Those of [`super::exec::exec`]; [`Error::Exists`]; [`Error::State`] unless the container runs.
pub async fn exec(
    server: &Arc<Server>,
    container: &Arc<Container>,
    exec_id: String,
    process_json: Vec<u8>,
    request: stdio::Request,
) -> Result<()> {
    check_id(&exec_id)?;
    let _busy = container.busy.lock().await;
    if container.process(&exec_id).is_ok() {
        return Err(Error::Exists(format!("exec {exec_id:?} of {} exists already", container.init.name)));
    }
    container.init.phase().exec(&container.init.name)?;
    let (to_server, to_container, id) = (Arc::clone(server), Arc::clone(container), exec_id.clone());
    let process =
        blocking(move || super::exec::exec(&to_server, &to_container, &id, &process_json, request)).await?;
    server.quick_moves.entered();
    container.add_exec(&exec_id, &process)?;
    let event = TaskExecAdded {
        container_id: container.id.clone(),
        exec_id: exec_id.clone(),
        ..TaskExecAdded::default()
    };
    server.publisher.publish(topics::TASK_EXEC_ADDED_EVENT_TOPIC, &event);
    tokio::spawn(watch::exec(Arc::clone(server), Arc::clone(container), exec_id, process));
    Ok(())
}

/// Freezes a container.
///
/// # Errors
/// Those of [`Container::pause`].
pub async fn pause(server: &Arc<Server>, container: &Arc<Container>) -> Result<()> {
    let _busy = container.busy.lock().await;
    let this = Arc::clone(container);
    blocking(move || this.pause()).await?;
    let event = TaskPaused { container_id: container.id.clone(), ..TaskPaused::default() };
    server.publisher.publish(topics::TASK_PAUSED_EVENT_TOPIC, &event);
    Ok(())
}

/// Lets a frozen container go on.
///
/// # Errors
/// Those of [`Container::resume`].
pub async fn resume(server: &Arc<Server>, container: &Arc<Container>) -> Result<()> {
    let _busy = container.busy.lock().await;
    let this = Arc::clone(container);
    blocking(move || this.resume()).await?;
    let event = TaskResumed { container_id: container.id.clone(), ..TaskResumed::default() };
    server.publisher.publish(topics::TASK_RESUMED_EVENT_TOPIC, &event);
    Ok(())
}

/// Deletes a container or an exec that has ended or was never started; returns its process id and its end.
///
/// # Errors
/// [`Error::State`] while it runs.
pub async fn delete(server: &Arc<Server>, container: &Arc<Container>, exec_id: &str) -> Result<(u32, Exit)> {
    let busy = container.busy.lock().await;
    let process = container.process(exec_id)?;
    process.phase().delete(&process.name)?;
    if exec_id.is_empty() {
        return Ok((process.pid as u32, remove(server, container).await?));
    }
    // A frozen one could not die before Resume, which would wait for this call.
    if process.phase() == Phase::Created && container.init.phase() == Phase::Paused {
        return Err(Error::State(format!("{} is paused: resume it first", container.init.name)));
    }
    // Fails only if it has ended already.
    let _ = process.kill(super::SIGKILL);
    let exit = process.wait().await;
    drop(busy);
    // Clients open an exec's streams at their leisure, and forget them once Delete has answered.
    let _ = tokio::time::timeout(READERS, process.stdio.all_read()).await;
    container.remove_exec(exec_id);
    server.quiet.removed();
    Ok((process.pid as u32, exit))
}

/// Ends a container whatever it is doing, and deletes it. The caller holds `busy`.
///
/// # Errors
/// When something of it cannot be removed; it can then be deleted again.
pub async fn remove(server: &Arc<Server>, container: &Arc<Container>) -> Result<Exit> {
    let exit = container.end().await;
    // Whoever held `busy` before may have removed it, and its id and cgroup may be another container's by now.
    if !server.registry.holds(container) {
        return Ok(exit);
    }
    dismantle(server, container).await?;
    server.quiet.removed();
    if server.registry.remove(container) {
        announce_delete(server, container, exit);
    }
    Ok(exit)
}

async fn dismantle(server: &Arc<Server>, container: &Arc<Container>) -> Result<()> {
    server.oom.unwatch(&container.id);
    let (server, container) = (Arc::clone(server), Arc::clone(container));
    blocking(move || {
        super::native::stopped(&server, &container)?;
        container.dismantle()
    })
    .await
}

fn announce_delete(server: &Server, container: &Container, exit: Exit) {
    let event = TaskDelete {
        container_id: container.id.clone(),
        pid: container.init.pid as u32,
        exit_status: exit.status,
        exited_at: MessageField::some(exit.at.timestamp()),
        ..TaskDelete::default()
    };
    server.publisher.publish(topics::TASK_DELETE_EVENT_TOPIC, &event);
}
