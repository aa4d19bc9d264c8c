//! Promise: every signal does to a wasm guest what it does to a program with default actions, whatever the guest does.

use std::fs;

use containerd_client::services::v1::KillRequest;
use containerd_client::tonic::Code;
use e2e::{Bed, Process, Traces, eventually};

/// Those whose default action is to end a process.
const ENDING: [i32; 12] = [1, 2, 3, 9, 10, 12, 14, 15, 24, 26, 29, 30];

/// The letter of a process's state in `proc_pid_stat(5)`.
fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// Each signal to a guest of its own that is in the middle of the same thing.
fn each_signal_ends(how: &str) {
    let bed = Bed::shared();
    let namespace = bed.namespace(how);
    let image = namespace.import_guests(&["wait", "cat"]);
    for signal in ENDING {
        let id = format!("{how}-{signal}");
        let task = if how == "read" {
            let mut task = namespace.container(&image, &id, &["/bin/cat.wasm"]).input().start();
            task.write(b"ready\n");
            task
        } else {
            namespace.container(&image, &id, &["/bin/wait.wasm", how]).input().start()
        };
        task.stdout().wait_until_it_says("ready");
        task.kill(signal).unwrap_or_else(|e| panic!("signal {signal}: {}", e.message()));
        let finished = task.finish();
        assert_eq!(finished.code, 128 + signal as u32, "{id}");
        assert_eq!(finished.stderr, "", "{id}");
    }
    assert!(Traces::of_containers(&namespace).is_empty(), "{:?}", Traces::of_containers(&namespace));
}

#[test]
fn each_signal_ends_a_busy_loop_with_128_and_its_number() {
    each_signal_ends("spin");
}

#[test]
fn each_signal_ends_a_blocked_read_with_128_and_its_number() {
    each_signal_ends("read");
}

#[test]
fn each_signal_ends_a_sleep_with_128_and_its_number() {
    each_signal_ends("sleep");
}

#[test]
fn each_signal_ends_a_poll_with_128_and_its_number() {
    each_signal_ends("poll");
}

#[test]
fn a_real_time_signal_can_be_an_image_s_stop_signal() {
    let bed = Bed::shared();
    let namespace = bed.namespace("realtime");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    // SIGRTMIN+3, as images with systemd in them have it.
    task.kill(37).unwrap();
    assert_eq!(task.finish().code, 165);
}

#[test]
fn signals_that_are_ignored_by_default_change_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ignored");
    let image = namespace.import_guests(&["cat"]);
    let mut task = namespace.container(&image, "a", &["/bin/cat.wasm", "4"]).input().start();
    // CHLD, CONT, URG, WINCH: and PIPE, which a guest sees as EPIPE instead.
    for signal in [17, 18, 23, 28, 13] {
        task.kill(signal).unwrap();
        task.write(format!("{signal}\n").as_bytes());
        task.stdout().wait_until_it_says(&format!("{signal}\n"));
    }
    task.close_input();
    assert_eq!(task.finish().code, 4);
}

#[test]
fn stop_and_cont_halt_a_guest_and_let_it_go_on() {
    let bed = Bed::shared();
    let namespace = bed.namespace("stop");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "ticks", "20", "5", "6"]).start();
    task.stdout().wait_until_it_says("tick 2\n");
    task.kill(19).unwrap();
    eventually("the guest to be stopped", || state(task.pid) == 'T');
    assert_eq!(task.state().0, "RUNNING", "stopped is not ended");
    task.kill(18).unwrap();
    let finished = task.finish();
    assert_eq!(finished.code, 6);
    assert!(finished.text().ends_with("tick 19\n"), "{finished:?}");

    let task = namespace.container(&image, "b", &["/bin/wait.wasm", "spin"]).start();
    task.kill(19).unwrap();
    eventually("the guest to be stopped", || state(task.pid) == 'T');
    assert_eq!(task.end().code, 137, "a stopped guest can be killed");
}

