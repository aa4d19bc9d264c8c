//! Promise: with `native_runtime` another OCI runtime makes native containers, and every method of the Task API works.
//! Real: containerd, the release's own runc, cgroups. The cases of `test/cri/tests/native` run with it as well.

use std::fs;

use containerd_client::services::v1::{PauseTaskRequest, ResumeTaskRequest};
use e2e::{Bed, Container, Image, Layer, Namespace, Release, Traces, eventually};
use rustix::process::Signal;
use serde_json::json;

fn image(namespace: &Namespace) -> Image {
    let layer = Layer::new().directory("/bin").directory("/proc").file("/bin/busybox", e2e::busybox_bytes());
    let tools = ["sh", "cat", "echo", "sleep", "true", "mount", "grep"];
    let layer = tools.iter().fold(layer, |layer, tool| layer.symlink(&format!("/bin/{tool}"), "busybox"));
    let image = Image::new("e2e.local/native-runtime:1").layer(layer).entrypoint(&["/bin/sh"]);
    namespace.import(&image);
    image
}

/// `runtimeoptions.v1.Options`: 3 is `config_body`.
fn settings(text: &str) -> Vec<u8> {
    [&[3 << 3 | 2, u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
}

fn made_by<'n>(
    runtime: &str,
    namespace: &'n Namespace,
    image: &Image,
    id: &str,
    text: &str,
) -> Container<'n> {
    let body = settings(&format!("native_runtime = '{runtime}'"));
    namespace.container(image, id, &["sh", "-c", text]).options("runtimeoptions.v1.Options", body)
}

fn script<'n>(namespace: &'n Namespace, image: &Image, id: &str, text: &str) -> Container<'n> {
    made_by(&Release::chosen().program("runc").display().to_string(), namespace, image, id, text)
}

const WAITS: &str = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done";

fn assert_nothing_left(namespace: &Namespace) {
    eventually("nothing to be left", || Traces::of_containers(namespace).is_empty());
    // runc joins systemd's hierarchy, which the server knows nothing of.
    let left = e2e::run(
        std::process::Command::new("grep").args(["-rl", &namespace.name, "/proc/self/mountinfo"]),
        b"",
    );
    assert_eq!(left.text(), "", "mounts are left");
}

#[test]
fn a_container_lives_from_create_to_delete_with_execs_and_pauses() {
    let bed = Bed::shared();
    let namespace = bed.namespace("runtime-life");
    let image = image(&namespace);
    let finished = script(&namespace, &image, "a", "echo out; echo err >&2; exit 7").run();
    assert_eq!((finished.code, finished.text().as_str(), finished.stderr.as_str()), (7, "out\n", "err\n"));

    let task = script(&namespace, &image, "a", WAITS).start();
    task.stdout().wait_until_it_says("ready");
    // Its parent ends as it does, and is the server's child.
    let parent = e2e::Process::of(task.process().parent).unwrap();
    assert_eq!(parent.parent, namespace.server().process.pid);
    let finished = namespace.exec("a", "e", &["sh", "-c", "grep -c . /proc/self/cgroup; exit 5"]).run();
    assert_eq!(finished.code, 5);
    assert!(task.pids().contains(&task.pid));
    let message = PauseTaskRequest { container_id: "a".into() };
    task.call(message, async |mut tasks, request| tasks.pause(request).await.map(drop)).unwrap();
    assert_eq!(task.state().0, "PAUSED");
    let message = ResumeTaskRequest { container_id: "a".into() };
    task.call(message, async |mut tasks, request| tasks.resume(request).await.map(drop)).unwrap();
    assert!(!task.metrics().data.expect("metrics").value.is_empty());
    task.kill(15).unwrap();
    assert_eq!(task.finish().code, 3);
    // Made and never started.
    let task = script(&namespace, &image, "a", WAITS).create().unwrap();
    task.kill(9).unwrap();
    assert_eq!(task.finish().code, 137);
    assert_nothing_left(&namespace);
}

#[test]
fn what_libcontainer_is_not_trusted_with_is_the_runtime_s_affair() {
    let bed = Bed::shared();
    let namespace = bed.namespace("runtime-affairs");
    let image = image(&namespace);
    let mut container = script(&namespace, &image, "a", "echo made");
    container.spec.push(
        "/mounts",
        json!({ "destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "rslave"] }),
    );
    assert_eq!(container.run().text(), "made\n");
    let mut container = script(&namespace, &image, "a", "true");
    container.spec.set("/process", "selinuxLabel", json!("a:b:c:d"));
    let refusal = container.refusal();
    assert!(refusal.contains("runc create") && refusal.contains("elinux"), "{refusal}");
    let refusal = made_by("/no/such/runtime", &namespace, &image, "a", "true").refusal();
    assert!(refusal.contains("/no/such/runtime"), "{refusal}");
    let refusal = namespace.container(&image, "a", &["/bin/none"]);
    let refusal = refusal.options(
        "runtimeoptions.v1.Options",
        settings(&format!("native_runtime = '{}'", Release::chosen().program("runc").display())),
    );
    assert!(refusal.refusal().contains("/bin/none"));
    assert_nothing_left(&namespace);
}

#[test]
fn hooks_are_run_by_the_runtime_once_each() {
    let bed = Bed::shared();
    let namespace = bed.namespace("runtime-hooks");
    let image = image(&namespace);
    let log = std::env::temp_dir().join(format!("runtime-hooks-{}", std::process::id()));
    let hook = |name: &str| {
        let script = format!("echo {name} >> {}", log.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
    };
    let mut container = script(&namespace, &image, "a", "echo ran");
    let hooks = ["createRuntime", "poststart", "poststop"].map(|name| (name, hook(name)));
    container.spec.set("", "hooks", json!(hooks.into_iter().collect::<std::collections::BTreeMap<_, _>>()));
    assert_eq!(container.run().text(), "ran\n");
    let said = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    assert_eq!(said, "createRuntime\npoststart\npoststop\n");
    assert_nothing_left(&namespace);
}

#[test]
fn nothing_outlives_a_server_that_is_killed() {
    let bed = Bed::shared();
    let namespace = bed.namespace("runtime-killed");
    let image = image(&namespace);
    let task = script(&namespace, &image, "a", WAITS).start();
    task.stdout().wait_until_it_says("ready");
    let process = task.process();
    let id = "runtime-killed/a";
    let cgroups = || fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap_or_default();
    assert!(cgroups().contains(id) || cgroups().contains("runtime-killed"), "{}", cgroups());
    let everywhere: Vec<_> = cgroups()
        .lines()
        .filter_map(|line| line.split(':').nth(2))
        .filter(|path| path.len() > 1)
        .map(str::to_owned)
        .collect();
    namespace.server().process.signal(Signal::KILL);
    eventually("the container's end", || !process.is_alive());
    drop(task);
    eventually("the cleaning up", || Traces::of_containers(&namespace).is_empty());
    eventually("the cgroups to be gone in every hierarchy", || {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        hierarchies.into_iter().all(|hierarchy| {
            everywhere.iter().all(|path| !hierarchy.path().join(path.trim_start_matches('/')).exists())
        })
    });
}
