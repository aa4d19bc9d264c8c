//! Promise: whatever calls meet, the state stays right and nothing leaks.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{CreateTaskRequest as CreateTask, WaitRequest};
use containerd_client::tonic::Status;
use containerd_shim_protos::api::{PidsRequest, ShutdownRequest, Status as Phase};
use e2e::direct::{Prepared, ask, ask_until, keep, nothing_leaked};
use e2e::{Bed, Namespace, PATIENCE, Process, Traces, eventually};
use ttrpc::Code;

#[test]
fn of_many_creates_of_one_id_one_wins() {
    let bed = Bed::shared();
    let namespace = bed.namespace("creates");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    for _ in 0..5 {
        let barrier = Barrier::new(8);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let create = || {
                barrier.wait();
                prepared.create()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<_> = answers.iter().filter_map(|answer| answer.ok()).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert_eq!(
            answers.iter().filter(|answer| **answer == Err(Code::ALREADY_EXISTS)).count(),
            7,
            "{answers:?}"
        );
        assert_eq!(prepared.state(), Ok(Phase::CREATED));
        let mut expected = vec![keeper.pid, won[0] as i32];
        expected.sort_unstable();
        assert_eq!(bed.cgroups.processes(&namespace.name), expected);
        assert_eq!(prepared.delete(), Ok((won[0], 137)));
    }
    prepared.discard();
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn of_two_creates_through_containerd_one_wins() {
    let bed = Bed::shared();
    let namespace = bed.namespace("through");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    for _ in 0..5 {
        let answers: Vec<_> = std::thread::scope(|scope| {
            let create = || create_through_containerd(&namespace, &prepared, Duration::from_secs(60));
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(create)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let lost: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert_eq!(lost.len(), 1, "{answers:?}");
        assert!(lost[0].message().contains("exists"), "{answers:?}");
        assert_eq!(prepared.kept.state().0, "CREATED");
        assert_eq!(prepared.kept.delete().unwrap(), 137);
    }
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

fn create_through_containerd(
    namespace: &Namespace,
    prepared: &Prepared,
    patience: Duration,
) -> Result<(), Status> {
    let message = CreateTask {
        container_id: prepared.id.clone(),
        rootfs: prepared.rootfs.clone(),
        ..CreateTask::default()
    };
    namespace.client.call(message, async |channel, request| {
        let mut tasks = TasksClient::new(channel);
        let answer = tokio::time::timeout(patience, tasks.create(request)).await;
        answer.unwrap_or_else(|_| Err(Status::cancelled("the client went away"))).map(drop)
    })
}

#[test]
fn a_create_whose_client_goes_away_or_whose_deadline_passes_is_done_or_undone() {
    let bed = Bed::shared();
    let namespace = bed.namespace("away");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    let mut cancelled = 0;
    // Every other one leaves; the rest has a deadline.
    for (turn, time) in (0..80).map(|turn| (turn, Duration::from_micros(1 + turn / 2 * 150))) {
        let answer = match turn % 2 {
            0 => ask(&prepared.address, "Create", &prepared.request(), Some(time)),
            _ => ask_until(&prepared.address, "Create", &prepared.request(), time),
        };
        cancelled += usize::from(answer.is_err_and(|refusal| refusal.code() == Code::CANCELLED));
        let state = prepared.settled();
        assert!([Ok(Phase::CREATED), Err(Code::NOT_FOUND)].contains(&state), "{state:?}");
        // A request may still be in the socket: whoever comes now wins or is told that the id is taken.
        match prepared.create() {
            Ok(_) | Err(Code::ALREADY_EXISTS) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(prepared.settled(), Ok(Phase::CREATED));
        prepared.start().unwrap();
        prepared.discard();
    }
    assert!(cancelled > 0);
    prepared.discard();
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_create_whose_client_leaves_containerd_alone_leaves_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("alone");
    let (image, keeper) = keep(&namespace);
    // An id each: containerd itself loses its way when it is asked for one that it is still cleaning up.
    let prepared: Vec<_> = (0..12).map(|i| Prepared::new(&namespace, &image, &format!("a{i}"))).collect();
    let patience = (0..).map(|i| Duration::from_millis(1 + i * 4));
    let creates = prepared.iter().zip(patience);
    let answers: Vec<_> =
        creates.map(|(prepared, time)| create_through_containerd(&namespace, prepared, time)).collect();
    assert!(answers.iter().any(Result::is_err), "{answers:?}");
    // containerd finishes what it began or undoes it. What it knows can be deleted; what it does not know is gone.
    let bundles = bed.state().join("io.containerd.runtime.v2.task").join(&namespace.name);
    let server = namespace.server().process;
    let left = || {
        let bundles = std::fs::read_dir(&bundles).unwrap().map(|entry| entry.unwrap().file_name());
        (bundles.collect::<Vec<_>>(), server.children())
    };
    let until = Instant::now() + PATIENCE;
    while left().0 != ["keeper"] || left().1.len() != 2 {
        assert!(Instant::now() < until, "more than the keeper is left: {:?}", left());
        for container in &prepared {
            let _ = container.kept.delete();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn calls_that_meet_a_create_are_refused_or_come_after_it() {
    let bed = Bed::shared();
    let namespace = bed.namespace("meet");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    for _ in 0..10 {
        let barrier = Barrier::new(5);
        let go = |call: &dyn Fn() -> Result<(), Code>| {
            barrier.wait();
            for _ in 0..5 {
                let answer = call();
                let fine = [Ok(()), Err(Code::NOT_FOUND), Err(Code::FAILED_PRECONDITION)];
                assert!(fine.contains(&answer), "{answer:?}");
            }
        };
        let pids = PidsRequest { id: "a".into(), ..PidsRequest::default() };
        std::thread::scope(|scope| {
            scope.spawn(|| go(&|| prepared.start()));
            scope.spawn(|| go(&|| prepared.kill()));
            scope.spawn(|| go(&|| prepared.delete().map(drop)));
            scope.spawn(|| {
                go(&|| ask(&prepared.address, "Pids", &pids, None).map(drop).map_err(|e| e.code()))
            });
            barrier.wait();
            // A Delete that comes meanwhile gives it up.
            let created = prepared.create();
            assert!(created.is_ok() || created == Err(Code::NOT_FOUND), "{created:?}");
        });
        prepared.discard();
    }
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_create_is_given_up_by_a_delete_that_meets_it() {
    let bed = Bed::shared();
    let namespace = bed.namespace("given-up");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    let mut met = 0;
    for _ in 0..200 {
        if met == 5 {
            break;
        }
        let created = std::thread::scope(|scope| {
            let create = scope.spawn(|| prepared.create());
            // What containerd does when its client has left: it deletes once, and forgets the container.
            while !create.is_finished() && prepared.state() == Err(Code::NOT_FOUND) {}
            let deleted = prepared.delete();
            (create.join().unwrap(), deleted)
        });
        met += usize::from(created == (Err(Code::NOT_FOUND), Err(Code::NOT_FOUND)));
        assert_eq!(prepared.state(), Err(Code::NOT_FOUND), "{created:?}");
        assert_eq!(bed.cgroups.processes(&namespace.name), [keeper.pid], "{created:?}");
    }
    assert_eq!(met, 5, "Deletes met Creates too rarely");
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn shutdown_ends_nothing_while_there_is_something() {
    let bed = Bed::shared();
    let namespace = bed.namespace("shutdown");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    let server = namespace.server().process;
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let message = ShutdownRequest { id: "a".into(), now: true, ..ShutdownRequest::default() };
                    ask(&prepared.address, "Shutdown", &message, None).unwrap();
                }
            });
        }
        for _ in 0..10 {
            let pid = prepared.create().unwrap();
            prepared.start().unwrap();
            prepared.kill().unwrap();
            eventually("it to stop", || prepared.state() == Ok(Phase::STOPPED));
            assert_eq!(prepared.delete(), Ok((pid, 137)));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(server.is_there());
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_late_delete_does_not_touch_the_next_container_of_the_same_id() {
    let bed = Bed::shared();
    let namespace = bed.namespace("late");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    for _ in 0..20 {
        prepared.create().unwrap();
        let barrier = Barrier::new(5);
        let (deleted, next) = std::thread::scope(|scope| {
            let delete = || {
                barrier.wait();
                prepared.delete()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(delete)).collect();
            barrier.wait();
            let mut next = prepared.create();
            eventually("the id to be free", || {
                if next == Err(Code::ALREADY_EXISTS) {
                    next = prepared.create();
                }
                next != Err(Code::ALREADY_EXISTS)
            });
            (threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>(), next)
        });
        // It was never started, so a delete that came during or after its create may have taken it: and one is told.
        let taken = match next {
            Ok(pid) => deleted.iter().any(|answer| answer.is_ok_and(|(deleted, _)| deleted == pid)),
            Err(code) => code == Code::NOT_FOUND,
        };
        let expected = if taken { Err(Code::NOT_FOUND) } else { Ok(Phase::CREATED) };
        assert_eq!(prepared.state(), expected, "{deleted:?}, then {next:?}");
        let alive = next.is_ok_and(|pid| Process::of(pid as i32).is_some_and(|process| process.is_alive()));
        assert_eq!(alive, !taken);
        prepared.discard();
    }
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn twenty_waiting_clients_are_told_the_same() {
    let bed = Bed::shared();
    let namespace = bed.namespace("waiters");
    let (image, keeper) = keep(&namespace);
    let mut task = namespace.container(&image, "a", &["/bin/cat.wasm", "77"]).input().create().unwrap();
    let client = namespace.client.clone();
    let ask = move || {
        let message = WaitRequest { container_id: "a".into(), ..WaitRequest::default() };
        let answer = client.call(message, async |channel, request| {
            Ok(TasksClient::new(channel).wait(request).await?.into_inner())
        });
        let answer = answer.unwrap();
        (answer.exit_status, answer.exited_at.map(|at| (at.seconds, at.nanos)))
    };
    let mut waiters = Vec::new();
    // Some before its start, some after, some after its end.
    waiters.extend((0..7).map(|_| std::thread::spawn(ask.clone())));
    task.start().unwrap();
    waiters.extend((0..7).map(|_| std::thread::spawn(ask.clone())));
    task.close_input();
    task.wait();
    waiters.extend((0..6).map(|_| std::thread::spawn(ask.clone())));
    let answers: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
    assert_eq!((answers.len(), answers[0].0), (20, 77));
    assert!(answers[0].1.is_some() && answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    task.finish();
    nothing_leaked(&namespace, keeper);
}

#[test]
fn the_same_id_in_two_namespaces_is_two_containers() {
    let bed = Bed::shared();
    let namespaces = [bed.namespace("left"), bed.namespace("right")];
    let start = |namespace: &Namespace, how: &[&str]| {
        let image = namespace.import_guests(&["wait"]);
        namespace.container(&image, "same", &[&["/bin/wait.wasm"], how].concat()).start()
    };
    let left = start(&namespaces[0], &["spin"]);
    let right = start(&namespaces[1], &["sleep"]);
    let (exec, _) = namespaces[1].exec("same", "e", &["/bin/wait.wasm"]).start();
    namespaces[0].ctr().run(&["task", "pause", "same"]).succeeded();
    assert_eq!((left.state().0.as_str(), right.state().0.as_str()), ("PAUSED", "RUNNING"));
    assert_eq!(left.end().code, 137);
    assert_eq!((right.state().0.as_str(), right.pids().len()), ("RUNNING", 2));
    assert!(Traces::of_containers(&namespaces[0]).is_empty());
    exec.end();
    right.end();
}

#[test]
fn starts_kills_and_deletes_that_meet_leave_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("storm");
    let (image, keeper) = keep(&namespace);
    let server = namespace.server().process;
    let events = namespace.events();
    let storm = |thread: usize| {
        for round in 0..3 {
            let id = format!("s{thread}-{round}");
            let container = namespace.container(&image, &id, &["/bin/wait.wasm"]).stdout("").stderr("");
            let task = container.create().unwrap();
            std::thread::scope(|scope| {
                let task = &task;
                scope.spawn(move || task.start());
                scope.spawn(move || task.kill(if thread.is_multiple_of(2) { 9 } else { 15 }));
                scope.spawn(move || task.delete());
            });
            // What is left is ended and removed here.
            drop(task);
        }
    };
    let storm = &storm;
    std::thread::scope(|scope| (0..16).for_each(|thread| drop(scope.spawn(move || storm(thread)))));
    for id in (0..16).flat_map(|thread| (0..3).map(move |round| format!("s{thread}-{round}"))) {
        let told = events.until_deleted(&id);
        let order: Vec<_> = told.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert!(
            [&["create", "exit", "delete"][..], &["create", "start", "exit", "delete"]]
                .contains(&order.as_slice()),
            "{id}: {told:?}"
        );
    }
    assert_eq!(namespace.server().process, server);
    nothing_leaked(&namespace, keeper);
}
