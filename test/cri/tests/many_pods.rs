//! Promise: many pods at once, and pods that crash again and again, cost what they should and leave nothing. Real: all but
//! the kubelet.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use cri::{Node, Scene, guests};
use e2e::{PATIENCE, wait_for};

const PODS: usize = 30;
const CRASHES: u32 = 20;

/// What a node holds that belongs to no pod by name: links of its network, snapshots, descriptors of the shim server.
fn held(node: &Node) -> BTreeMap<String, usize> {
    // Snapshots of pods that are gone stay until containerd finds the time.
    node.bed.collect_garbage("k8s.io");
    let mut held = BTreeMap::new();
    let links = node.network().enter(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    held.insert("links".to_owned(), links.lines().count());
    let snapshots = node.bed.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    held.insert("snapshots".to_owned(), fs::read_dir(snapshots).unwrap().count());
    let networks = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let folder = node.bed.state().display().to_string();
    held.insert("mounts".to_owned(), networks.lines().filter(|line| line.contains(&folder)).count());
    for descriptor in node.server().process.descriptors() {
        let kind = descriptor.split_once(":[").map_or(descriptor.as_str(), |(kind, _)| kind);
        *held.entry(format!("descriptors: {kind}")).or_default() += 1;
    }
    held
}

/// Whatever is made once and kept is made now; returns a pod that stays, so that the server does, and what is held when
/// all is quiet.
///
/// Of each module a template is kept for a while.
fn warm_up(
    node: &std::sync::Arc<Node>,
    image: &e2e::Image,
    modules: &[&str],
) -> (Scene, BTreeMap<String, usize>) {
    let scene = node.scene("stays");
    scene.pod("a").run();
    let pod = scene.pod("b").run();
    for (attempt, module) in (0..).zip(modules) {
        pod.container("main", image, &[&format!("/{module}.wasm")]).attempt(attempt).start();
    }
    pod.stop();
    pod.remove();
    let mut before = held(node);
    let quiet = wait_for("a quiet node", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = held(node);
        let same = std::mem::replace(&mut before, now.clone()) == now;
        same.then_some(now)
    });
    (scene, quiet)
}

/// Waits until nothing more is held than before.
fn given_back(node: &Node, before: &BTreeMap<String, usize>) {
    let until = Instant::now() + PATIENCE;
    // Less is fine: what was held for a while after the last start when `before` was taken.
    let more = || held(node).iter().any(|(what, count)| *count > before.get(what).copied().unwrap_or(0));
    while more() {
        assert!(Instant::now() < until, "before: {before:#?}\nafter: {:#?}", held(node));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn thirty_pods_at_once_are_two_processes_each_and_leave_nothing() {
    let node = Node::own();
    let modules = ["wait", "exit"];
    let image = guests("many", &modules);
    let (_stays, before) = warm_up(&node, &image, &modules);
    let server = node.server().process;
    let others = server.children().len();
    let scene = node.scene("many");
    let containers: Vec<_> = std::thread::scope(|scope| {
        let start = |i: usize| {
            let (scene, image) = (&scene, &image);
            scope.spawn(move || {
                scene.pod(&format!("p{i}")).run().container("main", image, &["/wait.wasm"]).start()
            })
        };
        let starting: Vec<_> = (0..PODS).map(start).collect();
        starting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for container in &containers {
        container.wait_until_it_says("ready");
    }
    assert_eq!(node.server().process, server, "one server for all pods");
    let processes = node.bed.cgroups.processes(&scene.name);
    assert_eq!(processes.len(), 2 * PODS, "a holder and a guest for each pod: {processes:?}");
    assert_eq!(server.children().len(), others + 2 * PODS);
    for container in &containers {
        assert_eq!(container.exec(&["/exit.wasm", "7"]).0, 7);
    }
    drop(containers);
    drop(scene);
    given_back(&node, &before);
}

#[test]
fn a_container_that_crashes_again_and_again_leaves_nothing() {
    let node = Node::own();
    let modules = ["exit", "trap"];
    let image = guests("crashes", &modules);
    let (_stays, before) = warm_up(&node, &image, &modules);
    let scene = node.scene("crashes");
    let pod = scene.pod("a").run();
    let holder_alone = node.bed.cgroups.processes(&scene.name);
    for attempt in 0..CRASHES {
        let module = if attempt % 2 == 0 { "/trap.wasm" } else { "/exit.wasm" };
        let container = pod.container("main", &image, &[module, "1"]).attempt(attempt).start();
        assert_ne!(container.wait().exit_code, 0);
        container.remove();
        assert_eq!(node.bed.cgroups.processes(&scene.name), holder_alone);
    }
    // One that cannot even start.
    for attempt in 0..CRASHES {
        let container = pod.container("missing", &image, &["/nothing.wasm"]).attempt(attempt).create();
        container.try_start().unwrap_err();
        container.remove();
    }
    assert!(pod.is_ready());
    drop(scene);
    given_back(&node, &before);
}
