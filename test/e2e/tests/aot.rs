//! Promise: a module runs compiled as soon as it can, without anybody doing anything; and whatever goes wrong on the way
//! there costs it that, and nothing else.
//!
//! Real: containerd, the shim, `wamr-aotc` with LLVM, its cgroup, the cache on disk.

#[path = "../../../crates/wamr/tests/promises/large.rs"]
mod large;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use e2e::tool::{compiler_cgroups, fake_compiler};
use e2e::{Bed, Image, Layer, Namespace, Process, Task, aot_compiler, eventually, guest};

const MIB: u64 = 1 << 20;

/// A bed whose servers share a cache of their own.
fn bed(settings: &str) -> Arc<Bed> {
    let bed = Bed::with_configuration();
    let (cache, compiler) = (bed.folder().join("aot"), aot_compiler());
    let compiler = match settings.contains("aot_compiler") {
        true => String::new(),
        false => format!("aot_compiler = {compiler:?}\n"),
    };
    bed.configure(&format!("linger = 1\naot_cache = {cache:?}\n{compiler}{settings}\n"));
    bed
}

fn log(namespace: &Namespace) -> String {
    fs::read_to_string(namespace.server().place.join("log")).unwrap()
}

fn count(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

fn wait_for_code(namespace: &Namespace, tier: &str) {
    let words = format!("is compiled (tier {tier}");
    eventually("the module is compiled", || log(namespace).contains(&words));
}

/// Executable pages that the kernel gives every process.
const KERNELS: [&str; 2] = ["[vdso]", "[vsyscall]"];

/// Whether some of its template can be executed by a process: compiled code. Nothing but that and the program itself can.
fn runs_compiled(process: &Process) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid)).unwrap();
    let executable = maps.lines().filter(|line| line.split(' ').nth(1).unwrap().contains('x'));
    let executable: Vec<&str> =
        executable.filter(|line| !KERNELS.iter().any(|name| line.ends_with(name))).collect();
    assert!(executable.iter().all(|line| line.contains(" r-xp ")), "{maps}");
    let of_template = executable.iter().filter(|line| line.contains("/memfd:wamr-template")).count();
    let others =
        executable.iter().filter(|line| !line.contains("/containerd-shim-wamr")).count() - of_template;
    assert_eq!(others, 0, "{maps}");
    of_template > 0
}

