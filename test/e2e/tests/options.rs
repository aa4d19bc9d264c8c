//! Promise: settings are taken from the node's file, then from runtime options; what is wrong with them fails the create
//! with the key's name, and the shim lives.
//!
//! The node's file is the real path, in a mount namespace of containerd and its shims.

use e2e::direct::{keep, nothing_leaked};
use e2e::{Bed, Image, Namespace};

/// `runtimeoptions.v1.Options`: 2 is `config_path`, 3 is `config_body`.
fn field(number: u8, text: &str) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
}

fn refusal(namespace: &Namespace, image: &Image, message: &str, bytes: Vec<u8>) -> String {
    namespace.container(image, "a", &["/bin/hello.wasm"]).options(message, bytes).refusal()
}

const OPTIONS: &str = "runtimeoptions.v1.Options";

#[test]
fn runtime_options_are_honoured_and_their_faults_are_named() {
    let bed = Bed::shared();
    let namespace = bed.namespace("options");
    let (image, keeper) = keep(&namespace);
    let run = |message: &str, bytes: Vec<u8>| {
        let container = namespace.container(&image, "a", &["/bin/hello.wasm"]).options(message, bytes);
        assert_eq!(container.run().text(), "hello from wasm\n");
    };
    run(OPTIONS, field(3, "wasm_stack_size = \"64KiB\""));
    // Tools send them to any runtime: runc's own, and SystemdCgroup among ours.
    run("containerd.runc.v1.Options", vec![0x58, 1]);
    run(OPTIONS, field(3, "SystemdCgroup = false"));

    for (text, key) in [
        ("frobnicate = 1", "frobnicate"),
        ("wasm_stack_size = \"many\"", "wasm_stack_size"),
        ("sharing = \"everything\"", "sharing"),
        ("linger = -1", "linger"),
    ] {
        let words = refusal(&namespace, &image, OPTIONS, field(3, text));
        assert!(words.contains(key), "{key} is not in: {words}");
        let path = bed.folder().join("options.toml");
        std::fs::write(&path, text).unwrap();
        let words = refusal(&namespace, &image, OPTIONS, field(2, &path.display().to_string()));
        assert!(words.contains(key), "{key} is not in: {words}");
    }
    let words = refusal(&namespace, &image, OPTIONS, field(2, "/no/such.toml"));
    assert!(words.contains("/no/such.toml"), "{words}");
    let words = refusal(&namespace, &image, OPTIONS, vec![0x1a, 200]);
    assert!(words.contains("runtime options"), "{words}");
    nothing_leaked(&namespace, keeper);
}

#[test]
fn the_node_s_file_is_honoured_and_its_faults_are_named() {
    let bed = Bed::with_configuration();
    let namespace = bed.namespace("file");
    bed.configure("linger = 1\nmax_module_size = \"1KiB\"\n");
    let image = namespace.import_guests(&["hello"]);
    let words = namespace.container(&image, "large", &["/bin/hello.wasm"]).refusal();
    assert!(words.contains("max_module_size"), "{words}");

    bed.configure("linger = 1\n");
    e2e::eventually("the server to end", || namespace.servers().is_empty());
    let (image, keeper) = keep(&namespace);
    bed.configure("linger = 1\nfrobnicate = true\n");
    let words = namespace.container(&image, "next", &["/bin/hello.wasm"]).refusal();
    assert!(words.contains("frobnicate") && words.contains("config.toml"), "{words}");
    assert_eq!(keeper.state().0, "RUNNING");
    bed.configure("");
    assert_eq!(namespace.container(&image, "last", &["/bin/hello.wasm"]).run().code, 0);
    nothing_leaked(&namespace, keeper);
}
