//! Promise: what cannot run is refused by Create, in words that name the file or field and say why; nothing is left.

use e2e::{Bed, Image, Layer, Namespace, Traces, guest};
use serde_json::json;

/// Runs the namespace's good guest: the server is none the worse.
fn still_works(namespace: &Namespace, image: &Image) {
    let left = Traces::of_containers(namespace);
    assert!(left.is_empty(), "left behind: {left:?}");
    let finished = namespace.container(image, "good", &["/hello.wasm"]).run();
    assert_eq!(finished.text(), "hello from wasm\n");
}

fn names(refusal: &str, words: &[&str]) {
    for word in words {
        assert!(refusal.contains(word), "{word:?} is not in: {refusal}");
    }
}

fn good() -> Image {
    Image::new("e2e.local/good:1").layer(Layer::new().file("/hello.wasm", guest("hello")))
}

#[test]
fn files_that_are_no_module_are_named_with_the_reason() {
    let bed = Bed::shared();
    let namespace = bed.namespace("files");
    let hello = guest("hello");
    let cases: [(&str, &[u8], &[&str]); 8] = [
        ("empty", b"", &["is empty"]),
        ("cut", &hello[..6], &["cut off"]),
        ("truncated", &hello[..hello.len() / 2], &["module"]),
        ("garbage", &[0x5a; 4096], &["is no wasm module"]),
        ("component", b"\0asm\x0d\0\x01\0", &["component"]),
        ("future", b"\0asm\x02\0\0\0", &["version 2"]),
        ("aot", b"\0aot\x04\0\0\0", &["aot"]),
        ("text", b"(module)", &["text"]),
    ];
    let layer = Layer::new().file("/hello.wasm", &hello);
    let layer = cases.iter().fold(layer, |layer, (name, bytes, _)| layer.file(&format!("/{name}"), bytes));
    let image = Image::new("e2e.local/bad:1").layer(layer.directory("/folder"));
    namespace.import(&image);
    for (name, _, words) in cases {
        let path = format!("/{name}");
        let refusal = namespace.container(&image, name, &[&path]).refusal();
        names(&refusal, &[&path]);
        names(&refusal, words);
    }
    let refusal = namespace.container(&image, "folder", &["/folder"]).refusal();
    names(&refusal, &["/folder", "directory"]);
    still_works(&namespace, &image);
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let bed = Bed::shared();
    let namespace = bed.namespace("missing");
    let image = good();
    namespace.import(&image);
    names(
        &namespace.container(&image, "path", &["/no/such.wasm"]).refusal(),
        &["/no/such.wasm", "does not exist"],
    );
    names(&namespace.container(&image, "bare", &["such.wasm"]).refusal(), &["such.wasm"]);
    names(&namespace.container(&image, "empty", &[""]).refusal(), &["empty"]);
    names(&namespace.container(&image, "none", &[]).refusal(), &["args"]);
    let output = namespace.ctr().container(&["--rm"], &image, "ctr", &["/no/such.wasm"]);
    assert!(output.code != 0 && output.stderr.contains("/no/such.wasm"), "{output:?}");
    still_works(&namespace, &image);
}

