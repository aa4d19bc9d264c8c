//! Guests, compiled from `test/guests` once per source, into cargo's target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::components::{bed_script, target_folder, test_folder};

/// The module of a guest: `hello` is made from `test/guests/hello.c`, `hello.wat` or `hello.rs`.
///
/// # Panics
/// When there is no such guest or it does not compile.
pub fn guest(name: &str) -> Vec<u8> {
    // Tests of one binary run side by side.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let source = ["c", "wat", "rs"].map(|kind| test_folder().join("guests").join(format!("{name}.{kind}")));
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
    if source.extension().is_some_and(|kind| kind == "rs") {
        return compile_rust(source, module);
    }
    let mut command = Command::new("clang");
    command.args(["--target=wasm32-wasi", "-O1", "-Wall", "-o"]).arg(module).arg(source);
    if fs::read_to_string(source).is_ok_and(|text| text.contains("<wasi_socket_ext.h>")) {
        let library = wamr_source().join("core/iwasm/libraries/lib-socket");
        command.arg("-I").arg(library.join("inc")).arg(library.join("src/wasi/wasi_socket_ext.c"));
    }
    let output = command.output().expect("run clang (test/bed/packages.sh installs it)");
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
}

/// By Debian's compiler: the one that builds this project has no standard library for WASI without rustup's servers.
fn compile_rust(source: &Path, module: &Path) {
    let root = PathBuf::from(bed_script("rust.sh", &[]).trim());
    let library = root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let output = Command::new(root.join("usr/bin/rustc"))
        .args(["--edition", "2021", "-O", "--target", "wasm32-wasi", "-C", "linker=wasm-ld", "--sysroot"])
        .arg(root.join("usr"))
        .arg("-o")
        .arg(module)
        .arg(source)
        .env("LD_LIBRARY_PATH", library)
        // What WASI's part of this library offers was not yet called stable then.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()
        .expect("run rustc");
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
}

/// WAMR's source tree, from which the engine is built too: it holds its library of sockets for guests.
fn wamr_source() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version=1", "--manifest-path"])
        .arg(test_folder().join("../Cargo.toml"))
        .output()
        .expect("run cargo metadata");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let package = packages.iter().find(|package| package["name"] == "wamrx-sys").expect("WAMR's package");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    manifest.with_file_name("wasm-micro-runtime")
}