/// A container of the guest that waits, which runs.
fn waiting(namespace: &Namespace, image: &Image, id: &str) -> Task {
    let task = namespace.container(image, id, &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    task
}

fn files(bed: &Bed, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(bed.folder().join("aot")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

#[test]
fn the_first_container_runs_interpreted_later_ones_compiled_and_often_started_ones_at_the_top_tier() {
    let bed = bed("");
    let namespace = bed.namespace("tiers");
    let image = namespace.import_guests(&["wait"]);
    let start = |id: &str| waiting(&namespace, &image, id);
    let first = start("first");
    assert!(!runs_compiled(&first.process()));
    wait_for_code(&namespace, "quick");
    let second = start("second");
    assert!(runs_compiled(&second.process()));
    assert!(!runs_compiled(&first.process()), "a running container is left alone");
    let third = start("third");
    wait_for_code(&namespace, "top");
    let fourth = start("fourth");
    assert!(runs_compiled(&fourth.process()));
    assert_eq!(files(&bed, "aot").len(), 2, "one per tier");
    let log = log(&namespace);
    assert_eq!((count(&log, "tier quick"), count(&log, "tier top")), (1, 1), "{log}");
    eventually("nothing of the compiler is left", || {
        compiler_cgroups(namespace.server().process.pid).is_empty() && files(&bed, "lock").is_empty()
    });
    for task in [first, second, third, fourth] {
        let ended = task.end();
        assert_eq!(ended.code, 137);
    }
}

#[test]
fn a_compiled_container_is_as_confined_and_ends_as_an_interpreted_one() {
    let bed = bed("aot = \"eager\"");
    let namespace = bed.namespace("same");
    let image = namespace.import_guests(&["wait", "exit", "trap", "grow", "hello"]);
    let task = namespace.container(&image, "wait", &["/bin/wait.wasm", "spin"]).start();
    task.stdout().wait_until_it_says("ready");
    assert!(runs_compiled(&task.process()), "eager: the first one already");
    let status = fs::read_to_string(format!("/proc/{}/status", task.process().pid)).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    let exec = namespace.exec("wait", "exit", &["/bin/exit.wasm", "7"]).run();
    assert_eq!(exec.code, 7, "{exec:?}");
    task.kill(15).unwrap();
    assert_eq!(task.wait(), 143);
    task.delete().unwrap();

    for code in ["0", "42", "255"] {
        let id = format!("exit-{code}");
        let finished = namespace.container(&image, &id, &["/bin/exit.wasm", code]).run();
        assert_eq!(finished.code.to_string(), code);
    }
    for (how, words) in [
        ("unreachable", "unreachable"),
        ("divide", "integer divide by zero"),
        ("memory", "out of bounds memory access"),
    ] {
        let finished = namespace.container(&image, how, &["/bin/trap.wasm", how]).run();
        assert_eq!(finished.code, 134, "{finished:?}");
        assert!(finished.stderr.contains(&format!("wasm trap: {words}")), "{finished:?}");
    }
    let limit = 16 * MIB;
    let finished = namespace.container(&image, "grow", &["/bin/grow.wasm"]).memory_limit(limit).run();
    assert_eq!(finished.code, 0, "{finished:?}");
    let pages: u64 = finished.text().trim().strip_prefix("pages ").unwrap().parse().unwrap();
    assert!(
        (limit * 3 / 4..limit).contains(&(pages * 65536)),
        "{pages} pages under a limit of {limit} bytes"
    );
}

#[test]
fn a_pod_can_be_without_compiled_code() {
    let bed = bed("aot = \"eager\"");
    let namespace = bed.namespace("off");
    let image = namespace.import_guests(&["wait"]);
    let start = |id: &str, mode: &str| {
        let container = namespace.container(&image, id, &["/bin/wait.wasm"]);
        let task = container.annotation("wamr.containerd.io/aot", mode).start();
        task.stdout().wait_until_it_says("ready");
        task
    };
    let compiled = start("eager", "eager");
    let interpreted = start("off", "off");
    assert!(runs_compiled(&compiled.process()) && !runs_compiled(&interpreted.process()));
    let container = namespace.container(&image, "misspelt", &["/bin/wait.wasm"]);
    let refusal = container.annotation("wamr.containerd.io/aot", "always").refusal();
    assert!(refusal.contains("always") && refusal.contains("background"), "{refusal}");
    compiled.end();
    interpreted.end();
}

#[test]
fn without_a_compiler_containers_run_interpreted_and_the_log_says_why_once() {
    let bed = bed("aot = \"eager\"\naot_compiler = \"/nonexistent/wamr-aotc\"");
    let namespace = bed.namespace("none");
    let image = namespace.import_guests(&["wait", "hello"]);
    let task = waiting(&namespace, &image, "wait");
    assert!(!runs_compiled(&task.process()));
    for id in ["a", "b"] {
        assert_eq!(namespace.container(&image, id, &["/bin/hello.wasm"]).run().text(), "hello from wasm\n");
    }
    let log = log(&namespace);
    assert_eq!(count(&log, "run interpreted"), 1, "{log}");
    assert!(log.contains("/nonexistent/wamr-aotc"), "{log}");
    task.end();
}

#[test]
fn a_module_that_is_too_much_for_the_compiler_is_left_alone_and_runs_interpreted() {
    for (settings, words) in [("aot_memory = \"1MiB\"", "of memory"), ("aot_time = 0", "not done after")] {
        let bed = bed(&format!("aot = \"eager\"\n{settings}"));
        let namespace = bed.namespace("much");
        let image = namespace.import_guests(&["wait", "hello"]);
        let task = waiting(&namespace, &image, "wait");
        assert!(!runs_compiled(&task.process()));
        // Not so often that it is tried at the top tier.
        for id in ["a", "b"] {
            assert_eq!(
                namespace.container(&image, id, &["/bin/hello.wasm"]).run().text(),
                "hello from wasm\n"
            );
        }
        let log = log(&namespace);
        let told = count(&log, "cannot be compiled");
        assert_eq!((told, count(&log, words)), (2, 2), "each module once: {log}");
        assert_eq!((files(&bed, "failed").len(), files(&bed, "aot").len()), (2, 0));
        assert!(compiler_cgroups(namespace.server().process.pid).is_empty());
        task.end();
    }
}

/// A bed with a program in the compiler's place, which says that it is of this release and then does what it is told.
fn bed_with_program(does: &str, identity: &str, settings: &str) -> Arc<Bed> {
    let bed = Bed::with_configuration();
    let (cache, program) = (bed.folder().join("aot"), bed.folder().join("program"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --identity ] && {{ {identity}; exit; }}\n\
         while [ $# -gt 0 ]; do [ \"$1\" = --cgroup ] && echo 0 >\"$2\"; shift; done\n{does}\n"
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    bed.configure(&format!(
        "linger = 1\naot = \"eager\"\naot_cache = {cache:?}\naot_compiler = {program:?}\n{settings}\n"
    ));
    bed
}

#[test]
fn a_compiler_that_crashes_hangs_or_writes_nonsense_costs_its_module_the_code_and_nothing_else() {
    let identity = format!("{} --identity", aot_compiler().display());
    // What it does, what is said of it, and whether the module is left alone for good.
    for (does, words, for_good) in [
        ("kill -SEGV $$", "the compiler crashed", true),
        ("sleep 600", "not done after", true),
        ("echo no code", "does not begin with", true),
        ("exit 0", "is empty", true),
        ("echo it does not like it >&2; exit 1", "it does not like it", true),
        ("echo no room >&2; exit 3", "not compiled now (tier quick): no room", false),
        ("kill -KILL $$", "not compiled now (tier quick): the compiler was killed", false),
    ] {
        let bed = bed_with_program(does, &identity, "aot_time = 2");
        let namespace = bed.namespace("faulty");
        let image = namespace.import_guests(&["wait", "hello"]);
        let task = waiting(&namespace, &image, "wait");
        for id in ["a", "b"] {
            let finished = namespace.container(&image, id, &["/bin/hello.wasm"]).run();
            assert_eq!(finished.text(), "hello from wasm\n");
        }
        let log = log(&namespace);
        assert_eq!(count(&log, words), 2, "{does}: once for each module: {log}");
        assert_eq!(files(&bed, "failed").len(), if for_good { 2 } else { 0 }, "{does}");
        assert_eq!(files(&bed, "aot").len(), 0, "{does}");
        assert!(compiler_cgroups(namespace.server().process.pid).is_empty(), "{does}");
        task.end();
    }
}

#[test]
fn a_module_without_quick_code_gets_that_of_the_top_tier_once_it_is_started_often() {
    let real = aot_compiler();
    for mode in ["background", "eager"] {
        let bed = Bed::with_configuration();
        let fails = format!(
            "case \" $* \" in *' --tier quick '*) echo not this one >&2; exit 1;; esac\nexec {real:?} \"$@\""
        );
        let (cache, program) = (bed.folder().join("aot"), fake_compiler(&bed, &fails));
        bed.configure(&format!(
            "linger = 1\naot = {mode:?}\naot_cache = {cache:?}\naot_compiler = {program:?}\n"
        ));
        let namespace = bed.namespace("one-tier");
        let image = namespace.import_guests(&["wait"]);
        let first = waiting(&namespace, &image, "first");
        eventually("quick code is given up", || log(&namespace).contains("left alone: not this one"));
        let second = waiting(&namespace, &image, "second");
        assert_eq!(count(&log(&namespace), "is compiled"), 0, "{mode}: two starts are not often");
        let third = waiting(&namespace, &image, "third");
        wait_for_code(&namespace, "top");
        let fourth = waiting(&namespace, &image, "fourth");
        let compiled = [&first, &second, &third, &fourth].map(|task| runs_compiled(&task.process()));
        assert_eq!(compiled, [false, false, false, true], "{mode}");
        let log = log(&namespace);
        assert_eq!((count(&log, "tier quick"), count(&log, "is compiled")), (1, 1), "{mode}: {log}");
        for task in [first, second, third, fourth] {
            task.end();
        }
    }
}

#[test]
fn a_compiler_of_another_release_or_with_other_options_is_not_used() {
    let other_options =
        format!("{} --identity | sed 's/ compiler .*/ compiler 0123456789abcdef/'", aot_compiler().display());
    for says in ["echo 1.0.0", &other_options] {
        let bed = bed_with_program("exit 1", says, "");
        let namespace = bed.namespace("release");
        let image = namespace.import_guests(&["wait", "hello"]);
        let task = waiting(&namespace, &image, "wait");
        assert_eq!(namespace.container(&image, "a", &["/bin/hello.wasm"]).run().code, 0);
        let log = log(&namespace);
        assert_eq!(count(&log, "install both of one release"), 1, "{log}");
        assert_eq!(count(&log, "cannot be compiled"), 0, "{log}");
        task.end();
    }
}

#[test]
fn a_large_module_is_compiled_by_several_confined_processes_and_does_the_same() {
    let bed = bed("aot_memory = \"256MiB\"");
    let namespace = bed.namespace("large");
    let wasm = wat::parse_str(large::module()).unwrap();
    let image = Image::new("e2e.local/large:1").layer(
        Layer::new().directory("/bin").file("/bin/large.wasm", wasm).file("/bin/wait.wasm", guest("wait")),
    );
    namespace.import(&image);
    let task = namespace.container(&image, "wait", &["/bin/wait.wasm"]).start();
    let run = |mode: &str| {
        let container = namespace.container(&image, mode, &["/bin/large.wasm"]);
        container.annotation("wamr.containerd.io/aot", mode).run().code
    };
    let (interpreted, compiled) = (run("off"), run("eager"));
    assert!(interpreted > 0 && interpreted == compiled, "{interpreted} and {compiled}");
    let log = log(&namespace);
    assert_eq!(count(&log, "large.wasm\" is compiled (tier quick"), 1, "{log}");
    assert_eq!(count(&log, "template of /bin/large.wasm (quick"), 1, "{log}");
    task.end();
}

#[test]
fn a_compiled_container_has_no_more_memory_of_its_own_than_an_interpreted_one() {
    let bed = bed("aot = \"eager\"");
    let namespace = bed.namespace("memory");
    let image = namespace.import_guests(&["wait"]);
    // Of each kind two, so that pages of their template are shared.
    let tasks = [("a", "off"), ("b", "off"), ("c", "eager"), ("d", "eager")].map(|(id, mode)| {
        let container = namespace.container(&image, id, &["/bin/wait.wasm"]);
        let task = container.annotation("wamr.containerd.io/aot", mode).start();
        task.stdout().wait_until_it_says("ready");
        task
    });
    let [_, interpreted, _, compiled] = tasks.each_ref().map(|task| task.process().private_memory());
    assert!(runs_compiled(&tasks[3].process()) && !runs_compiled(&tasks[1].process()));
    assert!(compiled <= interpreted, "{compiled} bytes compiled, {interpreted} interpreted");
    for task in tasks {
        task.end();
    }
}

#[test]
fn damaged_code_is_never_run_but_made_again() {
    let bed = bed("aot = \"eager\"");
    let namespace = bed.namespace("damaged");
    let image = namespace.import_guests(&["wait"]);
    let start = |id: &str| waiting(&namespace, &image, id);
    let first = start("first");
    let code = files(&bed, "aot").remove(0);
    let good = fs::read(&code).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0x55;
    fs::write(&code, &bad).unwrap();
    let second = start("second");
    assert!(runs_compiled(&second.process()));
    let log = log(&namespace);
    assert_eq!((count(&log, "is not what its sidecar says"), count(&log, "is compiled")), (1, 2), "{log}");
    assert_eq!(fs::read(&code).unwrap(), good);
    first.end();
    second.end();
}

#[test]
fn two_servers_compile_one_module_once() {
    let bed = bed("aot = \"eager\"");
    let namespaces = [bed.namespace("one"), bed.namespace("two")];
    let images = namespaces.each_ref().map(|namespace| namespace.import_guests(&["wait"]));
    let compiled: Vec<usize> = std::thread::scope(|scope| {
        let run = |(namespace, image)| {
            scope.spawn(move || {
                let namespace: &Namespace = namespace;
                let task = waiting(namespace, image, "wait");
                assert!(runs_compiled(&task.process()));
                // The log goes with the server, which ends soon after its container.
                let compiled = count(&log(namespace), "is compiled");
                task.end();
                compiled
            })
        };
        let threads: Vec<_> = namespaces.iter().zip(&images).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(compiled.iter().sum::<usize>(), 1, "{compiled:?}");
}

#[test]
fn a_server_stays_until_its_module_is_compiled_and_the_next_one_finds_the_code() {
    let bed = bed("");
    let namespace = bed.namespace("stays");
    let image = namespace.import_guests(&["hello", "wait"]);
    assert_eq!(namespace.container(&image, "hello", &["/bin/hello.wasm"]).run().code, 0);
    eventually("the server ends", || namespace.servers().is_empty());
    assert_eq!(files(&bed, "aot").len(), 1);
    let task = waiting(&namespace, &image, "wait");
    assert_eq!(namespace.container(&image, "again", &["/bin/hello.wasm"]).run().code, 0);
    assert_eq!(count(&log(&namespace), "hello.wasm\" is compiled"), 0, "{}", log(&namespace));
    task.end();
}

#[test]
fn compiled_code_in_an_image_is_refused_also_when_it_is_our_own() {
    let bed = bed("aot = \"eager\"");
    let namespace = bed.namespace("smuggled");
    let image = namespace.import_guests(&["hello"]);
    assert_eq!(namespace.container(&image, "hello", &["/bin/hello.wasm"]).run().code, 0);
    let code = fs::read(files(&bed, "aot").remove(0)).unwrap();
    let layer =
        Layer::new().directory("/bin").file("/bin/hello.aot", code).file("/bin/hello.wasm", guest("hello"));
    let smuggled = Image::new("e2e.local/smuggled:1").layer(layer);
    namespace.import(&smuggled);
    let refusal = namespace.container(&smuggled, "aot", &["/bin/hello.aot"]).refusal();
    assert!(refusal.contains("never loaded"), "{refusal}");
    assert_eq!(namespace.container(&smuggled, "wasm", &["/bin/hello.wasm"]).run().code, 0);
}
