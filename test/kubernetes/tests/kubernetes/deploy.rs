//! What lies in `deploy/`: everything is loaded by what it is made for, or by the parser of that.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use e2e::{Release, run, test_folder};
use kubernetes::{Cluster, PodStatus, Space, eventually};
use serde_json::Value;

fn deploy(file: &str) -> PathBuf {
    test_folder().parent().unwrap().join("deploy").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(deploy(file)).unwrap()
}

/// What this containerd makes of a configuration.
fn dumped(name: &str, config: &str) -> String {
    let file = Cluster::shared().folder().join(format!("{name}.toml"));
    fs::write(&file, config).unwrap();
    let mut command = Command::new(Release::chosen().program("containerd"));
    run(command.arg("--config").arg(&file).args(["config", "dump"]), b"").succeeded().text()
}

/// Whether a dumped configuration has the handler with all its settings.
fn has_handler(dump: &str) {
    let tables = dump.split("\n\n").flat_map(|part| part.split("\n        ["));
    let table = tables.filter(|table| table.contains("runtimes.wamr]")).collect::<String>();
    assert!(table.contains("io.containerd.wamr.v1"), "{dump}");
    assert!(table.contains("wamr.containerd.io/*"), "{dump}");
    assert!(dump.contains("runtimes.runc]"), "the other handler is still there: {dump}");
}

/// containerd's own default, which is of the version its release prefers.
fn default_config() -> String {
    let mut command = Command::new(Release::chosen().program("containerd"));
    run(command.args(["config", "default"]), b"").succeeded().text()
}

#[test]
fn containerd_takes_the_handler_appended_to_its_default_configuration() {
    let snippet = if Release::chosen().is_2() { "wamr-v3.toml" } else { "wamr-v2.toml" };
    has_handler(&dumped("appended", &(default_config() + &text(&format!("containerd/{snippet}")))));
}

#[test]
fn containerd_takes_the_handler_in_a_configuration_of_version_2() {
    let config = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n\
                  runtime_type = \"io.containerd.runc.v2\"\n";
    has_handler(&dumped("version-2", &format!("{config}{}", text("containerd/wamr-v2.toml"))));
}

/// k3s executes the file as a template of Go, in which `base` is what it writes without one. So does kubectl here.
#[test]
fn the_templates_for_k3s_give_a_configuration_that_containerd_takes() {
    let cluster = Cluster::shared();
    let template = if Release::chosen().is_2() { "config-v3.toml.tmpl" } else { "config.toml.tmpl" };
    let base = format!("{{{{ define \"base\" }}}}{}{{{{ end }}}}", default_config());
    let file = cluster.folder().join("k3s.tmpl");
    fs::write(&file, base + &text(&format!("k3s/{template}"))).unwrap();
    let format = format!("go-template-file={}", file.display());
    has_handler(&dumped("k3s", &cluster.kubectl(&["get", "namespace", "default", "-o", &format])));
}

/// kind parses the file as Kubernetes' own YAML, and applies the patches as far as their version is that of its node.
#[test]
fn the_patches_for_kind_give_a_configuration_that_containerd_takes() {
    let cluster = Cluster::shared();
    let file = deploy("kind/cluster.yaml").display().to_string();
    let words = ["annotate", "--local", "-f", &file, "-o", "json", "parsed=yes"];
    let parsed: Value = serde_json::from_str(&cluster.kubectl(&words)).unwrap();
    let mount = &parsed["nodes"][0]["extraMounts"][0]["containerPath"];
    assert_eq!(mount, "/usr/local/bin/containerd-shim-wamr-v1");
    let version = if Release::chosen().is_2() { "version = 3" } else { "version = 2" };
    let patches = parsed["containerdConfigPatches"].as_array().unwrap();
    let patch = patches.iter().filter_map(Value::as_str).find(|patch| patch.contains(version)).unwrap();
    let runc = if Release::chosen().is_2() {
        "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]"
    } else {
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]"
    };
    has_handler(&dumped("kind", &format!("{patch}\n{runc}\nruntime_type = \"io.containerd.runc.v2\"\n")));
}

#[test]
fn the_sample_deployment_runs() {
    let space = Space::new("sample-deployment");
    space.kubectl(&["apply", "-f", &deploy("kubernetes/deployment.yaml").display().to_string()]);
    space.kubectl(&["rollout", "status", "deployment/watch", "--timeout=120s"]);
    let pods = space.pods("watch");
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        assert!(pod.ready());
        eventually("the guest to tell its settings", || space.logs(pod.name()) == "now: colour: red\n");
    }
}

#[test]
fn the_sample_of_a_mixed_pod_runs() {
    let space = Space::new("sample-mixed");
    space.kubectl(&["apply", "-f", &deploy("kubernetes/mixed-pod.yaml").display().to_string()]);
    let status = space.wait("mixed", "to be ready", PodStatus::ready);
    eventually("the guest to see what the native container writes", || {
        space.kubectl(&["logs", "mixed", "-c", "wasm"]).matches("now: ").count() >= 2
    });
    assert_eq!(status.restarts(), 0);
}
