//! Promise: should the server die, no guest outlives it unnoticed and the next container starts as if nothing had been.

use e2e::direct::{keep, nothing_leaked, only_the_keeper};
use e2e::{Bed, PATIENCE, Process, Traces, eventually, sleep_a_little, storm};
use rustix::process::Signal;
use std::time::Instant;

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

#[test]
fn a_server_killed_in_a_storm_of_creates_leaves_nothing_and_the_next_one_works() {
    let bed = Bed::shared();
    let namespace = bed.namespace("server-storm");
    let (image, keeper) = keep(&namespace);
    drop(keeper);
    for round in 0..5 {
        let first = namespace.container(&image, "first", &["/bin/wait.wasm"]).start();
        let mut killed = Vec::new();
        storm(&namespace, &image, &format!("r{round}"), || {
            sleep_a_little(50..300);
            let server = namespace.server().process;
            killed = server.descendants();
            server.signal(Signal::KILL);
            killed.push(server);
            // Others are started meanwhile, by a new server.
            sleep_a_little(200..400);
        });
        for process in &killed {
            eventually(&format!("the end of {process:?}"), || !process.is_there());
        }
        drop(first);
        let until = Instant::now() + PATIENCE;
        while !Traces::of_containers(&namespace).is_empty() {
            let left = Traces::of_containers(&namespace);
            assert!(Instant::now() < until, "round {round}: {left:?}");
            namespace.remove_all_but("");
        }
        assert!(namespace.servers().len() <= 1);
        let next = namespace.container(&image, "next", &["/bin/hello.wasm"]).run();
        assert_eq!(next.text(), "hello from wasm\n");
    }
}

#[test]
fn a_zygote_killed_in_a_storm_of_creates_leaves_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("zygote-storm");
    let (image, keeper) = keep(&namespace);
    let server = namespace.server();
    for round in 0..5 {
        let zygote = server.zygotes().remove(0);
        storm(&namespace, &image, &format!("r{round}"), || {
            sleep_a_little(50..300);
            zygote.signal(Signal::KILL);
            sleep_a_little(100..300);
        });
        eventually("the zygote to be reaped", || !zygote.is_there());
        eventually("nothing but the keeper to be left", || {
            namespace.remove_all_but("keeper");
            server.process.children().len() == 2
        });
        only_the_keeper(&namespace, &keeper);
    }
    assert_eq!(namespace.server().process, server.process);
    nothing_leaked(&namespace, keeper);
}
