//! Promise: a module is loaded once for all its containers, and no container can tell. Real are containerd, the
//! server, its zygote, the builders, and what `/proc` and the server's own log say of them.

use std::thread;

use e2e::{Bed, Image, Layer, Namespace, Task, Traces, eventually, guest};
use rustix::process::Signal;

/// Templates that the server ever made for the module at this path, and modules there that it made none of.
fn made(namespace: &Namespace, path: &str) -> (usize, usize) {
    let log = std::fs::read_to_string(namespace.server().place.join("log")).unwrap();
    let count = |what: &str| log.matches(&format!("{what} of {path} ")).count();
    let none = count("no template");
    (count("template") - none, none)
}

/// Templates that the server holds now.
fn held(namespace: &Namespace) -> usize {
    let descriptors = namespace.server().process.descriptors();
    descriptors.iter().filter(|target| target.contains("memfd:wamr-template")).count()
}

fn builders() -> usize {
    e2e::Process::all().iter().filter(|process| process.comm == "wamr-template").count()
}

/// Keeps the server, whatever else ends.
fn keep(namespace: &Namespace, image: &Image) -> Task {
    let task = namespace.container(image, "keep", &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    task
}

#[test]
fn of_many_containers_that_start_at_once_one_loads_the_module() {
    let bed = Bed::shared();
    let namespace = bed.namespace("once");
    let image = namespace.import_guests(&["wait"]);
    let tasks: Vec<Task> = thread::scope(|scope| {
        let start = |number: usize| {
            let (namespace, image) = (&namespace, &image);
            scope.spawn(move || {
                let id = format!("many-{number}");
                namespace.container(image, &id, &["/bin/wait.wasm"]).start()
            })
        };
        let starts: Vec<_> = (0..20).map(start).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for task in &tasks {
        task.stdout().wait_until_it_says("ready");
    }
    assert_eq!(made(&namespace, "/bin/wait.wasm"), (1, 0));
    assert_eq!(held(&namespace), 1);
    for task in tasks {
        assert_eq!(task.end().code, 137);
    }
    assert_eq!(held(&namespace), 1, "kept for the next container");
    eventually("all builders to be gone", || builders() == 0);
}

#[test]
fn execs_come_from_templates_too() {
    let bed = Bed::shared();
    let namespace = bed.namespace("exec");
    let image = namespace.import_guests(&["wait", "hello"]);
    let keep = keep(&namespace, &image);
    for number in 0..3 {
        let id = format!("exec-{number}");
        assert_eq!(namespace.exec("keep", &id, &["/bin/hello.wasm"]).run().text(), "hello from wasm\n");
    }
    assert_eq!(made(&namespace, "/bin/hello.wasm"), (1, 0));
    keep.end();
}

#[test]
fn what_a_guest_writes_reaches_no_other_and_stays_its_own() {
    let bed = Bed::shared();
    let namespace = bed.namespace("scribble");
    let image = namespace.import_guests(&["scribble"]);
    let start = |word: &str| {
        let id = format!("scribble-{word}");
        let task = namespace.container(&image, &id, &["/bin/scribble.wasm", word]).input().start();
        task.stdout().wait_until_it_says("clean");
        task
    };
    // Each begins when those before it have written everywhere.
    let tasks = ["x", "y", "z"].map(start);
    assert_eq!(made(&namespace, "/bin/scribble.wasm"), (1, 0));
    for mut task in tasks {
        task.write(b"\n");
        let finished = task.finish();
        assert_eq!((finished.code, finished.text().as_str()), (0, "clean\nmine\n"));
    }
}

#[test]
fn different_modules_do_not_mix() {
    let bed = Bed::shared();
    let namespace = bed.namespace("mix");
    let image = namespace.import_guests(&["hello", "exit", "env", "wait"]);
    let keep = keep(&namespace, &image);
    for round in 0..3 {
        let container = |name: &str, args: &[&str]| {
            let id = format!("{name}-{round}");
            namespace.container(&image, &id, &[&[&*format!("/bin/{name}.wasm")], args].concat())
        };
        assert_eq!(container("hello", &[]).run().text(), "hello from wasm\n");
        assert_eq!(container("exit", &[&*format!("{}", 40 + round)]).run().code, 40 + round);
        let round = round.to_string();
        let finished = container("env", &[&*round]).env("ROUND", &round).run();
        assert!(finished.text().contains(&format!("ROUND={round}")), "{finished:?}");
    }
    assert_eq!(held(&namespace), 4);
    keep.end();
}

#[test]
fn another_stack_size_is_another_template() {
    let bed = Bed::shared();
    let namespace = bed.namespace("stack");
    let image = namespace.import_guests(&["wait"]);
    let keep = keep(&namespace, &image);
    for (id, size) in [("small", "32KiB"), ("again", "32KiB"), ("large", "1MiB")] {
        let container = namespace.container(&image, id, &["/bin/wait.wasm", "ticks", "1", "1", "3"]);
        assert_eq!(container.annotation("wamr.containerd.io/wasm_stack_size", size).run().code, 3);
    }
    assert_eq!(made(&namespace, "/bin/wait.wasm"), (3, 0));
    keep.end();
}

#[test]
fn a_module_that_makes_no_template_fails_only_its_own_containers_in_the_same_words() {
    let bed = Bed::shared();
    let namespace = bed.namespace("bad");
    let mut cut = guest("hello");
    cut.truncate(cut.len() / 2);
    let layer = Layer::new()
        .directory("/bin")
        .file("/bin/wait.wasm", guest("wait"))
        .file("/bin/import.wasm", guest("unknown_import"))
        .file("/bin/cut.wasm", cut);
    let image = Image::new("e2e.local/bad:1").layer(layer);
    namespace.import(&image);
    let keep = keep(&namespace, &image);
    for round in 0..2 {
        let refusal =
            namespace.container(&image, &format!("import-{round}"), &["/bin/import.wasm"]).refusal();
        assert!(refusal.contains("launch_rocket") && refusal.contains("/bin/import.wasm"), "{refusal}");
        let refusal = namespace.container(&image, &format!("cut-{round}"), &["/bin/cut.wasm"]).refusal();
        assert!(refusal.contains("/bin/cut.wasm") && refusal.contains("cannot be loaded"), "{refusal}");
    }
    // Tried once each.
    assert_eq!(made(&namespace, "/bin/import.wasm"), (0, 1));
    assert_eq!(made(&namespace, "/bin/cut.wasm"), (0, 1));
    assert_eq!(held(&namespace), 1);
    let good = namespace.container(&image, "good", &["/bin/wait.wasm", "ticks", "1", "1", "0"]).run();
    assert_eq!(good.code, 0);
    keep.end();
    assert!(Traces::of_containers(&namespace).is_empty());
}

#[test]
fn a_module_too_large_for_a_template_runs_without_one() {
    let bed = Bed::shared();
    let namespace = bed.namespace("large");
    // More memory at the start than a builder may have.
    let wat = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 20000)
        (func (export "_start")
            (i32.store (i32.const 1310719996) (i32.const 9))
            (call $exit (i32.load (i32.const 1310719996)))))"#;
    let layer = Layer::new()
        .directory("/bin")
        .file("/bin/wait.wasm", guest("wait"))
        .file("/bin/large.wasm", wat::parse_str(wat).unwrap());
    let image = Image::new("e2e.local/large:1").layer(layer);
    namespace.import(&image);
    let keep = keep(&namespace, &image);
    assert_eq!(namespace.container(&image, "large", &["/bin/large.wasm"]).run().code, 9);
    assert_eq!(made(&namespace, "/bin/large.wasm"), (0, 1));
    keep.end();
}

#[test]
fn a_file_changed_after_the_build_runs_as_it_is_now() {
    let bed = Bed::shared();
    let namespace = bed.namespace("changed");
    let image = namespace.import_guests(&["wait"]);
    let keep = keep(&namespace, &image);
    let volume = bed.folder().join("changed");
    std::fs::create_dir(&volume).unwrap();
    let run = |id: &str| {
        let source = volume.display().to_string();
        let container = namespace.container(&image, id, &["/volume/module.wasm", "7"]);
        container.mount("bind", &source, "/volume", &["rbind", "ro"])
    };
    std::fs::write(volume.join("module.wasm"), guest("wait")).unwrap();
    let before = run("before").start();
    before.stdout().wait_until_it_says("ready");
    // In place: the same file, with other bytes.
    std::fs::write(volume.join("module.wasm"), guest("exit")).unwrap();
    assert_eq!(run("after").run().code, 7);
    std::fs::write(volume.join("module.wasm"), "no module any more").unwrap();
    assert!(run("neither").refusal().contains("/volume/module.wasm"));
    std::fs::write(volume.join("module.wasm"), guest("exit")).unwrap();
    assert_eq!(run("back").run().code, 7);
    assert_eq!(before.state().0, "RUNNING");
    assert_eq!(before.end().code, 137);
    keep.end();
}

#[test]
fn a_new_zygote_gets_new_templates_and_guests_of_the_old_one_live() {
    let bed = Bed::shared();
    let namespace = bed.namespace("zygote");
    let image = namespace.import_guests(&["wait", "hello"]);
    let keep = keep(&namespace, &image);
    let hello = |id: &str| namespace.container(&image, id, &["/bin/hello.wasm"]).run().text();
    assert_eq!(hello("first"), "hello from wasm\n");
    let zygote = namespace.server().zygotes().remove(0);
    zygote.signal(Signal::KILL);
    eventually("the end of the zygote", || !zygote.is_alive());
    // The first finds the zygote dead, the others its successor.
    for id in ["second", "third", "fourth"] {
        assert_eq!(hello(id), "hello from wasm\n");
    }
    assert_eq!(made(&namespace, "/bin/hello.wasm"), (2, 0));
    eventually("the dead zygote's unused template to be dropped", || held(&namespace) == 2);
    assert_eq!(keep.state().0, "RUNNING");
    assert_eq!(keep.end().code, 137);
}

#[test]
fn a_memory_limit_below_what_loading_takes_is_enough_for_a_container_of_a_template() {
    let bed = Bed::shared();
    let namespace = bed.namespace("limits");
    let image = namespace.import_guests(&["grow", "wait"]);
    let keep = keep(&namespace, &image);
    // The same template, a cap of its own for each.
    for (id, limit) in [("four", 4u64 << 20), ("thirty-two", 32 << 20), ("eight", 8 << 20)] {
        let finished = namespace.container(&image, id, &["/bin/grow.wasm"]).memory_limit(limit).run();
        let pages: u64 = finished.text().trim().strip_prefix("pages ").unwrap().parse().unwrap();
        assert!(pages * 65536 < limit && pages * 65536 >= limit * 3 / 4, "{pages} pages under {limit}");
    }
    assert_eq!(made(&namespace, "/bin/grow.wasm"), (1, 0));
    keep.end();
}
