//! The node itself works: with runc and busybox, so that a failure elsewhere is the shim's. Real: containerd with its CRI
//! plugin, CNI's bridge, cgroups, the pull of every image over HTTP.

use cri::{Node, RUNC, busybox};

#[test]
fn a_native_pod_gets_an_address_runs_and_leaves_nothing() {
    let scene = Node::shared().scene("native");
    let pod = scene.pod("a").handler(RUNC).run();
    assert!(pod.is_ready());
    assert!(pod.address().is_some_and(|address| address.octets()[..2] == [10, 88]), "{:?}", pod.status());
    let script = "echo out; echo err >&2; exit 7";
    let container = pod.container("main", &busybox(), &["/bin/sh", "-c", script]).start();
    let status = container.wait();
    assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"));
    assert_eq!((container.log().stdout().as_str(), container.log().stderr().as_str()), ("out\n", "err\n"));
}

#[test]
fn a_native_container_answers_exec_attach_and_port_forward() {
    let scene = Node::shared().scene("streams");
    let pod = scene.pod("a").handler(RUNC).run();
    let script = "while read line; do echo got $line; done";
    let container = pod.container("main", &busybox(), &["/bin/sh", "-c", script]).input().start();
    assert_eq!(container.exec(&["/bin/echo", "hello"]), (0, "hello\n".to_owned()));
    let mut attached = container.attach(false);
    attached.write(b"one\n");
    attached.wait_until_it_says("got one");
    attached.close();
    let exec = container.exec_stream(&["/bin/sh", "-c", "echo err >&2; exit 9"], false);
    assert_eq!(exec.finish(), 9);
    assert_eq!(exec.errors(), "err\n");
    let server = ["/bin/busybox", "nc", "-ll", "-p", "8080", "-e", "/bin/echo", "served"];
    pod.container("server", &busybox(), &server).start();
    pod.wait_until_it_listens(8080);
    pod.port_forward(8080).wait_until_it_says("served");
}
