//! Promise: what `wamrctl compile` makes of a file or an image is what the first container runs; nothing else is left of it.
//!
//! Real: containerd with its images and snapshots, `wamr-aotc` in its cgroup, the cache, servers.

use std::fs;

use e2e::tool::{compiler_cgroups, compiling, fake_compiler, files, guest_digest, json, run_once, wamrctl};
use e2e::{Bed, Image, Layer, Process, busybox_bytes, guest, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// What `compile` made of each tier.
fn outcomes(done: &Value) -> Vec<(&str, &str)> {
    done.as_array()
        .unwrap()
        .iter()
        .map(|done| (done["tier"].as_str().unwrap(), done["outcome"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_module_s_file_is_compiled_into_what_the_first_container_runs() {
    let bed = compiling("background");
    let file = bed.folder().join("wait.wasm");
    fs::write(&file, guest("wait")).unwrap();
    let file = file.display().to_string();
    let output = wamrctl(&bed, &["compile", "--json", "--tier", "quick", &file]).succeeded();
    assert!(output.stderr.contains("compiling") && output.stderr.contains("tier quick"), "{output:?}");
    let done = json(&bed, &["compile", &file]);
    assert_eq!(outcomes(&done), [("quick", "present"), ("top", "compiled")], "{done}");
    assert_eq!(done[0]["module"], guest_digest("wait"));
    let list = json(&bed, &["cache", "ls"]);
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert!(list.as_array().unwrap().iter().all(|entry| entry["state"] == "good"), "{list}");
    // The image holds the same bytes under another name.
    run_once(&bed.namespace("file"), "first", "top");
    assert_eq!(files(&bed, "aot").len(), 2);

    let output = wamrctl(&bed, &["compile", "/etc/passwd"]);
    assert!(output.code == 1 && output.stderr.contains("/etc/passwd"), "{output:?}");
    bed.configure("aot_compiler = \"/nonexistent/wamr-aotc\"");
    let output = wamrctl(&bed, &["compile", &file]);
    assert!(output.code == 1 && output.stderr.contains("/nonexistent/wamr-aotc"), "{output:?}");
}

/// What of a bed, or of the tool, is mounted where all see it.
fn mounts_of(bed: &Bed) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let ours = |line: &&str| line.contains(&bed.folder().display().to_string()) || line.contains("wamrctl");
    mounts.lines().filter(ours).map(str::to_owned).collect()
}

#[test]
fn an_image_s_module_is_compiled_and_nothing_of_the_view_is_left() {
    let bed = compiling("background");
    let namespace = bed.namespace("image");
    let layers =
        [Layer::new().file("/app.wasm", guest("hello")), Layer::new().file("/app.wasm", guest("wait"))];
    let [lower, upper] = layers;
    let image = Image::new("e2e.local/app:1").layer(lower).layer(upper).entrypoint(&["app.wasm"]);
    namespace.import(&image);
    let mounts = mounts_of(&bed);
    let compile = |more: &[&str]| {
        let args = [&["compile", "-n", &namespace.name, "--tier", "top"], more].concat();
        json(&bed, &args)
    };
    let done = compile(&["e2e.local/app:1"]);
    assert_eq!(
        (outcomes(&done), &done[0]["module"]),
        (vec![("top", "compiled")], &guest_digest("wait").into())
    );
    assert_eq!(done[0]["path"], "/app.wasm");
    let single = namespace.import_guests(&["dirty"]);
    let done = compile(&[single.name(), "--command", "/bin/dirty.wasm"]);
    assert_eq!(done[0]["module"], guest_digest("dirty"), "{done}");
    let snapshots = namespace.ctr().run(&["snapshots", "ls"]).succeeded().text();
    let leases = namespace.ctr().run(&["leases", "ls"]).succeeded().text();
    assert!(!snapshots.contains("wamrctl") && !leases.contains("wamrctl"), "{snapshots}{leases}");
    assert_eq!(mounts_of(&bed), mounts);

    let task = namespace.container(&image, "first", &["app.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    let row = json(&bed, &["ps"]);
    assert_eq!((&row[0]["module"]["tier"], &row[0]["module"]["path"]), (&"top".into(), &"/app.wasm".into()));
    task.end();

    let native = Image::new("e2e.local/native:1")
        .layer(Layer::new().file("/sh", busybox_bytes()))
        .entrypoint(&["/sh"]);
    namespace.import(&native);
    for (name, words) in [
        ("e2e.local/native:1", "is a Linux program"),
        ("e2e.local/missing:1", "there is no image"),
        (single.name(), "--command"),
    ] {
        let output = wamrctl(&bed, &["compile", "-n", &namespace.name, name]);
        assert!(output.code == 1 && output.stderr.contains(words), "{output:?}");
    }
    let output =
        wamrctl(&bed, &["compile", "-n", &namespace.name, "--snapshotter", "native", "e2e.local/app:1"]);
    assert!(output.code == 1 && output.stderr.contains("--snapshotter"), "{output:?}");
    let leases = namespace.ctr().run(&["leases", "ls"]).succeeded().text();
    assert!(!leases.contains("wamrctl"), "{leases}");
}

#[test]
fn an_interrupted_compile_ends_its_compiler_and_leaves_no_cgroup() {
    let bed = compiling("background");
    // A compiler that takes for ever.
    let program = fake_compiler(&bed, "exec sleep 1000");
    bed.configure(&format!("aot_cache = {:?}\naot_compiler = {program:?}", bed.folder().join("aot")));
    let file = bed.folder().join("wait.wasm");
    fs::write(&file, guest("wait")).unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = bed.beside(&e2e::shim_folder().join("wamrctl"));
        let mut child =
            command.arg("compile").arg(&file).stderr(std::process::Stdio::null()).spawn().unwrap();
        let tool = wait_for("its process", || Process::of(i32::try_from(child.id()).unwrap()));
        let compiler =
            wait_for("its compiler", || tool.children().into_iter().find(|child| child.comm == "sleep"));
        assert!(!compiler_cgroups(tool.pid).is_empty());
        tool.signal(signal);
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(!compiler.is_there() && compiler_cgroups(tool.pid).is_empty());
    }
    assert_eq!(fs::read_dir(bed.folder().join("aot")).unwrap().count(), 0, "no draft, no lock, no failure");
}

#[test]
fn what_a_killed_compile_leaves_is_removed_by_the_next_one_and_nothing_of_one_that_goes_on() {
    let bed = compiling("background");
    let cache = bed.folder().join("aot");
    // These stay outside the cgroup that is made for them, so that it is empty.
    let program = fake_compiler(&bed, "exec sleep 1000");
    bed.configure(&format!("aot_cache = {cache:?}\naot_compiler = {program:?}"));
    let file = |name: &str| {
        let path = bed.folder().join(format!("{name}.wasm"));
        fs::write(&path, guest(name)).unwrap();
        path.display().to_string()
    };
    let compile = |name: &str| {
        let mut command = bed.beside(&e2e::shim_folder().join("wamrctl"));
        command.arg("compile").arg(file(name)).stderr(std::process::Stdio::null());
        let child = command.spawn().unwrap();
        let tool = wait_for("its process", || Process::of(i32::try_from(child.id()).unwrap()));
        let compiler =
            wait_for("its compiler", || tool.children().into_iter().find(|child| child.comm == "sleep"));
        (child, tool, compiler)
    };
    let (mut killed, killed_tool, its_compiler) = compile("wait");
    let (mut going_on, other_tool, _) = compile("hello");
    killed.kill().unwrap();
    killed.wait().unwrap();
    its_compiler.signal(Signal::KILL);
    assert!(!compiler_cgroups(killed_tool.pid).is_empty(), "nobody has removed them");
    let others = compiler_cgroups(other_tool.pid);

    bed.configure(&format!("aot_cache = {cache:?}\naot_compiler = {:?}", e2e::aot_compiler()));
    json(&bed, &["compile", "--tier", "quick", &file("dirty")]);
    assert_eq!(compiler_cgroups(killed_tool.pid), Vec::<std::path::PathBuf>::new());
    assert!(!others.is_empty() && compiler_cgroups(other_tool.pid) == others);
    other_tool.signal(Signal::TERM);
    assert_eq!(going_on.wait().unwrap().code(), Some(1));
}
