//! Promise: an OOM kill is told once, before the exit it leads to, and about the right container.

use e2e::{Bed, Container, Namespace, eventually};

const MIB: u64 = 1 << 20;

/// A guest that fills its tmpfs, which WAMR's own limit on linear memory does not see, until the kernel ends it.
fn greedy<'n>(namespace: &'n Namespace, image: &e2e::Image, id: &str) -> Container<'n> {
    let args = ["/bin/file.wasm", "append", "/scratch/x", "128"];
    let container = namespace.container(image, id, &args).memory_limit(16 * MIB);
    container.mount("tmpfs", "tmpfs", "/scratch", &["nosuid", "nodev", "size=256m"])
}

#[test]
fn an_oom_kill_is_told_once_and_before_the_exit() {
    let bed = Bed::shared();
    let namespace = bed.namespace("once");
    let image = namespace.import_guests(&["file"]);
    let events = namespace.events();
    for id in ["first", "second", "third"] {
        assert_eq!(greedy(&namespace, &image, id).run().code, 137);
        let exit = format!("exit {id} 137");
        assert_eq!(events.until_deleted(id), ["create", "start", "oom", &exit, "delete"]);
    }
}

#[test]
fn of_many_containers_those_are_told_that_were_killed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("many");
    let image = namespace.import_guests(&["file", "wait"]);
    let events = namespace.events();
    let modest: Vec<_> = (0..4)
        .map(|i| {
            let container = namespace.container(&image, &format!("modest-{i}"), &["/bin/wait.wasm"]);
            container.memory_limit(16 * MIB).start()
        })
        .collect();
    std::thread::scope(|scope| {
        for i in 0..4 {
            let (namespace, image) = (&namespace, &image);
            scope.spawn(move || assert_eq!(greedy(namespace, image, &format!("greedy-{i}")).run().code, 137));
        }
    });
    for task in modest {
        let id = task.id.clone();
        assert_eq!(task.state().0, "RUNNING");
        task.end();
        let exit = format!("exit {id} 137");
        assert_eq!(events.until_deleted(&id), ["create", "start", &exit, "delete"], "SIGKILL is no OOM");
    }
    for i in 0..4 {
        let id = format!("greedy-{i}");
        let exit = format!("exit {id} 137");
        assert_eq!(events.until_deleted(&id), ["create", "start", "oom", &exit, "delete"]);
    }
}

#[test]
fn the_limit_of_a_pod_is_told_of_the_container_it_hit() {
    let bed = Bed::shared();
    let namespace = bed.namespace("pod");
    let image = namespace.import_guests(&["dirty", "wait"]);
    let events = namespace.events();
    let bystander = namespace.container(&image, "bystander", &["/bin/wait.wasm"]).start();
    bystander.stdout().wait_until_it_says("ready");
    bed.cgroups.limit_memory(&namespace.name, 48 * MIB);
    assert_eq!(namespace.container(&image, "greedy", &["/bin/dirty.wasm", "200"]).run().code, 137);
    assert_eq!(events.until_deleted("greedy"), ["create", "start", "oom", "exit greedy 137", "delete"]);
    assert_eq!(bystander.state().0, "RUNNING");
    bystander.end();
    assert!(!events.until_deleted("bystander").contains(&"oom".to_owned()));
}

#[test]
fn an_oom_kill_of_an_exec_is_told_while_the_container_goes_on() {
    let bed = Bed::shared();
    let namespace = bed.namespace("exec");
    let image = namespace.import_guests(&["dirty", "wait"]);
    let events = namespace.events();
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).memory_limit(16 * MIB).start();
    task.stdout().wait_until_it_says("ready");
    // Each alone is within the limit, so WAMR lets both grow; together they are not.
    let (first, _) = namespace.exec("a", "first", &["/bin/dirty.wasm", "10", "stay"]).start();
    first.stdout().wait_until_it_says("dirtied");
    let (second, _) = namespace.exec("a", "second", &["/bin/dirty.wasm", "9", "stay"]).start();
    eventually("one of the two to be killed", || {
        [&first, &second].iter().any(|exec| exec.state().unwrap() == ("STOPPED".to_owned(), 137))
    });
    eventually("the news of it", || events.told("a").contains(&"oom".to_owned()));
    assert_eq!(task.state().0, "RUNNING");
    drop((first, second));
    // The kernel may need the second one too, before what the first had is given back.
    let kills = bed.cgroups.oom_kills(&format!("{}/a", namespace.name));
    task.end();
    let told = events.until_deleted("a");
    let at = |wanted: &str| told.iter().position(|line| line == wanted);
    let oom = at("oom").unwrap();
    assert_eq!(told.iter().filter(|line| *line == "oom").count(), kills, "{told:?}");
    assert!(oom < at("exit first 137").unwrap().min(at("exit second 137").unwrap()), "{told:?}");
}
