//! Promise: a server out of descriptors, threads or processes refuses new containers in words, keeps the others, and
//! works as before once there is room again.
//!
//! The limits are the kernel's: RLIMIT_NOFILE by prlimit, and the pids cgroup.

use std::time::{Duration, Instant};

use containerd_client::tonic::{Code, Status};
use e2e::direct::{Prepared, keep, nothing_leaked, only_the_keeper};
use e2e::{Bed, Process, Release, eventually};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

/// The soft limit; the hard one stays what it is for all.
fn limit_descriptors(process: &Process, most: u64) {
    let limit = Rlimit { current: Some(most), maximum: getrlimit(Resource::Nofile).maximum };
    prlimit(Pid::from_raw(process.pid), Resource::Nofile, limit).expect("limit the server's descriptors");
}

/// As the shim says it; containerd 1.x does not know this code and hands it on as unknown.
fn is_shortage(refusal: &Status) {
    let code = if Release::chosen().is_2() { Code::ResourceExhausted } else { Code::Unknown };
    assert_eq!(refusal.code(), code, "{refusal:?}");
}

#[test]
fn a_server_out_of_descriptors_refuses_in_words_and_keeps_its_containers() {
    let bed = Bed::shared();
    let namespace = bed.namespace("descriptors");
    let (image, keeper) = keep(&namespace);
    let server = namespace.server().process;
    let start = |id: String| namespace.container(&image, &id, &["/bin/wait.wasm"]).stdout("").stderr("");
    let first = start("first".to_owned()).start();
    let second = start("second".to_owned()).start();

    // Room for a few.
    let most = server.descriptors().len() as u64 + 90;
    limit_descriptors(&server, most);
    let mut more = Vec::new();
    let refusal = loop {
        match start(format!("more{}", more.len())).create() {
            Ok(task) => more.push(task),
            Err(refusal) => break refusal,
        }
        assert!(more.len() < 90);
    };
    let words = refusal.message();
    assert!(words.contains("descriptors") && words.contains(&format!("may have {most}")), "{words}");
    assert!(!more.is_empty());

    // Execs are not refused before there is really none left.
    let mut execs = Vec::new();
    let refusal = loop {
        match namespace.exec("first", &format!("e{}", execs.len()), &["/bin/wait.wasm"]).add() {
            Ok(exec) => execs.push(exec),
            Err(refusal) => break refusal,
        }
        assert!(execs.len() < 90);
    };
    is_shortage(&refusal);
    assert!(refusal.message().contains("Too many open files"), "{refusal:?}");

    // None at all: `start` is answered nevertheless, and what exists can be seen and ended.
    limit_descriptors(&server, server.descriptors().len() as u64);
    let asked = Instant::now();
    let refusal = start("none".to_owned()).create().unwrap_err();
    assert!(refusal.message().contains("descriptors"), "{refusal:?}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!((keeper.state().0.as_str(), first.state().0.as_str()), ("RUNNING", "RUNNING"));
    assert_eq!(second.end().code, 137);
    drop(execs);
    assert_eq!(first.end().code, 137);
    drop(more);

    limit_descriptors(&server, getrlimit(Resource::Nofile).current.unwrap_or(20_000));
    let after = namespace.container(&image, "after", &["/bin/hello.wasm"]).run();
    assert_eq!(after.text(), "hello from wasm\n");
    nothing_leaked(&namespace, keeper);
}

#[test]
fn wherever_the_last_descriptor_goes_the_call_fails_and_leaves_nothing() {
    let bed = Bed::shared();
    let namespace = bed.namespace("last");
    let (image, keeper) = keep(&namespace);
    let prepared = Prepared::new(&namespace, &image, "a");
    let server = namespace.server().process;
    let all = getrlimit(Resource::Nofile).current.unwrap_or(20_000);
    // What Create makes once and keeps is made, and connections that are over are closed.
    prepared.create().unwrap();
    prepared.discard();
    let mut count = 0;
    eventually("descriptors to be closed", || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut count, server.descriptors().len()) == server.descriptors().len()
    });
    let with = |most: usize, call: &dyn Fn() -> bool| {
        limit_descriptors(&server, most as u64);
        let done = call();
        limit_descriptors(&server, all);
        done
    };
    let exec = |margin: usize| {
        let exec = || namespace.exec("keeper", &format!("e{margin}"), &["/bin/hello.wasm"]).stdout("").add();
        with(server.descriptors().len() + margin, &|| match exec() {
            Ok(added) => added.delete().is_ok(),
            Err(refusal) => {
                is_shortage(&refusal);
                false
            }
        })
    };
    // The first is for the connection over which it is asked.
    let create = |margin: usize| {
        with(server.descriptors().len() + 1 + margin, &|| match prepared.try_create() {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal.code(), ttrpc::Code::RESOURCE_EXHAUSTED, "{margin}: {refusal:?}");
                false
            }
        })
    };
    for call in [&exec as &dyn Fn(usize) -> bool, &create] {
        let mut margins = 0..100;
        while !call(margins.next().expect("a call needs fewer than 100 descriptors")) {
            only_the_keeper(&namespace, &keeper);
            prepared.bundle_is_as_it_was();
        }
        assert!(margins.start > 5, "{margins:?}");
    }
    prepared.discard();
    drop(prepared);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_fork_the_kernel_refuses_is_told_and_the_next_one_works() {
    let bed = Bed::shared();
    let namespace = bed.namespace("fork");
    let (image, keeper) = keep(&namespace);
    let zygote = namespace.server().zygotes().remove(0);
    // Its own process is all it may have.
    bed.cgroups.add("fork-limit");
    bed.cgroups.limit_processes("fork-limit", "1");
    bed.cgroups.put("fork-limit", zygote.pid);
    for _ in 0..3 {
        let refusal = namespace.container(&image, "a", &["/bin/hello.wasm"]).create().unwrap_err();
        is_shortage(&refusal);
        assert!(refusal.message().contains("fork a container process"), "{refusal:?}");
        let refusal = namespace.exec("keeper", "e", &["/bin/hello.wasm"]).add().unwrap_err();
        is_shortage(&refusal);
        only_the_keeper(&namespace, &keeper);
    }
    bed.cgroups.limit_processes("fork-limit", "max");
    let after = namespace.container(&image, "a", &["/bin/hello.wasm"]).run();
    assert_eq!(after.text(), "hello from wasm\n");
    assert_eq!(namespace.server().zygotes(), [zygote], "the same zygote");
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_server_that_gets_no_more_threads_serves_all_the_same() {
    let bed = Bed::shared();
    let namespace = bed.namespace("threads");
    let (image, keeper) = keep(&namespace);
    let server = namespace.server().process;
    // Idle threads end after some seconds; those that stay are all there will be.
    let mut threads = 0;
    eventually("idle threads to end", || {
        std::mem::replace(&mut threads, server.threads()) == server.threads() && threads <= 4
    });
    bed.cgroups.add("thread-limit");
    bed.cgroups.put("thread-limit", server.pid);
    bed.cgroups.limit_processes("thread-limit", "1");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (namespace, image) = (&namespace, &image);
            scope.spawn(move || {
                for turn in 0..3 {
                    let id = format!("t{thread}-{turn}");
                    let task = namespace.container(image, &id, &["/bin/wait.wasm"]).start();
                    task.stdout().wait_until_it_says("ready");
                    assert_eq!(task.end().code, 137);
                }
            });
        }
    });
    assert_eq!(server.threads(), threads, "no thread was to be had");
    // A program to log to is another process.
    let refusal = namespace
        .container(&image, "logger", &["/bin/hello.wasm"])
        .stdout("binary:///bin/true")
        .stderr("binary:///bin/true")
        .create()
        .unwrap_err();
    is_shortage(&refusal);
    assert!(refusal.message().contains("/bin/true"), "{refusal:?}");
    bed.cgroups.limit_processes("thread-limit", "max");
    assert_eq!(namespace.container(&image, "after", &["/bin/hello.wasm"]).run().code, 0);
    nothing_leaked(&namespace, keeper);
}

#[test]
fn a_guest_that_may_have_no_more_threads_is_told_so_and_lives() {
    let bed = Bed::shared();
    let namespace = bed.namespace("pids");
    let image = namespace.import_guests(&["threads", "hello"]);
    let run = |id: &str, most: Option<i64>| {
        let mut container = namespace.container(&image, id, &["/bin/threads.wasm"]);
        if let Some(most) = most {
            container.spec.set("/linux/resources", "pids", json!({ "limit": most }));
        }
        container.run()
    };
    // It tries to have ten beside the first, and ends with the number it got.
    assert_eq!(run("all", None).code, 10);
    assert_eq!(run("some", Some(5)).code, 4);
    assert_eq!(run("none", Some(1)).code, 0);
    let after = namespace.container(&image, "after", &["/bin/hello.wasm"]).run();
    assert_eq!(after.text(), "hello from wasm\n");
    assert!(e2e::Traces::of_containers(&namespace).is_empty());
}
