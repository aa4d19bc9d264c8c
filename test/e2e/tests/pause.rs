//! Promise: a paused container stands still with all its processes, and can be resumed, looked at and killed.

use std::fs;
use std::time::Duration;

use containerd_client::services::v1::{PauseTaskRequest, ResumeTaskRequest};
use containerd_client::tonic::{Code, Status};
use e2e::{Bed, Task, Traces, eventually};

fn pause(task: &Task) -> Result<(), Status> {
    let message = PauseTaskRequest { container_id: task.id.clone() };
    task.call(message, async |mut tasks, request| tasks.pause(request).await.map(drop))
}

fn resume(task: &Task) -> Result<(), Status> {
    let message = ResumeTaskRequest { container_id: task.id.clone() };
    task.call(message, async |mut tasks, request| tasks.resume(request).await.map(drop))
}

/// Nanoseconds a process was on a processor (`Documentation/scheduler/sched-stats.rst`).
fn time_on_processor(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// For a while in which a guest that spins would have got further.
fn stand_still(pids: &[i32]) {
    let times = || pids.iter().map(|pid| time_on_processor(*pid)).collect::<Vec<_>>();
    let before = times();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(times(), before);
}

fn get_on(pid: i32) {
    let before = time_on_processor(pid);
    eventually("a process to get on", || time_on_processor(pid) > before);
}

#[test]
fn a_paused_guest_makes_no_progress_until_it_is_resumed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("still");
    let image = namespace.import_guests(&["wait"]);
    let events = namespace.events();
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
    task.stdout().wait_until_it_says("ready");
    for _ in 0..3 {
        get_on(task.pid);
        pause(&task).unwrap();
        assert_eq!(task.state(), ("PAUSED".to_owned(), 0));
        stand_still(&[task.pid]);
        resume(&task).unwrap();
        assert_eq!(task.state(), ("RUNNING".to_owned(), 0));
        get_on(task.pid);
    }
    task.end();
    let expected = [
        "create",
        "start",
        "paused",
        "resumed",
        "paused",
        "resumed",
        "paused",
        "resumed",
        "exit a 137",
        "delete",
    ];
    assert_eq!(events.until_deleted("a"), expected);
}

#[test]
fn a_guest_that_writes_goes_on_where_it_was() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ticks");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "ticks", "40", "5", "9"]).start();
    task.stdout().wait_until_it_says("tick 3\n");
    pause(&task).unwrap();
    stand_still(&[task.pid]);
    resume(&task).unwrap();
    let finished = task.finish();
    let expected: String = (0..40).map(|i| format!("tick {i}\n")).collect();
    assert_eq!((finished.code, finished.text()), (9, format!("ready\n{expected}")));
}

#[test]
fn execs_stand_still_with_their_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("execs");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
    let (exec, process) = namespace.exec("a", "e", &["/bin/wait.wasm", "spin"]).start();
    let unborn = namespace.exec("a", "unborn", &["/bin/wait.wasm"]).add().unwrap();
    get_on(process.pid);
    pause(&task).unwrap();
    stand_still(&[task.pid, process.pid]);
    assert_eq!(task.pids().len(), 3);
    let refusal = unborn.start().unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
    assert!(refusal.message().contains("paused"), "{refusal:?}");
    // It could not end before Resume, so Delete must not wait for that.
    assert_eq!(unborn.delete().unwrap_err().code(), Code::FailedPrecondition);
    resume(&task).unwrap();
    get_on(process.pid);
    unborn.start().unwrap();
    unborn.end();
    exec.end();
    task.end();
}

#[test]
fn a_paused_container_can_be_killed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("kill");
    let image = namespace.import_guests(&["wait"]);
    for how in ["spin", "sleep", "poll"] {
        let task = namespace.container(&image, how, &["/bin/wait.wasm", how]).input().start();
        task.stdout().wait_until_it_says("ready");
        pause(&task).unwrap();
        task.kill(9).unwrap();
        assert_eq!(task.wait(), 137, "{how}");
        assert_eq!(task.state(), ("STOPPED".to_owned(), 137));
        assert_eq!(task.finish().code, 137);
    }
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
}

#[test]
fn a_signal_that_a_paused_guest_could_handle_waits_for_it_to_be_resumed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("term");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    pause(&task).unwrap();
    task.kill(15).unwrap();
    stand_still(&[task.pid]);
    assert_eq!(task.state().0, "PAUSED");
    resume(&task).unwrap();
    assert_eq!(task.finish().code, 143);
}

#[test]
fn the_end_of_an_exec_does_not_wake_its_paused_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("execkill");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
    let (exec, _) = namespace.exec("a", "e", &["/bin/wait.wasm"]).start();
    get_on(task.pid);
    pause(&task).unwrap();
    exec.kill(9).unwrap();
    assert_eq!(task.state().0, "PAUSED");
    stand_still(&[task.pid]);
    resume(&task).unwrap();
    assert_eq!(exec.wait(), 137);
    exec.finish();
    get_on(task.pid);
    task.end();
}

#[test]
fn what_cannot_be_paused_or_resumed_says_so() {
    let bed = Bed::shared();
    let namespace = bed.namespace("moments");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).create().unwrap();
    let refused = |answer: Result<(), Status>, words: &str| {
        let refusal = answer.unwrap_err();
        assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal:?}");
        assert!(refusal.message().contains(words), "{refusal:?}");
    };
    refused(pause(&task), "not started");
    refused(resume(&task), "not paused");
    task.start().unwrap();
    refused(resume(&task), "not paused");
    pause(&task).unwrap();
    refused(pause(&task), "paused already");
    refused(task.start(), "started already");
    refused(task.delete().map(drop), "running");
    assert_eq!(task.state().0, "PAUSED");
    task.kill(9).unwrap();
    task.wait();
    refused(pause(&task), "ended");
    refused(resume(&task), "not paused");
    task.finish();
}

#[test]
fn a_paused_container_can_be_looked_at_and_outlives_the_wait_for_it() {
    let bed = Bed::shared();
    let namespace = bed.namespace("look");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    namespace.ctr().run(&["task", "pause", "a"]).succeeded();
    assert_eq!(task.pids(), [task.pid]);
    assert!(task.metrics().data.is_some());
    let list = namespace.ctr().run(&["task", "ls"]).succeeded().text();
    assert!(list.contains("PAUSED"), "{list}");
    namespace.ctr().run(&["task", "resume", "a"]).succeeded();
    assert_eq!(task.state().0, "RUNNING");
    task.end();
}
