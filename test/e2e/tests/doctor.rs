//! Promise: `wamrctl doctor` says what a node lacks and what to do; done, the fault is gone.
//!
//! Real: the kernel, containerd with and without its CRI plugin, its configuration as it dumps it.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::tool::{wamrctl, wamrctl_json};
use e2e::{Bed, Release, Setup, aot_compiler, base_config, bed_script};
use serde_json::Value;

/// All checks by name, and the exit code.
fn doctor(bed: &Bed, args: &[&str]) -> (Value, i32) {
    let (mut values, code) = wamrctl_json(bed, &[&["doctor"], args].concat());
    (values.remove(0), code)
}

fn check<'v>(checks: &'v Value, name: &str) -> &'v Value {
    let found = checks.as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name:?} in {checks}"))
}

fn verdict<'v>(checks: &'v Value, name: &str) -> &'v str {
    check(checks, name)["verdict"].as_str().unwrap()
}

#[test]
fn a_node_that_has_everything_has_no_problem_and_wrong_settings_are_one() {
    let bed = Bed::with_configuration();
    bed.configure(&format!("aot_compiler = {:?}\n", aot_compiler()));
    let (checks, code) = doctor(&bed, &[]);
    let problems: Vec<&Value> =
        checks.as_array().unwrap().iter().filter(|check| check["verdict"] == "problem").collect();
    assert!(problems.is_empty() && code == 0, "{problems:?}");
    for name in
        ["kernel", "detached mounts", "overlayfs", "seccomp", "cgroups", "containerd", "shim", "compiler"]
    {
        assert_eq!(verdict(&checks, name), "ok", "{checks}");
    }
    let version = check(&checks, "containerd")["found"].as_str().unwrap();
    assert!(version.contains(&bed.release.version), "{version}");
    let v1 = Path::new("/sys/fs/cgroup/memory").exists();
    let cgroups = check(&checks, "cgroups")["found"].as_str().unwrap();
    assert!(cgroups.starts_with(if v1 { "v1" } else { "v2" }), "{cgroups}");

    bed.configure("frobnicate = 1\naot_compiler = \"/nonexistent\"\n");
    let (checks, code) = doctor(&bed, &[]);
    assert_eq!((verdict(&checks, "settings"), code), ("problem", 1));
    assert!(check(&checks, "settings")["found"].as_str().unwrap().contains("frobnicate"), "{checks}");
    bed.configure("aot_compiler = \"/nonexistent\"\n");
    let (checks, code) = doctor(&bed, &[]);
    assert_eq!((verdict(&checks, "compiler"), code), ("warning", 0), "containers run without");
    assert!(check(&checks, "compiler")["fix"].as_str().unwrap().contains("wamr-aotc"), "{checks}");
}

#[test]
fn a_shim_that_containerd_does_not_find_is_a_problem() {
    let prepare = Some("export PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let bed = Bed::own_with(Setup { prepare, ..Setup::TASKS });
    let (checks, code) = doctor(&bed, &[]);
    let shim = check(&checks, "shim");
    assert_eq!((verdict(&checks, "shim"), code), ("problem", 1));
    assert!(shim["found"].as_str().unwrap().contains("/usr/sbin"), "{shim}");
    assert!(shim["fix"].as_str().unwrap().contains("containerd-shim-wamr-v1"), "{shim}");
}

/// The CRI plugin without a handler for wasm, and without CNI programs.
fn bare_cri(folder: &Path, release: &Release) -> String {
    let root = if release.is_2() { "io.containerd.cri.v1.runtime" } else { "io.containerd.grpc.v1.cri" };
    let base = base_config(folder, release, &[]);
    let folder = folder.display();
    format!("{base}[plugins.'{root}'.cni]\nbin_dir = '{folder}/cni'\nconf_dir = '{folder}/networks'\n")
}

fn node() -> Arc<Bed> {
    Bed::own_with(Setup { config: bare_cri, own_network: true, prepare: None })
}

#[test]
fn a_missing_handler_and_missing_cni_programs_are_problems_until_their_fixes_are_done() {
    let bed = node();
    let (checks, code) = doctor(&bed, &[]);
    assert_eq!(code, 1);
    for name in ["RuntimeClass handler", "pod network"] {
        assert_eq!(verdict(&checks, name), "problem", "{checks}");
    }
    let fix = check(&checks, "RuntimeClass handler")["fix"].as_str().unwrap();
    let (head, snippet) = fix.split_once('\n').unwrap();
    let config = bed.folder().join("config.toml");
    assert!(head.contains(&config.display().to_string()), "{head}");
    let table = wamrctl(&bed, &["doctor"]);
    assert!(table.text().contains("PROBLEM") && table.text().contains("runtimes.wamr"), "{table:?}");

    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n{snippet}\n")).unwrap();
    bed_script("fetch.sh", &["cni"]);
    let programs = bed_script("fetch.sh", &["path", "cni"]);
    std::os::unix::fs::symlink(programs.trim(), bed.folder().join("cni")).unwrap();
    fs::create_dir_all(bed.folder().join("networks")).unwrap();
    bed.kill_containerd();
    bed.start_containerd();
    let (checks, _) = doctor(&bed, &[]);
    assert_eq!(verdict(&checks, "RuntimeClass handler"), "ok", "{checks}");
    assert_eq!(verdict(&checks, "pod network"), "warning", "no network is configured: {checks}");
    let network = bed.folder().join("networks/a.conflist");
    for (text, expected, words) in [
        ("{}", "problem", "no CNI program"),
        (r#"{"plugins":[{"type":"bridge"},{"type":"warp"}]}"#, "problem", "needs warp"),
        (r#"{"plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}"#, "ok", "bridge, host-local"),
    ] {
        fs::write(&network, text).unwrap();
        let (checks, _) = doctor(&bed, &[]);
        assert_eq!(verdict(&checks, "pod network"), expected, "{checks}");
        assert!(check(&checks, "pod network")["found"].as_str().unwrap().contains(words), "{checks}");
    }
}

#[test]
fn a_containerd_that_is_not_there_or_does_not_answer_is_a_problem_and_costs_seconds() {
    let bed = Bed::shared();
    let (checks, code) = doctor(&bed, &["--address", "/nonexistent/containerd.sock"]);
    assert_eq!((verdict(&checks, "containerd"), code), ("problem", 1));
    assert!(check(&checks, "containerd")["fix"].as_str().unwrap().contains("--address"), "{checks}");

    let socket = bed.folder().join("mute.sock");
    let _mute = UnixListener::bind(&socket).unwrap();
    let start = Instant::now();
    let (checks, code) = doctor(&bed, &["--address", socket.to_str().unwrap()]);
    assert_eq!((verdict(&checks, "containerd"), code), ("problem", 1), "{checks}");
    assert!(start.elapsed() < Duration::from_secs(60));
}
