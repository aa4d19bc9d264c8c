//! A digest of all that says how the compiler makes code: the options it passes to WAMR and LLVM, what it does itself with
//! their code, and which LLVM it is built with. All of that is in its sources, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Of crates/aotc: glue and options, the parts of a module, definitions for WAMR, the version of LLVM.
const COMPILER: [&str; 4] = ["glue", "src", "cmake", "build.rs"];

/// A digest, and what it was made of.
pub struct Fingerprint {
    /// 16 hexadecimal digits.
    pub digest: String,
    /// The files and directories.
    pub paths: Vec<PathBuf>,
}

/// That of the compiler in this checkout.
pub fn of_the_compiler() -> Fingerprint {
    // Asked for now: what was built may have been in a checkout that is gone.
    let here = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    of(&here.with_file_name("aotc"), &COMPILER)
}

/// That of files and directories below `root`: their names and all bytes in them, in an order that does not depend on
/// the machine.
///
/// # Panics
/// What cannot be read.
pub fn of(root: &Path, names: &[&str]) -> Fingerprint {
    let mut files = Vec::new();
    for name in names {
        list(&root.join(name), &mut files);
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in &files {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy();
        let bytes = fs::read(file).unwrap_or_else(|e| panic!("read {}: {e}", file.display()));
        // With its length, so that no file passes for the end of another.
        digest.update(format!("{name}\n{}\n", bytes.len()));
        digest.update(bytes);
    }
    let digest = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Fingerprint { digest, paths: names.iter().map(|name| root.join(name)).collect() }
}

fn list(path: &Path, files: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    let entries = fs::read_dir(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
        list(&entry.path(), files);
    }
}
