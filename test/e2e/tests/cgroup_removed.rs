//! Promise: a container whose cgroup somebody else removed is still answered for, killed and deleted.

use containerd_client::services::v1::PauseTaskRequest;
use containerd_client::tonic::{Code, Status};
use e2e::direct::{keep, nothing_leaked};
use e2e::{Bed, Container, Namespace, Task};

/// Moves the processes elsewhere, and removes the directories: all that root can do.
fn remove_cgroup(namespace: &Namespace, id: &str) {
    let child = format!("{}/{id}", namespace.name);
    namespace.bed.cgroups.remove_behind_its_back(&child, "elsewhere");
    assert!(namespace.bed.cgroups.directories(&child).is_empty());
}

fn pause(task: &Task) -> Result<(), Status> {
    let message = PauseTaskRequest { container_id: task.id.clone() };
    task.call(message, async |mut tasks, request| tasks.pause(request).await.map(drop))
}

/// Without a pid namespace of its own nothing but the shim ends the execs with their container.
fn in_the_host_s_pid_namespace(mut container: Container<'_>) -> Container<'_> {
    let namespaces = container.spec.0["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    container
}

#[test]
fn a_running_container_without_its_cgroup_can_be_looked_at_killed_and_deleted() {
    let bed = Bed::shared();
    let namespace = bed.namespace("running");
    let (image, keeper) = keep(&namespace);
    let events = namespace.events();
    for (id, own_pids) in [("own", true), ("shared", false)] {
        let container = namespace.container(&image, id, &["/bin/wait.wasm", "spin"]);
        let container = if own_pids { container } else { in_the_host_s_pid_namespace(container) };
        let task = container.start();
        task.stdout().wait_until_it_says("ready");
        let (exec, process) = namespace.exec(id, "e", &["/bin/wait.wasm"]).start();
        remove_cgroup(&namespace, id);

        assert_eq!(task.state().0, "RUNNING");
        assert_eq!(task.pids(), [task.pid]);
        task.metrics();
        let words = |refusal: Status| {
            assert_ne!(refusal.code(), Code::Unknown, "{refusal:?}");
            assert!(refusal.message().contains("cgroup"), "{refusal:?}");
        };
        words(pause(&task).unwrap_err());
        words(namespace.exec(id, "late", &["/bin/wait.wasm"]).add().unwrap_err());
        assert_eq!(task.state().0, "RUNNING");

        task.kill(9).unwrap();
        assert_eq!((task.wait(), exec.wait()), (137, 137));
        assert!(!process.is_alive());
        exec.finish();
        task.finish();
        let told = events.until_deleted(id);
        let end = ["exit e 137".to_owned(), format!("exit {id} 137"), "delete".to_owned()];
        assert!(told.ends_with(&end), "{told:?}");
    }
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_created_or_ended_container_without_its_cgroup_can_be_started_and_deleted() {
    let bed = Bed::shared();
    let namespace = bed.namespace("others");
    let (image, keeper) = keep(&namespace);
    let task = namespace.container(&image, "created", &["/bin/hello.wasm"]).create().unwrap();
    remove_cgroup(&namespace, "created");
    task.start().unwrap();
    assert_eq!(task.finish().text(), "hello from wasm\n");

    let task = namespace.container(&image, "never-started", &["/bin/hello.wasm"]).create().unwrap();
    remove_cgroup(&namespace, "never-started");
    assert_eq!(task.delete().unwrap(), 137);
    drop(task);

    let task = namespace.container(&image, "ended", &["/bin/hello.wasm"]).start();
    assert_eq!(task.wait(), 0);
    remove_cgroup(&namespace, "ended");
    assert_eq!(task.finish().code, 0);
    nothing_leaked(&namespace, keeper);
}
