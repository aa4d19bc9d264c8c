//! Promise: exec probes, `kubectl exec` and `kubectl attach` work with wasm. Real: all but the kubelet; the client speaks
//! Kubernetes' WebSocket protocol to containerd's streaming server.

use cri::{Container, Node, Scene, guests};
use e2e::{Image, eventually};

fn image() -> Image {
    guests("exec", &["wait", "exit", "both", "cat", "env", "file", "tty"])
}

fn waiting<'s>(scene: &'s Scene, command: &[&str]) -> Container<'s> {
    scene.pod("a").run().container("main", &image(), command).start()
}

#[test]
fn an_exec_probe_sees_exit_code_stdout_and_stderr_of_a_module() {
    let scene = Node::shared().scene("sync");
    let container = waiting(&scene, &["/wait.wasm"]);
    assert_eq!(container.exec(&["/exit.wasm", "0"]).0, 0);
    assert_eq!(container.exec(&["/exit.wasm", "3"]).0, 3);
    let answer = container.try_exec(&["/both.wasm"], 30).unwrap();
    assert!(!answer.stdout.is_empty() && !answer.stderr.is_empty(), "{answer:?}");
    let (code, text) = container.exec(&["/env.wasm", "one", "two words"]);
    assert_eq!(code, 0);
    assert!(text.contains("arg 1 one\narg 2 two words\n"), "{text}");
}

#[test]
fn a_probe_that_takes_too_long_is_ended_and_leaves_no_process() {
    let scene = Node::shared().scene("timeout");
    let container = waiting(&scene, &["/wait.wasm"]);
    let before = scene.node.bed.cgroups.processes(&scene.name);
    let error = container.try_exec(&["/wait.wasm", "spin"], 1).unwrap_err();
    assert!(error.message().contains("timeout") || error.message().contains("deadline"), "{error}");
    eventually("the probe's process to be gone", || scene.node.bed.cgroups.processes(&scene.name) == before);
    assert_eq!(container.exec(&["/exit.wasm", "0"]).0, 0);
}

#[test]
fn a_probe_that_is_not_in_the_image_is_told_by_name() {
    let scene = Node::shared().scene("missing");
    let container = waiting(&scene, &["/wait.wasm"]);
    let error = container.try_exec(&["/nothing.wasm"], 30).unwrap_err();
    assert!(error.message().contains("/nothing.wasm"), "{error}");
}

#[test]
fn an_exec_with_streams_reads_what_is_typed_and_tells_its_exit_code() {
    let scene = Node::shared().scene("stream");
    let container = waiting(&scene, &["/wait.wasm"]);
    let exec = container.exec_stream(&["/exit.wasm", "9"], false);
    assert_eq!(exec.finish(), 9);
    let mut exec = container.exec_stream(&["/cat.wasm"], false);
    exec.write(b"first\n");
    exec.wait_until_it_says("first\n");
    exec.write(b"second\n");
    exec.wait_until_it_says("first\nsecond\n");
    let with_cat = scene.node.bed.cgroups.processes(&scene.name);
    exec.close();
    // The end of its stdin ends it.
    eventually("cat to end", || scene.node.bed.cgroups.processes(&scene.name).len() < with_cat.len());
}

#[test]
fn an_exec_has_a_terminal_when_asked_to() {
    let scene = Node::shared().scene("terminal");
    let container = waiting(&scene, &["/wait.wasm"]);
    let mut exec = container.exec_stream(&["/cat.wasm", "5"], true);
    exec.resize(80, 24);
    exec.write(b"typed\n");
    // Once as the terminal's echo, once from cat.
    exec.wait_until_it_says("typed\r\ntyped\r\n");
    exec.write(&[4]);
    assert_eq!(exec.finish(), 5);
}

#[test]
fn clients_attach_to_a_containers_own_streams_one_after_the_other() {
    let scene = Node::shared().scene("attach");
    let container = scene.pod("a").run().container("main", &image(), &["/cat.wasm"]).input().start();
    for word in ["one", "two"] {
        let mut attached = container.attach(false);
        attached.write(format!("{word}\n").as_bytes());
        attached.wait_until_it_says(&format!("{word}\n"));
        attached.close();
    }
    container.wait_until_it_says("one\ntwo\n");
}

#[test]
fn a_client_attaches_to_a_containers_terminal() {
    let scene = Node::shared().scene("tty");
    let container =
        scene.pod("a").run().container("main", &image(), &["/cat.wasm", "6"]).input().terminal().start();
    let mut attached = container.attach(true);
    attached.write(b"typed\n");
    attached.wait_until_it_says("typed\r\ntyped\r\n");
    attached.write(&[4]);
    assert_eq!(container.wait().exit_code, 6);
}