#[test]
fn modules_that_cannot_run_are_refused_with_the_reason() {
    let bed = Bed::shared();
    let namespace = bed.namespace("modules");
    let layer = ["unknown_import", "no_start", "four_gib"]
        .iter()
        .fold(Layer::new().file("/hello.wasm", guest("hello")), |layer, name| {
            layer.file(&format!("/{name}.wasm"), guest(name))
        });
    let image = Image::new("e2e.local/modules:1").layer(layer);
    namespace.import(&image);
    let refusal = namespace.container(&image, "import", &["/unknown_import.wasm"]).refusal();
    names(&refusal, &["/unknown_import.wasm", "acme", "launch_rocket"]);
    let refusal = namespace.container(&image, "start", &["/no_start.wasm"]).refusal();
    names(&refusal, &["/no_start.wasm", "_start"]);
    let refusal = namespace.container(&image, "memory", &["/four_gib.wasm"]).memory_limit(64 << 20).refusal();
    names(&refusal, &["/four_gib.wasm", "65536", "memory"]);
    still_works(&namespace, &image);
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let bed = Bed::shared();
    let namespace = bed.namespace("limits");
    let image = good();
    namespace.import(&image);
    let limited = |id: &str| namespace.container(&image, id, &["/hello.wasm"]);
    names(&limited("tiny").memory_limit(1000).refusal(), &["linux.resources.memory.limit"]);
    let mut negative = limited("negative");
    negative.spec.set("/linux/resources", "memory", json!({ "limit": -5 }));
    names(&negative.refusal(), &["linux.resources.memory.limit"]);
    let mut swap = limited("swap");
    swap.spec.set("/linux/resources", "memory", json!({ "limit": 32 << 20, "swap": 16 << 20 }));
    names(&swap.refusal(), &["linux.resources.memory.swap"]);
    let mut quota = limited("quota");
    quota.spec.set("/linux/resources", "cpu", json!({ "quota": 5, "period": 100_000 }));
    names(&quota.refusal(), &["linux.resources.cpu.quota"]);
    still_works(&namespace, &image);
}

#[test]
fn settings_that_do_not_exist_are_named() {
    let bed = Bed::shared();
    let namespace = bed.namespace("settings");
    let image = good();
    namespace.import(&image);
    let container = namespace.container(&image, "annotation", &["/hello.wasm"]);
    let refusal = container.annotation("wamr.containerd.io/frobnicate", "1").refusal();
    names(&refusal, &["wamr.containerd.io/frobnicate"]);
    let others = namespace.container(&image, "others", &["/hello.wasm"]).annotation("example.org/x", "y");
    assert_eq!(others.run().code, 0, "annotations of others are none of our business");

    let config = bed.folder().join("frobnicate.toml");
    std::fs::write(&config, "frobnicate = 1\n").unwrap();
    let path = config.display().to_string();
    let options = ["--rm", "--runtime-config-path", &path];
    let output = namespace.ctr().container(&options, &image, "config", &["/hello.wasm"]);
    assert!(output.code != 0 && output.stderr.contains("frobnicate"), "{output:?}");
    std::fs::write(&config, "wasm_stack_size = \"64KiB\"\n").unwrap();
    let options = ["--rm", "--runtime-config-path", &path];
    namespace.ctr().container(&options, &image, "known", &["/hello.wasm"]).succeeded();
    still_works(&namespace, &image);
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let bed = Bed::shared();
    let namespace = bed.namespace("spec");
    let image = good();
    namespace.import(&image);
    let container = |id: &str| namespace.container(&image, id, &["/hello.wasm"]);
    let mut hook = container("hook");
    hook.spec.set("", "hooks", json!({ "poststop": [{ "path": "/bin/true" }] }));
    names(&hook.refusal(), &["hooks.poststop", "/bin/true"]);
    let mut user = container("user");
    user.spec.push("/linux/namespaces", json!({ "type": "user" }));
    names(&user.refusal(), &["linux.namespaces", "user"]);
    let mut cwd = container("cwd");
    cwd.spec.set("/process", "cwd", json!("relative"));
    names(&cwd.refusal(), &["process.cwd"]);
    still_works(&namespace, &image);
}

#[test]
fn ids_that_leave_their_folder_are_refused() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ids");
    let image = good();
    namespace.import(&image);
    for id in ["../escape", "..", "a/../b", "/absolute", "with space", "a\nb"] {
        let output = namespace.ctr().container(&["--rm"], &image, id, &["/hello.wasm"]);
        assert!(output.code != 0 && output.text().is_empty(), "{id:?}: {output:?}");
    }
    still_works(&namespace, &image);
}
