//! Promise: one server process however many containers, and nothing left of them.

use std::collections::BTreeMap;

use e2e::{Bed, Process, Traces, eventually};

const COUNT: usize = 100;

/// Descriptors by kind: socket and pipe numbers differ from run to run.
fn kinds(process: &Process) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for descriptor in process.descriptors() {
        let kind = descriptor.split_once(":[").map_or(descriptor.as_str(), |(kind, _)| kind);
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

#[test]
fn a_hundred_containers_are_one_server_one_zygote_and_a_hundred_guests() {
    let bed = Bed::shared();
    let namespace = bed.namespace("many");
    let image = namespace.import_guests(&["wait", "hello"]);
    let nothing = Traces::of(&namespace);
    assert!(nothing.is_empty(), "{nothing:?}");

    // Whatever the server makes once and keeps is made now.
    namespace.container(&image, "first", &["/bin/hello.wasm"]).run();
    let server = namespace.server();
    let mut quiet = kinds(&server.process);
    eventually("the first container's descriptors to be closed", || {
        let now = kinds(&server.process);
        std::mem::replace(&mut quiet, now.clone()) == now
    });

    let start =
        |i: usize| namespace.container(&image, &format!("c{i}"), &["/bin/wait.wasm"]).stderr("").start();
    let tasks: Vec<_> = (0..COUNT).map(start).collect();
    for task in &tasks {
        task.stdout().wait_until_it_says("ready");
    }

    assert_eq!(namespace.server().process.pid, server.process.pid);
    let zygotes = server.zygotes();
    assert_eq!(zygotes.len(), 1, "{zygotes:?}");
    let children = server.process.children();
    assert_eq!(children.len(), COUNT + 1, "children of the server: {children:?}");
    let mut pids: Vec<_> = tasks.iter().map(|task| task.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), COUNT);
    assert_eq!(bed.cgroups.processes(&namespace.name), pids, "one process per container's cgroup");
    for task in &tasks {
        assert_eq!(task.pids(), [task.pid]);
    }

    tasks.into_iter().for_each(|task| assert_eq!(task.end().code, 137));
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
    // containerd closes its connections when it likes.
    if server.process.is_there() {
        eventually("the server's descriptors to be as before", || {
            let now = kinds(&server.process);
            now == quiet || now.is_empty()
        });
    }
    eventually("the server to end", || Traces::of(&namespace).is_empty());
}

#[test]
fn containers_started_at_the_same_moment_share_one_server() {
    let bed = Bed::shared();
    let namespace = bed.namespace("race");
    let image = namespace.import_guests(&["wait"]);
    let tasks: Vec<_> = std::thread::scope(|scope| {
        let start = |i: usize| namespace.container(&image, &format!("r{i}"), &["/bin/wait.wasm"]).start();
        let threads: Vec<_> = (0..16).map(|i| scope.spawn(move || start(i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let server = namespace.server();
    assert_eq!(server.process.children().len(), tasks.len() + 1);
    std::thread::scope(|scope| {
        for task in tasks {
            scope.spawn(move || assert_eq!(task.end().code, 137));
        }
    });
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
}

#[test]
fn two_namespaces_have_two_servers_and_may_use_the_same_ids() {
    let bed = Bed::shared();
    let namespaces = [bed.namespace("left"), bed.namespace("right")];
    let tasks: Vec<_> = namespaces
        .iter()
        .map(|namespace| {
            let image = namespace.import_guests(&["wait"]);
            namespace.container(&image, "same", &["/bin/wait.wasm"]).start()
        })
        .collect();
    let servers: Vec<_> = namespaces.iter().map(|namespace| namespace.server()).collect();
    assert_ne!(servers[0].process.pid, servers[1].process.pid);
    assert_ne!(servers[0].place, servers[1].place);
    tasks.into_iter().for_each(|task| assert_eq!(task.end().code, 137));
}
