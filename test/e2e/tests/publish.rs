//! Promise: what happens while containerd takes no events is told afterwards, all of it and in order.
//!
//! Between the shim and the real containerd's event socket stands a relay that is taken away.

use std::time::{Duration, Instant};

use e2e::direct::{keep, nothing_leaked};
use e2e::{Bed, Relay, full};

/// A minute; by default shorter, but long past the moment from which the shim tries once a second.
fn away() -> Duration {
    Duration::from_secs(if full() { 60 } else { 6 })
}

#[test]
fn events_wait_for_containerd_and_arrive_in_order() {
    let bed = Bed::own();
    let mut relay = Relay::before(&bed.folder().join("containerd.sock.ttrpc"));
    let namespace = bed.namespace("publish");
    let (image, keeper) = keep(&namespace);
    let events = namespace.events();
    namespace.container(&image, "before", &["/bin/hello.wasm"]).run();
    let expected = |id: &str| ["create", "start", &format!("exit {id} 0"), "delete"].map(str::to_owned);
    assert_eq!(events.until_deleted("before"), expected("before"));

    relay.cut();
    let until = Instant::now() + away();
    let mut ids = Vec::new();
    while Instant::now() < until || ids.len() < 10 {
        let id = format!("away{}", ids.len());
        let finished = namespace.container(&image, &id, &["/bin/hello.wasm"]).run();
        assert_eq!(finished.code, 0, "containers run without anybody to be told");
        ids.push(id);
        std::thread::sleep(Duration::from_millis(100));
    }
    for id in &ids {
        assert_eq!(events.told(id), Vec::<String>::new(), "the relay is closed");
    }
    relay.restore();
    namespace.container(&image, "after", &["/bin/hello.wasm"]).run();
    ids.push("after".to_owned());
    for id in &ids {
        assert_eq!(events.until_deleted(id), expected(id));
    }
    // They ran one after the other, and so it is told.
    assert_eq!(events.deleted()[1..], ids);
    nothing_leaked(&namespace, keeper);
}
