//! The images of the tests.

use std::process::Command;
use std::sync::OnceLock;

use e2e::{Image, Layer, guest, test_folder};

/// What the CRI plugin is told to run in each pod first.
pub const PAUSE: &str = "e2e.local/pause:1";

/// `FROM scratch` with the guests as `/NAME.wasm`; the first of them is the entry point.
pub fn guests(name: &str, guests: &[&str]) -> Image {
    let layer =
        guests.iter().fold(Layer::new(), |layer, name| layer.file(&format!("/{name}.wasm"), guest(name)));
    Image::new(&format!("e2e.local/{name}:1"))
        .layer(layer)
        .entrypoint(&[&format!("/{}.wasm", guests.first().expect("an image of guests has one"))])
}

/// A native busybox with its tools in `/bin`.
pub fn busybox() -> Image {
    let tools = [
        "cat", "chmod", "dd", "echo", "env", "grep", "head", "hostname", "id", "ip", "kill", "ls", "mkdir",
        "mknod", "mount", "nc", "ps", "readlink", "sed", "sh", "sleep", "sort", "stat", "stty", "sync",
        "touch", "true", "tty", "umount", "unshare", "wc",
    ];
    let layer = Layer::new().directory("/bin").file("/bin/busybox", e2e::busybox_bytes());
    let layer = tools.iter().fold(layer, |layer, tool| layer.symlink(&format!("/bin/{tool}"), "busybox"));
    Image::new("e2e.local/busybox:1").layer(layer).entrypoint(&["/bin/sh"])
}

/// A native program that waits, for the containers that hold a pod's namespaces.
pub fn pause() -> Image {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| compile("pause"));
    Image::new(PAUSE).layer(Layer::new().file("/pause", program)).entrypoint(&["/pause"])
}

/// A static program, from `test/cri/NAME.c`.
pub fn compile(name: &str) -> Vec<u8> {
    let source = test_folder().join(format!("cri/{name}.c"));
    // By process: several programs may build it at once.
    let program = std::env::temp_dir().join(format!("cri-{name}-{}", std::process::id()));
    let mut compiler = Command::new("cc");
    e2e::run(compiler.args(["-static", "-Os", "-o"]).arg(&program).arg(&source), b"").succeeded();
    let bytes = std::fs::read(&program).expect("read a compiled program");
    std::fs::remove_file(&program).expect("remove a compiled program");
    bytes
}
