//! Promise: output that nobody reads holds up the guest that writes it, and nobody else.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use e2e::direct::{keep, nothing_leaked};
use e2e::{Bed, Namespace, eventually};

/// A FIFO that is open for reading, and that nobody reads.
fn stalled(namespace: &Namespace, name: &str) -> (String, std::fs::File) {
    let path = namespace.bed.folder().join(format!("{}-{name}", namespace.name));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let reader = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    (path.display().to_string(), reader)
}

#[test]
fn a_guest_whose_reader_stalls_waits_and_the_others_go_on() {
    let bed = Bed::shared();
    let namespace = bed.namespace("stall");
    let (image, keeper) = keep(&namespace);
    let server = namespace.server().process;
    let (path, mut reader) = stalled(&namespace, "slow");
    let flood = ["/bin/flood.wasm", "2"];
    let slow = namespace.container(&image, "slow", &flood).stdout(&path).start();
    let (endless, unread) = stalled(&namespace, "never");
    let never = namespace.container(&image, "never", &flood).stdout(&endless).start();
    // Both stand in write(2) with a full pipe before them.
    for file in [&reader, &unread] {
        eventually("a pipe to be full", || rustix::io::ioctl_fionread(file).unwrap() == 65536);
    }
    let memory = server.private_memory();
    for turn in 0..10 {
        let other = namespace.container(&image, &format!("other{turn}"), &["/bin/flood.wasm", "1"]).run();
        assert_eq!((other.code, other.stdout.len()), (0, 1_000_000));
    }
    // What is not read is not gathered anywhere.
    assert!(server.private_memory() < memory + (2 << 20), "{memory}, then {}", server.private_memory());
    assert_eq!((slow.state().0.as_str(), never.state().0.as_str()), ("RUNNING", "RUNNING"));
    assert!(!never.pids().is_empty() && !never.metrics().id.is_empty());

    // It is killed in the middle of its write, and deleted with its output unread.
    never.kill(9).unwrap();
    assert_eq!(never.finish().code, 137);
    drop(unread);

    // The reader comes back: all of it arrives.
    rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::empty()).unwrap();
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert_eq!(text.len(), 2_000_000);
    assert!(text.chunks(10).enumerate().all(|(i, line)| line == format!("{i:09}\n").as_bytes()));
    assert_eq!(slow.finish().code, 0);
    nothing_leaked(&namespace, keeper);
}
