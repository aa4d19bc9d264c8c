//! Promise: containerd killed at any moment of a storm of creates loses nothing that it knew and leaves nothing else.
//!
//! containerd, its metadata and its reload of shims are real; it dies by SIGKILL.

use std::time::Instant;

use e2e::direct::{keep, nothing_leaked, only_the_keeper};
use e2e::{Bed, PATIENCE, sleep_a_little, storm, wait_for};

#[test]
fn containerd_killed_twenty_times_in_a_storm_of_creates_leaves_nothing() {
    let bed = Bed::own();
    let namespace = bed.namespace("creates");
    let (image, keeper) = keep(&namespace);
    let server = namespace.server().process;
    let bundles = bed.state().join("io.containerd.runtime.v2.task").join(&namespace.name);
    for round in 0..20 {
        storm(&namespace, &image, &format!("r{round}"), || {
            sleep_a_little(30..400);
            bed.kill_containerd();
        });
        bed.start_containerd();
        let left = || {
            let bundles = std::fs::read_dir(&bundles).unwrap().map(|entry| entry.unwrap().path());
            // containerd gives a bundle such a name just before it deletes it, and does not come back to it.
            let (half_deleted, bundles): (Vec<_>, Vec<_>) =
                bundles.partition(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'));
            half_deleted.iter().for_each(|path| std::fs::remove_dir_all(path).unwrap());
            (bundles, server.children())
        };
        let until = Instant::now() + PATIENCE;
        while left().0 != [bundles.join("keeper")] || left().1.len() != 2 {
            assert!(Instant::now() < until, "round {round}: more than the keeper is left: {:?}", left());
            namespace.remove_all_but("keeper");
        }
        only_the_keeper(&namespace, &keeper);
        let next = wait_for("containerd to make another container", || {
            match namespace.container(&image, &format!("next{round}"), &["/bin/hello.wasm"]).create() {
                Ok(task) => Some(task),
                // It died between making a snapshot's folder and noting it, and stumbles over that until it cleans up.
                Err(e) if e.message().contains("failed to rename") => {
                    namespace.bed.collect_garbage(&namespace.name);
                    namespace.remove_all_but("keeper");
                    None
                }
                Err(e) => panic!("round {round}: {}", e.message()),
            }
        });
        next.start().unwrap();
        let next = next.finish();
        assert_eq!((next.code, next.text().as_str()), (0, "hello from wasm\n"));
    }
    assert_eq!(namespace.server().process, server, "one server served all the time");
    nothing_leaked(&namespace, keeper);
}
