//! The bed itself works: with runc and busybox, so that a failure elsewhere is the shim's.

use e2e::{Bed, Image, Layer, Namespace, Process, Traces, eventually};

const RUNC: &str = "io.containerd.runc.v2";

fn busybox(namespace: &Namespace) -> Image {
    let image = Image::new("e2e.local/busybox:1")
        .layer(
            Layer::new().directory("/bin").file("/bin/busybox", e2e::busybox_bytes()).file("/text", "lower"),
        )
        .layer(Layer::new().symlink("/bin/sh", "busybox").file("/text", "upper"))
        .entrypoint(&["/bin/sh"]);
    namespace.import(&image);
    image
}

#[test]
fn a_native_container_runs_through_the_api() {
    let bed = Bed::shared();
    let namespace = bed.namespace("api");
    let image = busybox(&namespace);
    let before = Traces::of_containers(&namespace);
    let script = "read line; echo out $line $(/bin/busybox cat /text); echo err >&2; exit 7";
    let mut task = namespace.container(&image, "a", &["/bin/sh", "-c", script]).runtime(RUNC).input().start();
    assert_eq!(task.state().0, "RUNNING");
    assert!(task.pids().contains(&task.pid));
    task.write(b"hello\n");
    let finished = task.finish();
    assert_eq!((finished.code, finished.text().as_str()), (7, "out hello upper\n"));
    assert_eq!(finished.stderr, "err\n");
    assert_eq!(Traces::of_containers(&namespace), before);
}

#[test]
fn a_native_container_runs_through_ctr() {
    let bed = Bed::shared();
    let namespace = bed.namespace("ctr");
    let image = busybox(&namespace);
    let script = "/bin/busybox cat /proc/self/cgroup; exit 5";
    let ctr = namespace.ctr().runtime(RUNC);
    let output =
        ctr.container(&["--rm", "--memory-limit", "33554432"], &image, "b", &["/bin/sh", "-c", script]);
    assert_eq!(output.code, 5, "{output:?}");
}

#[test]
fn containers_outlive_containerd_and_tell_their_exit_code() {
    let bed = Bed::own();
    let namespace = bed.namespace("restart");
    let image = busybox(&namespace);
    let script = "echo ready; read line; exit 9";
    let mut task = namespace.container(&image, "c", &["/bin/sh", "-c", script]).runtime(RUNC).input().start();
    task.stdout().wait_until_it_says("ready");
    let process: Process = task.process();
    bed.kill_containerd();
    bed.start_containerd();
    assert!(process.is_there());
    eventually("the container to be adopted", || task.state().0 == "RUNNING");
    task.write(b"\n");
    assert_eq!(task.finish().code, 9);
}

#[test]
fn events_come_in_order() {
    let bed = Bed::shared();
    let namespace = bed.namespace("events");
    let image = busybox(&namespace);
    let events = namespace.events();
    namespace.container(&image, "d", &["/bin/sh", "-c", "exit 3"]).runtime(RUNC).run();
    // runc's shim may end before it has told of the deletion.
    let expected = ["/tasks/create", "/tasks/start", "/tasks/exit"];
    eventually("three events", || events.topics("d").len() >= 3);
    assert_eq!(events.topics("d")[..3], expected);
    assert_eq!(events.exits("d"), [3]);
}
