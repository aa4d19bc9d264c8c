//! Images of the tests, imported into containerd's namespace of Kubernetes.

use std::fs;

use e2e::{Image, Layer, busybox_bytes, guest};

use crate::Node;
use crate::config::PAUSE;

/// An image with the guests the tests use, each at `/NAME.wasm`.
pub const GUESTS: &str = "e2e.local/guests:1";

/// An ordinary native image.
pub const BUSYBOX: &str = "docker.io/library/busybox:1.36";

/// The guests, and busybox beside them.
pub const BOTH: &str = "e2e.local/both:1";

/// All images there are.
pub(crate) fn all() -> Vec<Image> {
    let names = ["hello", "exit", "wait", "dirty", "file", "env", "flood", "trap", "watch", "cat", "http"];
    let guests = names
        .iter()
        .fold(Layer::new().directory("tmp"), |layer, name| layer.file(&format!("{name}.wasm"), guest(name)));
    let busybox = Layer::new().directory("tmp").directory("bin").file("bin/busybox", busybox_bytes());
    let busybox =
        ["sh", "cat", "ls", "sleep", "wget", "nc", "httpd", "true", "false", "echo", "id", "hostname"]
            .iter()
            .fold(busybox, |layer, name| layer.symlink(&format!("bin/{name}"), "busybox"));
    vec![
        Image::new(GUESTS).layer(guests.clone()).entrypoint(&["/hello.wasm"]),
        // The next release of the same program.
        Image::new("e2e.local/guests:2")
            .layer(guests.clone().file("release", "2"))
            .entrypoint(&["/hello.wasm"]),
        // What the samples in deploy/ name.
        Image::new("registry.example/watch:1").layer(Layer::new().file("watch.wasm", guest("watch"))),
        Image::new("registry.example/http:1").layer(Layer::new().file("http.wasm", guest("http"))),
        // A module and native programs.
        Image::new(BOTH).layer(guests.clone()).layer(busybox.clone()),
        Image::new(BUSYBOX).layer(busybox.clone()).entrypoint(&["/bin/sh"]),
        Image::new(PAUSE).layer(busybox).entrypoint(&["/bin/sleep", "2147483647"]),
    ]
}

/// Imports them.
pub(crate) fn import(node: &Node, folder: &std::path::Path) {
    let tar = folder.join("image.tar");
    for image in all() {
        image.write(&tar);
        let tar = tar.display().to_string();
        node.run(&["ctr", "--namespace", "k8s.io", "images", "import", &tar]).succeeded();
    }
    fs::remove_file(tar).expect("remove an image's file");
}
