//! Promise: containerd may die and come back; containers do not notice, and it learns all it missed.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use e2e::{Bed, eventually};
use rustix::process::Signal;

#[test]
fn containers_run_on_are_adopted_and_tell_the_right_code() {
    let bed = Bed::own();
    let namespace = bed.namespace("restart");
    let image = namespace.import_guests(&["cat", "wait", "hello"]);
    let run = |id: &str, args: &[&str]| namespace.container(&image, id, args).input().start();
    let mut cat = run("cat", &["/bin/cat.wasm", "7"]);
    let spin = run("spin", &["/bin/wait.wasm", "spin"]);
    let ticks = run("ticks", &["/bin/wait.wasm", "ticks", "1000000", "20", "0"]);
    let ends = run("ends", &["/bin/wait.wasm", "ticks", "50", "20", "11"]);
    let killed = run("killed", &["/bin/wait.wasm", "sleep"]);
    let log = bed.folder().join("ticks.log");
    let uri = format!("file://{}", log.display());
    let args = ["/bin/wait.wasm", "ticks", "1000000", "20", "0"];
    let logged = namespace.container(&image, "logged", &args).stdout(&uri).stderr(&uri).start();
    for task in [&spin, &ticks, &ends, &killed] {
        task.stdout().wait_until_it_says("ready");
    }
    cat.write(b"before\n");
    cat.stdout().wait_until_it_says("before");
    let server = namespace.server();
    let alive = [&cat, &spin, &ticks, &logged].map(|task| task.process());
    let (ending, victim) = (ends.process(), killed.process());

    bed.kill_containerd();
    let (seen, logged_before) = (ticks.stdout().so_far().len(), std::fs::metadata(&log).unwrap().len());
    cat.write(b"while it was away\n");
    cat.stdout().wait_until_it_says("while it was away");
    victim.signal(Signal::KILL);
    eventually("one to be killed", || !victim.is_there());
    eventually("one to end by itself", || !ending.is_there());
    eventually("output to go on", || ticks.stdout().so_far().len() > seen + 20);
    eventually("the log to go on", || std::fs::metadata(&log).unwrap().len() > logged_before + 20);

    bed.start_containerd();
    assert_eq!(namespace.server().process, server.process, "the same server still serves");
    for (task, process) in [&cat, &spin, &ticks, &logged].into_iter().zip(&alive) {
        assert!(process.is_there(), "{} died", task.id);
        eventually("the task to be adopted", || task.state().0 == "RUNNING");
        assert_eq!(task.pids(), [task.pid]);
    }
    let list = namespace.ctr().run(&["task", "ls"]).succeeded().text();
    assert_eq!(list.lines().filter(|line| line.contains("RUNNING")).count(), 4, "{list}");

    assert_eq!(ends.finish().code, 11, "it ended by itself while containerd was away");
    assert_eq!(killed.finish().code, 137, "it was killed while containerd was away");
    cat.close_input();
    let cat = cat.finish();
    assert_eq!((cat.code, cat.text().as_str()), (7, "before\nwhile it was away\n"));
    let seen = ticks.stdout().so_far().len();
    eventually("output to go on", || ticks.stdout().so_far().len() > seen);
    spin.kill(15).unwrap();
    assert_eq!(spin.finish().code, 143);
    let text = ticks.end().text();
    let numbers: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("tick ")?.parse::<usize>().ok()).collect();
    assert!(numbers.iter().enumerate().all(|(i, number)| i == *number), "a line was lost");
    assert_eq!(logged.end().code, 137);

    let new = namespace.container(&image, "new", &["/bin/hello.wasm"]).run();
    assert_eq!(new.text(), "hello from wasm\n");
}

#[test]
fn a_container_created_before_the_restart_can_be_started_after_it() {
    let bed = Bed::own();
    let namespace = bed.namespace("created");
    let image = namespace.import_guests(&["hello"]);
    let task = namespace.container(&image, "hello", &["/bin/hello.wasm"]).create().unwrap();
    bed.kill_containerd();
    bed.start_containerd();
    eventually("the task to be adopted", || task.state().0 == "CREATED");
    task.start().unwrap();
    assert_eq!(task.finish().text(), "hello from wasm\n");
}

#[test]
fn a_client_that_comes_back_reads_what_was_written_meanwhile() {
    let bed = Bed::own();
    let namespace = bed.namespace("late");
    let image = namespace.import_guests(&["wait"]);
    let args = ["/bin/wait.wasm", "ticks", "100", "10", "4"];
    // A FIFO nobody reads, as after a client died: the guest neither blocks (it fits) nor is killed by SIGPIPE.
    let fifo = bed.folder().join("unread");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let task =
        namespace.container(&image, "late", &args).stdout(&fifo.display().to_string()).stderr("").start();
    let process = task.process();
    bed.kill_containerd();
    eventually("the guest to end", || !process.is_there());
    // Without waiting for a writer: there will be none any more.
    let mut text = String::new();
    let late = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
    late.unwrap().read_to_string(&mut text).unwrap();
    assert!(text.starts_with("ready\ntick 0\n") && text.ends_with("tick 99\n"), "{text}");
    bed.start_containerd();
    assert_eq!(task.finish().code, 4);
}
