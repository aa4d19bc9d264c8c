//! Promise: containerd's task API means here what it means with runc.

use containerd_client::services::v1::{CheckpointTaskRequest, GetRequest};
use containerd_client::tonic::Code;
use e2e::{Bed, Traces, eventually};

#[test]
fn a_task_goes_from_created_to_running_to_stopped() {
    let bed = Bed::shared();
    let namespace = bed.namespace("states");
    let image = namespace.import_guests(&["cat"]);
    let mut task = namespace.container(&image, "a", &["/bin/cat.wasm", "3"]).input().create().unwrap();
    assert_eq!(task.state(), ("CREATED".to_owned(), 0));
    assert_eq!(task.pids(), [task.pid]);
    task.start().unwrap();
    assert_eq!(task.state(), ("RUNNING".to_owned(), 0));
    assert!(task.start().is_err(), "started twice");
    assert!(task.delete().is_err(), "deleted while it ran");
    assert_eq!(task.state().0, "RUNNING");
    task.close_input();
    assert_eq!(task.wait(), 3);
    assert_eq!(task.state(), ("STOPPED".to_owned(), 3));
    assert_eq!(task.wait(), 3, "Wait answers at once, however often it is asked");
    assert_eq!(task.kill(9).unwrap_err().code(), Code::NotFound);
    assert_eq!(task.finish().code, 3);
    assert!(Traces::of_containers(&namespace).is_empty());
}

#[test]
fn every_waiting_client_is_told_the_same_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("waiters");
    let image = namespace.import_guests(&["cat"]);
    let mut task = namespace.container(&image, "a", &["/bin/cat.wasm", "77"]).input().start();
    let client = namespace.client.clone();
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            std::thread::spawn(move || {
                use containerd_client::services::v1::WaitRequest;
                use containerd_client::services::v1::tasks_client::TasksClient;
                let message = WaitRequest { container_id: "a".into(), ..WaitRequest::default() };
                let answer = client.call(message, async |channel, request| {
                    Ok(TasksClient::new(channel).wait(request).await?.into_inner().exit_status)
                });
                answer.unwrap()
            })
        })
        .collect();
    task.close_input();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 77);
    }
    assert_eq!(task.finish().code, 77);
}

#[test]
fn events_come_in_order_with_the_exit_code() {
    let bed = Bed::shared();
    let namespace = bed.namespace("events");
    let image = namespace.import_guests(&["exit"]);
    let events = namespace.events();
    let expected = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    for i in 0..5 {
        let id = format!("e{i}");
        namespace.container(&image, &id, &["/bin/exit.wasm", "9"]).run();
        eventually("the last event", || events.topics(&id).iter().any(|topic| topic == "/tasks/delete"));
        assert_eq!(events.topics(&id), expected);
        assert_eq!(events.exits(&id), [9]);
    }
}

#[test]
fn metrics_are_of_the_type_kubernetes_reads() {
    let bed = Bed::shared();
    let namespace = bed.namespace("metrics");
    let image = namespace.import_guests(&["dirty"]);
    let task =
        namespace.container(&image, "a", &["/bin/dirty.wasm", "8", "stay"]).memory_limit(64 << 20).start();
    task.stdout().wait_until_it_says("dirtied");
    let data = task.metrics().data.unwrap();
    let types = ["io.containerd.cgroups.v1.Metrics", "io.containerd.cgroups.v2.Metrics"];
    assert!(types.contains(&data.type_url.as_str()), "{}", data.type_url);
    assert!(!data.value.is_empty());
    let printed = namespace.ctr().run(&["task", "metrics", "--format", "json", "a"]).succeeded().text();
    assert!(printed.contains("67108864"), "the memory limit is in {printed}");
    task.end();
}

#[test]
fn ctr_lists_tasks_and_their_processes() {
    let bed = Bed::shared();
    let namespace = bed.namespace("lists");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let pid = task.pid.to_string();
    let list = namespace.ctr().run(&["task", "ls"]).succeeded().text();
    assert!(list.lines().any(|line| line.contains(&pid) && line.contains("RUNNING")), "{list}");
    let processes = namespace.ctr().run(&["task", "ps", "a"]).succeeded().text();
    assert!(processes.contains(&pid), "{processes}");
    task.end();
}

#[test]
fn what_is_not_implemented_says_so_in_words() {
    let bed = Bed::shared();
    let namespace = bed.namespace("unimplemented");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let message = CheckpointTaskRequest { container_id: "a".into(), ..CheckpointTaskRequest::default() };
    let refusal =
        task.call(message, async |mut tasks, request| tasks.checkpoint(request).await.map(drop)).unwrap_err();
    assert!(refusal.message().to_lowercase().contains("checkpoint"), "{refusal:?}");
    assert_eq!(task.state().0, "RUNNING");
    task.end();
}

#[test]
fn a_deleted_task_is_not_found() {
    let bed = Bed::shared();
    let namespace = bed.namespace("notfound");
    let image = namespace.import_guests(&["hello", "wait"]);
    let other = namespace.container(&image, "other", &["/bin/wait.wasm"]).start();
    namespace.container(&image, "a", &["/bin/hello.wasm"]).run();
    let message = GetRequest { container_id: "a".into(), ..GetRequest::default() };
    let refusal =
        other.call(message, async |mut tasks, request| tasks.get(request).await.map(drop)).unwrap_err();
    assert_eq!(refusal.code(), Code::NotFound);
    // The id is free again.
    assert_eq!(namespace.container(&image, "a", &["/bin/hello.wasm"]).run().code, 0);
    other.end();
}
