//! `wamrctl`, as a person uses it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::components::shim_folder;
use crate::program::{Output, run_within};
use crate::{Bed, Namespace, Setup, aot_compiler, guest};

/// Compiling takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs it where the bed's shims are.
///
/// # Panics
/// When it was not built, or does not end.
pub fn wamrctl(bed: &Bed, args: &[&str]) -> Output {
    let program = shim_folder().join("wamrctl");
    assert!(program.exists(), "{} is missing: run deploy/build.sh test-release", program.display());
    let mut command = bed.beside(&program);
    command.env("CONTAINERD_ADDRESS", bed.socket()).args(args);
    run_within(PATIENCE, &mut command, b"")
}

/// What it prints with `--json`, one value a line, and its exit code.
///
/// # Panics
/// As [`wamrctl`], and when it prints something else.
pub fn wamrctl_json(bed: &Bed, args: &[&str]) -> (Vec<Value>, i32) {
    let output = wamrctl(bed, &[&["--json"], args].concat());
    let values = output.text().lines().map(serde_json::from_str).collect::<Result<_, _>>();
    (values.unwrap_or_else(|e| panic!("{e}: {output:?}")), output.code)
}

/// A bed whose shims and tools have a run directory, a cache and settings of their own.
pub fn bed(settings: &str) -> Arc<Bed> {
    let prepare = "mkdir -p /run/containerd-shim-wamr && mount -t tmpfs bed /run/containerd-shim-wamr && \
                   mkdir -p $BED/etc $BED/etc-work && \
                   mount -t overlay -o lowerdir=/etc,upperdir=$BED/etc,workdir=$BED/etc-work bed /etc";
    let bed = Bed::own_with(Setup { prepare: Some(prepare.to_owned()), ..Setup::TASKS });
    let cache = bed.folder().join("aot");
    bed.configure(&format!("linger = 1\naot_cache = {cache:?}\n{settings}\n"));
    bed
}

/// One whose servers compile, in this mode.
pub fn compiling(mode: &str) -> Arc<Bed> {
    bed(&format!("aot = {mode:?}\naot_compiler = {:?}", aot_compiler()))
}

/// A program in the compiler's place: it is of the right build, and then does what a line of shell says.
pub fn fake_compiler(bed: &Bed, line: &str) -> PathBuf {
    let program = bed.folder().join("fake-aotc");
    let real = aot_compiler();
    let script = format!("#!/bin/sh\n[ \"$1\" = --identity ] && exec {real:?} --identity\n{line}\n");
    fs::write(&program, script).expect("write a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("make a script executable");
    program
}

/// Directories of the cgroups of compilers that a process started, in all hierarchies.
pub fn compiler_cgroups(pid: i32) -> Vec<PathBuf> {
    let name = format!("aotc-{pid}-");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    let roots =
        mounts.lines().filter(|line| line.contains(" cgroup")).filter_map(|line| line.split(' ').nth(1));
    let below = roots.map(|root| Path::new(root).join("containerd-shim-wamr"));
    let groups =
        below.filter_map(|path| fs::read_dir(path).ok()).flatten().flatten().map(|entry| entry.path());
    groups
        .filter(|path| path.file_name().is_some_and(|own| own.to_string_lossy().starts_with(&name)))
        .collect()
}

/// The one value that it prints.
///
/// # Panics
/// When it fails, too.
pub fn json(bed: &Bed, args: &[&str]) -> Value {
    let (mut values, code) = wamrctl_json(bed, args);
    assert_eq!((values.len(), code), (1, 0), "{values:?}");
    values.remove(0)
}

/// The entry of a list that says so.
///
/// # Panics
/// When there is none.
pub fn find<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|entry| entry[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value:?} in {list}"))
}

/// The cache's files with this ending.
pub fn files(bed: &Bed, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(bed.folder().join("aot")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

/// The digest of a guest's module, as tools write it.
pub fn guest_digest(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(guest(name));
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Runs the guest `wait` once, and sees of which tier it is.
///
/// # Panics
/// When it is of another.
pub fn run_once(namespace: &Namespace, id: &str, tier: &str) {
    let image = namespace.import_guests(&["wait"]);
    let task = namespace.container(&image, id, &["/bin/wait.wasm"]).start();
    task.stdout().wait_until_it_says("ready");
    assert_eq!(find(&json(&namespace.bed, &["ps"]), "id", id)["module"]["tier"], tier);
    task.end();
}
