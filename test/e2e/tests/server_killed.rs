//! Promise: should the server die, no guest outlives it unnoticed and the next container starts as if nothing had been.

use e2e::{Bed, Process, Traces, eventually};
use rustix::process::Signal;

#[test]
fn guests_die_containerd_hears_of_it_and_the_next_container_starts() {
    let bed = Bed::shared();
    let namespace = bed.namespace("killed");
    let image = namespace.import_guests(&["wait", "hello"]);
    let events = namespace.events();
    let run = |how: &str| namespace.container(&image, how, &["/bin/wait.wasm", how]).start();
    let tasks = ["spin", "sleep", "poll"].map(run);
    tasks.iter().for_each(|task| task.stdout().wait_until_it_says("ready"));
    let server = namespace.server();
    let all: Vec<Process> = server.process.descendants();
    assert!(all.len() >= 4, "{all:?}");

    server.process.signal(Signal::KILL);
    for process in all.iter().chain([&server.process]) {
        eventually(&format!("the end of {process:?}"), || !process.is_there());
    }
    for task in &tasks {
        eventually("containerd to hear of the exit", || events.exits(&task.id) == [137]);
    }
    drop(tasks);
    eventually("everything of the containers to be gone", || Traces::of_containers(&namespace).is_empty());

    let next = namespace.container(&image, "next", &["/bin/hello.wasm"]).run();
    assert_eq!(next.text(), "hello from wasm\n");
    assert_ne!(namespace.server().process.pid, server.process.pid);
    eventually("the new server to end", || Traces::of(&namespace).is_empty());
}

#[test]
fn an_id_can_be_used_again_after_its_server_died() {
    let bed = Bed::shared();
    let namespace = bed.namespace("again");
    let image = namespace.import_guests(&["wait", "hello"]);
    let task = namespace.container(&image, "same", &["/bin/wait.wasm", "sleep"]).start();
    let events = namespace.events();
    namespace.server().process.signal(Signal::KILL);
    eventually("containerd to hear of the exit", || events.exits("same") == [137]);
    drop(task);
    eventually("the bundle to be removed", || Traces::of_containers(&namespace).is_empty());
    let again = namespace.container(&image, "same", &["/bin/hello.wasm"]).run();
    assert_eq!(again.text(), "hello from wasm\n");
}

#[test]
fn when_the_zygote_dies_running_guests_live_and_new_ones_start() {
    let bed = Bed::shared();
    let namespace = bed.namespace("zygote");
    let image = namespace.import_guests(&["wait", "hello"]);
    let task = namespace.container(&image, "sleep", &["/bin/wait.wasm", "sleep"]).start();
    let server = namespace.server();
    let zygote = server.zygotes().remove(0);
    zygote.signal(Signal::KILL);
    eventually("the end of the zygote", || !zygote.is_alive());
    let next = namespace.container(&image, "next", &["/bin/hello.wasm"]).run();
    assert_eq!(next.text(), "hello from wasm\n");
    assert_eq!(task.state().0, "RUNNING");
    assert_eq!(task.end().code, 137);
    eventually("the zygote to be reaped", || !zygote.is_there());
}
