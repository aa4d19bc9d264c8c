//! Guests, compiled from `test/guests` once per source, into cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::components::{target_folder, test_folder};

/// The module of a guest: `hello` is made from `test/guests/hello.c` or `hello.wat`.
///
/// # Panics
/// When there is no such guest or it does not compile.
pub fn guest(name: &str) -> Vec<u8> {
    // Tests of one binary run side by side.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let source = ["c", "wat"].map(|kind| test_folder().join("guests").join(format!("{name}.{kind}")));
    let source = source.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no guest {name:?}"));
    let text = fs::read(source).expect("read a guest's source");
    let hash: String = Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let folder = target_folder().join("e2e-guests");
    let module = folder.join(format!("{name}-{hash}.wasm"));
    if let Ok(bytes) = fs::read(&module) {
        return bytes;
    }
    fs::create_dir_all(&folder).expect("make the folder of guests");
    // Renamed into place: several test binaries may build at once.
    let draft = folder.join(format!("{name}-{}.draft", std::process::id()));
    compile(source, &draft);
    fs::rename(&draft, &module).expect("put a guest in place");
    fs::read(&module).expect("read a guest")
}

fn compile(source: &Path, module: &PathBuf) {
    if source.extension().is_some_and(|kind| kind == "wat") {
        let bytes = wat::parse_file(source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        return fs::write(module, bytes).expect("write a guest");
    }
    let output = Command::new("clang")
        .args(["--target=wasm32-wasi", "-O1", "-Wall", "-o"])
        .arg(module)
        .arg(source)
        .output()
        .expect("run clang (test/bed/packages.sh installs it)");
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
}
