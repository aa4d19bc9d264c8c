//! Promise: `wamrctl` shows what runs with the kernel's own figures, and the cache as it is on disk; what does not answer
//! is named and keeps nothing else from being shown.
//!
//! Real: containerd, shim, servers, `wamr-aotc`, the cache. Each bed has a run directory and settings of its own.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::tool::{
    bed, compiling, fake_compiler, files, find, guest_digest, json, run_once, wamrctl, wamrctl_json,
};
use e2e::{aot_compiler, eventually, wait_for};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn ps_shows_containers_with_their_module_memory_and_state() {
    let bed = bed("aot = \"off\"");
    assert_eq!(json(&bed, &["ps"]), Value::Array(vec![]), "nothing runs yet");
    let (namespace, other) = (bed.namespace("ps"), bed.namespace("other"));
    let image = namespace.import_guests(&["wait", "dirty", "exit"]);
    let waiting = namespace.container(&image, "waiting", &["/bin/wait.wasm"]);
    let waiting = waiting.annotation("io.kubernetes.cri.sandbox-id", "pod-1").start();
    let dirty = namespace.container(&image, "dirty", &["/bin/dirty.wasm", "8", "stay"]).start();
    let ended = namespace.container(&image, "ended", &["/bin/exit.wasm", "7"]).start();
    waiting.stdout().wait_until_it_says("ready");
    dirty.stdout().wait_until_it_says("dirtied");
    assert_eq!(ended.wait(), 7);
    let elsewhere_image = other.import_guests(&["wait"]);
    let elsewhere = other.container(&elsewhere_image, "elsewhere", &["/bin/wait.wasm"]).start();
    elsewhere.stdout().wait_until_it_says("ready");

    let all = json(&bed, &["ps"]);
    assert_eq!(all.as_array().unwrap().len(), 4, "{all}");
    let row = find(&all, "id", "dirty");
    assert_eq!(row["namespace"], namespace.name.as_str());
    assert_eq!(row["server"], namespace.server().process.pid);
    assert_eq!(row["pid"], dirty.process().pid);
    assert_eq!(
        (&row["state"], &row["kind"], &row["sandbox"]),
        (&"running".into(), &"wasm".into(), &Value::Null)
    );
    assert_eq!(row["module"]["digest"], guest_digest("dirty"));
    assert_eq!(row["module"]["path"], "/bin/dirty.wasm");
    assert_eq!((&row["module"]["tier"], &row["module"]["template"]), (&"interpreter".into(), &true.into()));
    let private = row["memory"]["private_kib"].as_u64().unwrap();
    // Nothing in it moves, so both looks see the same.
    assert_eq!(private, dirty.process().private_memory() / 1024);
    assert!((8192..16384).contains(&private), "{row}");
    assert!(row["memory"]["shared_kib"].as_u64().unwrap() > 100, "the engine is shared: {row}");
    assert!(row["cpu_ns"].as_u64().unwrap() > 0, "{row}");

    assert_eq!(find(&all, "id", "waiting")["sandbox"], "pod-1");
    let row = find(&all, "id", "ended");
    assert_eq!((&row["state"], &row["exit"], &row["memory"]), (&"stopped".into(), &7.into(), &Value::Null));
    let one = json(&bed, &["ps", "--namespace", &other.name]);
    assert_eq!((one.as_array().unwrap().len(), &one[0]["id"]), (1, &"elsewhere".into()));

    let table = wamrctl(&bed, &["ps"]).succeeded().text();
    let line = table.lines().find(|line| line.contains(" dirty ")).unwrap();
    assert!(line.contains(&guest_digest("dirty")[7..19]) && line.contains("interpreter"), "{table}");
    assert!(table.contains("stopped (7)") && table.contains("pod-1"), "{table}");
    for task in [waiting, dirty, elsewhere] {
        task.end();
    }
    ended.finish();
    eventually("nothing to be shown", || json(&bed, &["ps"]).as_array().unwrap().is_empty());
}

#[test]
fn top_shows_who_computes_now() {
    let bed = bed("aot = \"off\"");
    let namespace = bed.namespace("top");
    let image = namespace.import_guests(&["wait"]);
    let idle = namespace.container(&image, "idle", &["/bin/wait.wasm"]).start();
    let busy = namespace.container(&image, "spinning", &["/bin/wait.wasm", "spin"]).start();
    idle.stdout().wait_until_it_says("ready");
    busy.stdout().wait_until_it_says("ready");
    let (looks, code) = wamrctl_json(&bed, &["top", "--interval", "1", "--count", "3"]);
    assert_eq!((looks.len(), code), (3, 0));
    assert_eq!(looks[0][0]["cpu_percent"], Value::Null, "nothing to compare with yet");
    for look in &looks[1..] {
        assert_eq!(look[0]["id"], "spinning", "the busiest first: {look}");
        let percent = |row: &Value| row["cpu_percent"].as_f64().unwrap();
        assert!(percent(&look[0]) > 5.0 && percent(&look[0]) < 150.0, "{look}");
        assert!(percent(&look[1]) < percent(&look[0]), "{look}");
    }
    let table = wamrctl(&bed, &["top", "--count", "1", "--sort", "id"]).succeeded().text();
    assert!(table.starts_with("2 containers, 2 running"), "{table}");
    idle.end();
    busy.end();
}

