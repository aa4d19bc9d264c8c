//! Which containerd, and which shim.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Name under which containerd finds the shim.
pub const RUNTIME: &str = "io.containerd.wamr.v1";

/// A containerd release from the cache that `test/bed/fetch.sh` fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `2.1.9`, `1.7.24` or `1.6.20`.
    pub version: String,
    /// Holds containerd, ctr, containerd-shim-runc-v2 and runc.
    pub bin: PathBuf,
}

impl Release {
    /// The one named by the environment variable `CONTAINERD`, else 2.1.9; fetched if it is not there yet.
    pub fn chosen() -> &'static Release {
        static CHOSEN: OnceLock<Release> = OnceLock::new();
        CHOSEN.get_or_init(|| {
            let version = std::env::var("CONTAINERD").unwrap_or_else(|_| "2.1.9".to_owned());
            bed_script("fetch.sh", &["containerd", &version]);
            let bin = PathBuf::from(bed_script("fetch.sh", &["path", "containerd", &version]).trim());
            Release { version, bin }
        })
    }

    /// Whether this is containerd 2 or later.
    pub fn is_2(&self) -> bool {
        self.version.starts_with("2.")
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The folder of this project's `test/`.
pub fn test_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in test/")
}

/// Runs a script of `test/bed/` and returns what it printed.
pub fn bed_script(name: &str, args: &[&str]) -> String {
    let script = test_folder().join("bed").join(name);
    let output = Command::new(&script).args(args).output().expect("run a script of the bed");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} {args:?} failed: {words}", script.display());
    if !words.is_empty() {
        eprint!("{words}");
    }
    String::from_utf8(output.stdout).expect("a script prints text")
}

/// The AOT compiler: the one that `WAMR_AOTC` names, else built now.
pub fn aot_compiler() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        if let Some(given) = std::env::var_os("WAMR_AOTC") {
            return given.into();
        }
        let script = test_folder().join("../deploy/build-aotc.sh");
        let output = Command::new(script).output().expect("run deploy/build-aotc.sh");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "deploy/build-aotc.sh failed: {words}");
        String::from_utf8(output.stdout).expect("a path").trim().into()
    };
    BUILT.get_or_init(build).clone()
}

/// The static busybox, for native containers.
pub fn busybox_bytes() -> Vec<u8> {
    bed_script("fetch.sh", &["busybox"]);
    let folder = bed_script("fetch.sh", &["path", "busybox"]);
    std::fs::read(Path::new(folder.trim()).join("busybox")).expect("read busybox")
}

/// cargo's target folder, in which this test binary lies.
pub fn target_folder() -> PathBuf {
    // target/debug/deps/NAME
    let exe = std::env::current_exe().expect("a test has a path");
    exe.ancestors().nth(3).expect("a test lies three folders deep").to_owned()
}

/// The folder of `containerd-shim-wamr-v1`: `SHIM_DIR`, else the one that `deploy/build.sh test-release` fills.
pub fn shim_folder() -> PathBuf {
    match std::env::var_os("SHIM_DIR") {
        Some(folder) => folder.into(),
        None => {
            let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
            target_folder().join(target).join("test-release")
        }
    }
}

/// The shim under test.
///
/// # Panics
/// When it was not built.
pub fn shim_binary() -> PathBuf {
    let path = shim_folder().join("containerd-shim-wamr-v1");
    assert!(
        path.exists(),
        "{} is missing: run deploy/build.sh test-release, or set SHIM_DIR",
        path.display()
    );
    path
}
