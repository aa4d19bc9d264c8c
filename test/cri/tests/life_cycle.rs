//! Promise: pods and containers go through the states of CRI, and outlive containerd. Real: all but the kubelet.

use cri::api::{
    ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxFilter, PodSandboxState,
    PodSandboxStatusRequest,
};
use cri::{Node, Pod, guests};
use e2e::{Image, eventually};

fn image() -> Image {
    guests("life-cycle", &["wait", "exit", "hello"])
}

/// States of the pods whose id begins so.
fn listed(node: &Node, pod: &Pod<'_>) -> Vec<PodSandboxState> {
    let filter = Some(PodSandboxFilter { id: pod.id.clone(), ..PodSandboxFilter::default() });
    let request = ListPodSandboxRequest { filter };
    let answer = node.runtime(request, async |mut client, request| client.list_pod_sandbox(request).await);
    answer.unwrap().items.iter().map(|pod| pod.state()).collect()
}

/// States of the containers of a pod.
fn containers(node: &Node, pod: &Pod<'_>) -> Vec<ContainerState> {
    let request = ListContainersRequest::default();
    let answer =
        node.runtime(request, async |mut client, request| client.list_containers(request).await).unwrap();
    let ours = answer.containers.iter().filter(|container| container.pod_sandbox_id == pod.id);
    ours.map(|container| container.state()).collect()
}

#[test]
fn a_pod_is_ready_then_stopped_then_gone() {
    let scene = Node::shared().scene("pod");
    let pod = scene.pod("a").run();
    let status = pod.status();
    assert_eq!((status.state(), status.runtime_handler.as_str()), (PodSandboxState::SandboxReady, "wamr"));
    assert!(pod.address().is_some());
    assert_eq!(listed(&scene.node, &pod), [PodSandboxState::SandboxReady]);
    let network = pod.network_namespace().expect("a network of its own");
    pod.stop();
    assert!(!pod.is_ready());
    assert!(!std::path::Path::new(&network).exists(), "{network} is still there");
    assert_eq!(listed(&scene.node, &pod), [PodSandboxState::SandboxNotready]);
    // As often as the kubelet likes.
    pod.stop();
    pod.remove();
    assert_eq!(listed(&scene.node, &pod), []);
    let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: false };
    let status =
        scene.node.runtime(request, async |mut client, request| client.pod_sandbox_status(request).await);
    assert!(status.is_err(), "{status:?}");
    pod.remove();
}

#[test]
fn a_container_is_created_then_runs_then_has_exited_then_is_gone() {
    let scene = Node::shared().scene("container");
    let pod = scene.pod("a").run();
    let container = pod.container("main", &image(), &[]).create();
    assert_eq!(container.status().state(), ContainerState::ContainerCreated);
    assert_eq!(containers(&scene.node, &pod), [ContainerState::ContainerCreated]);
    container.try_start().unwrap();
    assert_eq!(container.status().state(), ContainerState::ContainerRunning);
    container.wait_until_it_says("ready");
    let before = std::time::Instant::now();
    container.stop(50);
    assert!(before.elapsed().as_secs() < 40, "SIGTERM did not end it");
    let status = container.status();
    assert_eq!((status.state(), status.exit_code), (ContainerState::ContainerExited, 143));
    assert!(status.created_at <= status.started_at && status.started_at <= status.finished_at, "{status:?}");
    assert_eq!(containers(&scene.node, &pod), [ContainerState::ContainerExited]);
    container.stop(0);
    container.remove();
    assert_eq!(containers(&scene.node, &pod), []);
    assert!(pod.is_ready());
}

#[test]
fn a_created_container_and_a_running_one_go_with_their_pod() {
    let scene = Node::shared().scene("together");
    let pod = scene.pod("a").run();
    pod.container("created", &image(), &[]).create();
    let running = pod.container("running", &image(), &[]).start();
    running.wait_until_it_says("ready");
    pod.stop();
    assert_eq!(running.status().exit_code, 137);
    pod.remove();
    assert_eq!(containers(&scene.node, &pod), []);
}

#[test]
fn containers_of_a_pod_end_one_by_one_and_can_be_replaced() {
    let scene = Node::shared().scene("replaced");
    let pod = scene.pod("a").run();
    let first = pod.container("first", &image(), &[]).start();
    let second = pod.container("second", &image(), &["/exit.wasm", "3"]).start();
    assert_eq!(second.wait().exit_code, 3);
    assert_eq!(first.status().state(), ContainerState::ContainerRunning);
    let again = pod.container("second", &image(), &["/exit.wasm", "4"]).attempt(1).start();
    assert_eq!(again.wait().exit_code, 4);
    assert_eq!(first.status().state(), ContainerState::ContainerRunning);
    second.remove();
    assert!(pod.is_ready());
}

#[test]
fn pods_outlive_containerd_and_what_ended_meanwhile_is_told() {
    let node = Node::own();
    let scene = node.scene("restart");
    let pod = scene.pod("a").run();
    let stays = pod.container("stays", &image(), &[]).start();
    let ends = pod.container("ends", &image(), &["/wait.wasm", "ticks", "3", "100", "5"]).start();
    stays.wait_until_it_says("ready");
    let (pid, holder, address) = (stays.pid(), pod.holder(), pod.address());
    node.bed.kill_containerd();
    let process = e2e::Process::of(pid).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    node.bed.start_containerd();
    node.wait_until_ready();
    assert!(process.is_alive());
    assert!(pod.is_ready());
    assert_eq!((pod.holder(), pod.address()), (holder, address));
    assert_eq!((stays.status().state(), stays.pid()), (ContainerState::ContainerRunning, pid));
    eventually("the end of the other to be told", || ends.status().exit_code == 5);
    assert_eq!(stays.exec(&["/exit.wasm", "7"]).0, 7);
    let (status, text) = pod.container("new", &image(), &["/hello.wasm"]).run();
    assert_eq!((status.exit_code, text.is_empty()), (0, false));
    stays.stop(10);
    assert_eq!(stays.status().exit_code, 143);
}
