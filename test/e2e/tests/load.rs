//! Promise: after many containers and many execs the server is as small as before.
//!
//! By default with a part of the load; `make test-load` runs all of it and prints what was measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::direct::{keep, nothing_leaked};
use e2e::{Bed, Image, Namespace, PATIENCE, Process, Server, Task, full};

/// Containers created, run and deleted, so many at a time.
const PARALLEL: usize = 32;
/// Execs per second.
const RATE: u32 = 50;
/// What the server's private memory may differ by afterwards.
const SLACK: u64 = 1 << 20;

/// Containers one after the other, containers at once, seconds of execs.
fn load() -> (usize, usize, u64) {
    if full() { (1000, 400, 60) } else { (160, 60, 5) }
}

/// What must not grow.
#[derive(Debug, Clone, PartialEq)]
struct Size {
    memory: u64,
    threads: usize,
    descriptors: BTreeMap<String, usize>,
}

impl Size {
    fn of(server: &Process) -> Size {
        let mut descriptors = BTreeMap::new();
        for descriptor in server.descriptors() {
            let kind = descriptor.split_once(":[").map_or(descriptor.as_str(), |(kind, _)| kind);
            *descriptors.entry(kind.to_owned()).or_default() += 1;
        }
        Size { memory: server.private_memory(), threads: server.threads(), descriptors }
    }

    /// Once it has stayed the same for some seconds: threads end after a while without work.
    fn settled(server: &Process) -> Size {
        let mut size = Size::of(server);
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_secs(7) {
            std::thread::sleep(Duration::from_millis(200));
            let now = Size::of(server);
            if (now.threads, &now.descriptors) != (size.threads, &size.descriptors) {
                since = Instant::now();
            }
            size = now;
        }
        size
    }
}

/// Runs containers to their ends, [`PARALLEL`] at a time.
fn run_through(namespace: &Namespace, image: &Image, tag: &str, count: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let id = format!("{tag}{number}");
                    let container = namespace.container(image, &id, &["/bin/hello.wasm"]);
                    assert_eq!(container.stdout("").stderr("").run().code, 0, "{id}");
                }
            });
        }
    });
}

/// So many that wait, at once.
fn wait_at_once(namespace: &Namespace, image: &Image, count: usize) -> Vec<Task> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let start = || {
            let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
            let start = |number| {
                let id = format!("alive{number}");
                namespace.container(image, &id, &["/bin/wait.wasm"]).stdout("").stderr("").start()
            };
            numbers.take_while(|number| *number < count).map(start).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(start)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Execs in all of them in turn, at a rate of [`RATE`] as far as this machine goes; returns how many.
fn execs(namespace: &Namespace, tasks: &[Task], seconds: u64) -> usize {
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let due = begin + Duration::from_secs(1) * number as u32 / RATE;
                    if due.max(Instant::now()) >= begin + Duration::from_secs(seconds) {
                        next.fetch_sub(1, Ordering::Relaxed);
                        break;
                    }
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let task = &tasks[number % tasks.len()];
                    let exec = namespace.exec(&task.id, &format!("e{number}"), &["/bin/hello.wasm"]);
                    let finished = exec.run();
                    assert_eq!((finished.code, finished.text().as_str()), (0, "hello from wasm\n"));
                }
            });
        }
    });
    next.into_inner()
}

#[test]
fn a_server_is_as_small_after_its_load_as_before() {
    let bed = Bed::own();
    let namespace = bed.namespace("load");
    let (image, keeper) = keep(&namespace);
    let Server { process: server, .. } = namespace.server();
    let (one_after_the_other, at_once, seconds) = load();

    // Whatever is made once and kept is made now.
    run_through(&namespace, &image, "warm", 2 * PARALLEL);
    execs(&namespace, std::slice::from_ref(&keeper), 1);
    let before = Size::settled(&server);
    println!("before: {before:?}");

    let begin = Instant::now();
    run_through(&namespace, &image, "c", one_after_the_other);
    let time = begin.elapsed();
    println!(
        "{one_after_the_other} containers, {PARALLEL} at a time: {time:?}, then {:?}",
        Size::of(&server)
    );

    let tasks = wait_at_once(&namespace, &image, at_once);
    let alive = Size::of(&server);
    let ran = execs(&namespace, &tasks, seconds);
    println!("{at_once} alive: {alive:?}; {ran} execs in {seconds} s, then {:?}", Size::of(&server));
    assert!(ran > 0);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    assert_eq!(task.state().0, "RUNNING", "{}", task.id);
                    task.kill(9).unwrap();
                    assert_eq!(task.wait(), 137);
                    assert_eq!(task.delete().unwrap(), 137);
                }
            });
        }
    });
    drop(tasks);

    let until = Instant::now() + PATIENCE;
    loop {
        let after = Size::settled(&server);
        println!("after: {after:?}");
        let grown = after.memory > before.memory + SLACK
            || after.threads > before.threads
            || after.descriptors != before.descriptors;
        if !grown {
            break;
        }
        assert!(Instant::now() < until, "before: {before:?}\nafter: {after:?}");
    }
    nothing_leaked(&namespace, keeper);
}