#[test]
fn all_means_every_process_of_the_container() {
    let bed = Bed::shared();
    let namespace = bed.namespace("all");
    let image = namespace.import_guests(&["wait"]);
    for (signal, code) in [(15, 143), (9, 137), (10, 138)] {
        let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
        task.stdout().wait_until_it_says("ready");
        let (exec, process) = namespace.exec("a", "e", &["/bin/wait.wasm"]).start();
        exec.stdout().wait_until_it_says("ready");
        let message = KillRequest { container_id: "a".into(), signal, all: true, ..KillRequest::default() };
        task.call(message, async |mut tasks, request| tasks.kill(request).await.map(drop)).unwrap();
        assert_eq!(task.wait(), code);
        // By the signal itself, or with its container, whichever came first.
        assert!([code, 137].contains(&exec.wait()));
        assert!(!process.is_alive());
        exec.finish();
        task.finish();
    }
}

#[test]
fn all_holds_for_real_time_signals_too() {
    let bed = Bed::shared();
    let namespace = bed.namespace("all-realtime");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm", "spin"]).start();
    let (exec, _) = namespace.exec("a", "e", &["/bin/wait.wasm"]).start();
    exec.stdout().wait_until_it_says("ready");
    // A halted container does not end, and so does not end the exec.
    task.kill(19).unwrap();
    eventually("the guest to be stopped", || state(task.pid) == 'T');
    let message = KillRequest { container_id: "a".into(), signal: 37, all: true, ..KillRequest::default() };
    task.call(message, async |mut tasks, request| tasks.kill(request).await.map(drop)).unwrap();
    assert_eq!(exec.wait(), 165);
    task.kill(18).unwrap();
    assert_eq!(task.wait(), 165);
    exec.finish();
    task.finish();
}

#[test]
fn ctr_task_kill_all_ends_execs_too() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ctr");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let (exec, process) = namespace.exec("a", "e", &["/bin/wait.wasm", "spin"]).start();
    namespace.ctr().run(&["task", "kill", "--all", "--signal", "SIGKILL", "a"]).succeeded();
    assert_eq!((task.wait(), exec.wait()), (137, 137));
    assert!(!process.is_alive());
    exec.finish();
    task.finish();
}

#[test]
fn a_created_container_can_be_ended_by_a_signal() {
    let bed = Bed::shared();
    let namespace = bed.namespace("created");
    let image = namespace.import_guests(&["hello"]);
    for (signal, code) in [(9, 137), (15, 143), (10, 138)] {
        let task = namespace.container(&image, "a", &["/bin/hello.wasm"]).create().unwrap();
        task.kill(signal).unwrap();
        assert_eq!(task.wait(), code);
        assert_eq!(task.start().unwrap_err().code(), Code::FailedPrecondition, "it has ended");
        let finished = task.finish();
        assert_eq!((finished.code, finished.text().as_str()), (code, ""));
    }
}

#[test]
fn who_has_ended_or_never_was_is_not_found() {
    let bed = Bed::shared();
    let namespace = bed.namespace("gone");
    let image = namespace.import_guests(&["hello", "wait"]);
    let ended = namespace.container(&image, "ended", &["/bin/hello.wasm"]).start();
    ended.wait();
    for signal in [9, 15] {
        assert_eq!(ended.kill(signal).unwrap_err().code(), Code::NotFound);
    }
    for (container, exec) in [("nobody", ""), ("ended", "nobody")] {
        let message =
            KillRequest { container_id: container.into(), exec_id: exec.into(), signal: 9, all: false };
        let refusal = ended.call(message, async |mut tasks, request| tasks.kill(request).await.map(drop));
        assert_eq!(refusal.unwrap_err().code(), Code::NotFound);
    }
    ended.finish();
}

#[test]
fn what_is_no_signal_is_refused_and_ends_nobody() {
    let bed = Bed::shared();
    let namespace = bed.namespace("numbers");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    for signal in [65, 1000, -1] {
        assert_eq!(task.kill(signal).unwrap_err().code(), Code::InvalidArgument, "{signal}");
    }
    assert_eq!(task.state().0, "RUNNING");
    task.end();
}

#[test]
fn a_running_container_cannot_be_deleted() {
    let bed = Bed::shared();
    let namespace = bed.namespace("delete");
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let refusal = task.delete().unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(Process::of(task.pid).is_some_and(|process| process.is_alive()));
    assert_eq!(task.state().0, "RUNNING");
    task.end();
}