/// Whether all threads are stopped.
fn stands_still(pid: i32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    threads.map(stat).all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

#[test]
fn dead_mute_and_foreign_neighbours_are_named_and_cost_seconds() {
    let bed = bed("aot = \"off\"");
    let (namespace, doomed) = (bed.namespace("lives"), bed.namespace("dies"));
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, "a", &["/bin/wait.wasm"]).start();
    let doomed_image = doomed.import_guests(&["wait"]);
    let dead = doomed.container(&doomed_image, "b", &["/bin/wait.wasm"]).start();
    let server = doomed.server().process;
    server.signal(Signal::STOP);
    eventually("its server to stand still", || stands_still(server.pid));
    let start = Instant::now();
    let (rows, code) = wamrctl_json(&bed, &["ps"]);
    assert_eq!((rows[0].as_array().unwrap().len(), code), (1, 1), "{rows:?}");
    assert!(start.elapsed() < Duration::from_secs(30), "one that is stopped cannot hold it up");
    let words = wamrctl(&bed, &["ps"]).stderr;
    assert!(words.contains("no answer"), "{words}");

    server.signal(Signal::KILL);
    eventually("its server to be gone", || doomed.servers().is_empty());
    let run = bed.run_directory();
    fs::write(run.join("stranger"), "x").unwrap();
    fs::create_dir(run.join("mute")).unwrap();
    let _mute = UnixListener::bind(run.join("mute/control.sock")).unwrap();
    let output = wamrctl(&bed, &["ps"]);
    assert_eq!(output.code, 1);
    for words in ["stranger: it is no server's directory", "mute: the server gives no answer"] {
        assert!(output.stderr.contains(words), "{output:?}");
    }
    assert!(output.text().contains(&namespace.name) && !output.text().contains(&doomed.name), "{output:?}");
    fs::remove_dir_all(run.join("mute")).unwrap();
    fs::remove_file(run.join("stranger")).unwrap();
    assert_eq!(json(&bed, &["ps"]).as_array().unwrap().len(), 1, "a dead server is no fault");
    drop(dead);
    task.end();
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_cache_can_be_listed_verified_and_cleared_and_is_filled_again() {
    let bed = compiling("eager");
    assert_eq!(json(&bed, &["cache", "ls"]), Value::Array(vec![]), "no cache yet, and none is made");
    assert!(!bed.folder().join("aot").exists());
    let namespace = bed.namespace("cache");
    run_once(&namespace, "first", "quick");

    let list = json(&bed, &["cache", "ls"]);
    let entry = find(&list, "module", &guest_digest("wait"));
    assert_eq!((&entry["tier"], &entry["state"]), (&"quick".into(), &"good".into()), "{list}");
    let [code] = &files(&bed, "aot")[..] else { panic!("{list}") };
    let sidecar = fs::metadata(code.with_extension("key")).unwrap().len();
    assert_eq!(entry["size"], fs::metadata(code).unwrap().len() + sidecar);
    assert_eq!(code.file_stem().unwrap(), entry["name"].as_str().unwrap());
    let (dropped, status) = wamrctl_json(&bed, &["cache", "verify"]);
    assert_eq!((&dropped[0], status), (&Value::Array(vec![]), 0));

    flip_a_byte(code);
    assert_eq!(json(&bed, &["cache", "ls"])[0]["state"], "damaged");
    let (dropped, status) = wamrctl_json(&bed, &["cache", "verify"]);
    assert_eq!((&dropped[0][0]["name"], status), (&entry["name"], 1));
    assert!(files(&bed, "aot").is_empty() && files(&bed, "key").is_empty());

    eventually("the server to end with its template", || namespace.servers().is_empty());
    run_once(&namespace, "again", "quick");
    let output = wamrctl(&bed, &["cache", "rm", "ffffffffffff"]);
    assert!(output.code == 1 && output.stderr.contains("ffffffffffff"), "{output:?}");
    let gone = json(&bed, &["cache", "rm", &guest_digest("wait")]);
    assert_eq!(gone.as_array().unwrap().len(), 1, "{gone}");
    assert!(files(&bed, "aot").is_empty());

    eventually("the server to end with its template", || namespace.servers().is_empty());
    run_once(&namespace, "third", "quick");
    let draft = bed.folder().join("aot/draft.1.1");
    fs::write(&draft, "half").unwrap();
    let hour = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(&draft).unwrap().set_modified(hour).unwrap();
    assert!(json(&bed, &["cache", "gc"]).as_array().unwrap().is_empty());
    assert!(!draft.exists() && files(&bed, "aot").len() == 1, "what a crash left goes, code stays");
    let gone = json(&bed, &["cache", "gc", "--size", "1KiB"]);
    assert_eq!((gone.as_array().unwrap().len(), files(&bed, "aot").len()), (1, 0), "{gone}");
}

#[test]
fn a_module_that_cannot_be_compiled_is_shown_with_the_reason_and_tried_again_when_it_is_forgotten() {
    let bed = compiling("eager");
    // Fails for every module, as a compiler with a fault would: its words become the reason.
    let program = fake_compiler(&bed, "echo no way >&2; exit 1");
    let cache = bed.folder().join("aot");
    let settings = |compiler: &Path| {
        format!("linger = 1\naot = \"eager\"\naot_cache = {cache:?}\naot_compiler = {compiler:?}")
    };
    bed.configure(&settings(&program));
    let namespace = bed.namespace("failed");
    run_once(&namespace, "a", "interpreter");
    let entry = wait_for("the failure to be kept", || json(&bed, &["cache", "ls"]).get(0).cloned());
    assert_eq!((&entry["state"], &entry["reason"]), (&"failed".into(), &"no way".into()), "{entry}");
    let table = wamrctl(&bed, &["cache", "ls"]).succeeded().text();
    assert!(table.contains("failed: no way"), "{table}");
    assert_eq!(json(&bed, &["cache", "rm", "--failed"]).as_array().unwrap().len(), 1);
    eventually("the server to end", || namespace.servers().is_empty());
    bed.configure(&settings(&aot_compiler()));
    run_once(&namespace, "b", "quick");
}
