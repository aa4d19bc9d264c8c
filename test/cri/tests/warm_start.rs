//! Promise: pods of one guest, each with its own name, address and files of the kubelet's, are copies of it at its ready point.
//! Real: all but the kubelet.

use cri::{Node, guests};

#[test]
fn pods_with_names_of_their_own_go_on_from_one_ready_point() {
    let node = Node::shared();
    let scene = node.scene("warm");
    let image = guests("warm", &["warm"]);
    let said: Vec<String> = (0..3)
        .map(|number| {
            let pod =
                scene.pod(&format!("p{number}")).annotation("wamr.containerd.io/warm_start", "true").run();
            let container = pod.container("main", &image, &["/warm.wasm", "", "3"]);
            let (status, text) = container.env("SERVICE", "the same").run();
            assert_eq!(status.exit_code, 3, "{text}");
            text
        })
        .collect();
    let words = |text: &String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let [first, second, third] = [words(&said[0]), words(&said[1]), words(&said[2])];
    for line in [&first, &second, &third] {
        assert_eq!((line[0].as_str(), line[2].as_str()), ("copy", "host="), "{said:?}");
        assert_eq!(line[1], first[1], "{said:?}");
    }
    assert!(first[3] != second[3] && second[3] != third[3], "{said:?}");
    let log = std::fs::read_to_string(node.server().place.join("log")).unwrap();
    let made = log.matches("warm template of /warm.wasm").count();
    // One for each tier that the module got to meanwhile.
    assert!((1..=3).contains(&made), "{log}");
    assert!(!log.contains("is not started warm"), "{log}");
}
