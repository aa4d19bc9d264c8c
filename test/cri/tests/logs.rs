//! Promise: `kubectl logs` is complete and in order. Real: all but the kubelet.

use cri::api::ReopenContainerLogRequest;
use cri::{Node, guests};
use e2e::{Image, eventually};

fn image() -> Image {
    guests("logs", &["flood", "trap", "both", "file", "wait"])
}

#[test]
fn every_line_of_ten_megabytes_is_there_in_order() {
    let scene = Node::shared().scene("flood");
    let (status, text) = scene.pod("a").run().container("main", &image(), &["/flood.wasm", "10"]).run();
    assert_eq!(status.exit_code, 0);
    let mut lines = 0;
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line.parse(), Ok(number));
        lines += 1;
    }
    assert_eq!(lines, 1_000_000);
}

#[test]
fn the_last_line_before_a_crash_is_there_and_so_is_why() {
    let scene = Node::shared().scene("crash");
    let pod = scene.pod("a").run();
    for attempt in 0..5 {
        let container = pod.container("main", &image(), &["/trap.wasm", "divide"]).attempt(attempt).start();
        assert_eq!(container.wait().exit_code, 134);
        let log = container.log();
        assert_eq!(log.stdout(), "before the trap\n");
        assert!(log.stderr().contains("integer divide by zero"), "{}", log.stderr());
        assert!(log.stderr().contains("innermost"), "{}", log.stderr());
    }
}

#[test]
fn stdout_and_stderr_are_told_apart() {
    let scene = Node::shared().scene("both");
    let container = scene.pod("a").run().container("main", &image(), &["/both.wasm"]).start();
    container.wait();
    let log = container.log();
    assert!(!log.stdout().is_empty() && !log.stderr().is_empty(), "{log:?}");
    assert_eq!(log.0.len(), log.stdout().lines().count() + log.stderr().lines().count());
}

#[test]
fn a_last_line_without_an_end_is_there() {
    let scene = Node::shared().scene("partial");
    let file = scene.folder().join("text");
    std::fs::write(&file, "first\nlast").unwrap();
    let container = scene.pod("a").run().container("main", &image(), &["/file.wasm", "read", "/text"]);
    assert_eq!(container.volume(&file, "/text").run().1.trim_end(), "first\nlast");
}

#[test]
fn no_line_is_lost_when_the_log_is_rotated() {
    let scene = Node::shared().scene("rotated");
    let pod = scene.pod("a").run();
    let container = pod.container("main", &image(), &["/wait.wasm", "ticks", "60", "20", "0"]).start();
    container.wait_until_it_says("tick 3");
    let folder = std::path::Path::new(&pod.config.log_directory);
    std::fs::rename(folder.join("main.log"), folder.join("main.log.1")).unwrap();
    let request = ReopenContainerLogRequest { container_id: container.id.clone() };
    let reopened =
        scene.node.runtime(request, async |mut client, request| client.reopen_container_log(request).await);
    reopened.unwrap();
    container.wait();
    let rotated = cri::Log::parse(&std::fs::read_to_string(folder.join("main.log.1")).unwrap()).stdout();
    eventually("the last line", || container.log().stdout().contains("tick 59"));
    let ticks: String = (0..60).map(|i| format!("tick {i}\n")).collect();
    assert_eq!(rotated + &container.log().stdout(), format!("ready\n{ticks}"));
}
