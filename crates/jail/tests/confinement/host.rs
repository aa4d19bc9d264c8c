//! What confining a process costs and leaves on the host.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use jail::{Filter, MinimalRoot};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};

use crate::harness::{
    Case, Scratch, exit, fork_with, in_own_process, mount_table, pair, receive, send, tests, wait,
};

tests![
    the_zygotes_namespace_holds_next_to_nothing,
    the_time_does_not_depend_on_the_hosts_mounts,
    nothing_stays_when_a_step_fails,
];

fn the_zygotes_namespace_holds_next_to_nothing() {
    in_own_process(|| {
        let root = MinimalRoot::enter().unwrap();
        let file = rustix::fs::openat(
            root.proc_dir().as_fd(),
            "self/mountinfo",
            rustix::fs::OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        );
        let mounts = std::io::read_to_string(fs::File::from(file.unwrap())).unwrap();
        assert!((1..=2).contains(&mounts.lines().count()), "{mounts}");
        assert!(fs::metadata("/proc/self").is_err() && fs::metadata("/etc").is_err());
    });
}

/// Median time from before the fork until confined, in processes forked one by one from one zygote.
fn median(scratch: &Scratch) -> Duration {
    const RUNS: usize = 101;
    let (image, volume) = (scratch.dir("image"), scratch.dir("v"));
    let case = || Case::in_dir(&image).bind(&volume, "/v", &["rbind", "ro"]);
    let cases: Vec<Case<'_>> = (0..RUNS).map(|_| case()).collect();
    let (ours, theirs) = pair();
    in_own_process(|| {
        let (root, filter) = (MinimalRoot::enter().unwrap(), Filter::compile().unwrap());
        // What the zygote left behind is taken apart in the background.
        std::thread::sleep(Duration::from_millis(200));
        for Case { confinement, descriptors, .. } in cases {
            let start = Instant::now();
            let child = fork_with(jail::clone_flags(&confinement));
            if child == 0 {
                jail::enter(&confinement, descriptors, root.proc_dir(), &[theirs.as_raw_fd()]).unwrap();
                filter.install().unwrap();
                send(&theirs, &start.elapsed().as_micros().to_string());
                exit(0);
            }
            assert_eq!(wait(child), 0);
        }
    });
    let mut times: Vec<u64> = (0..RUNS).map(|_| receive(&ours).unwrap().parse().unwrap()).collect();
    times.sort_unstable();
    Duration::from_micros(times[RUNS / 2])
}

fn the_time_does_not_depend_on_the_hosts_mounts() {
    in_own_process(|| {
        let scratch = Scratch::new();
        // A mount namespace of this test's own plays the host; it goes away with the process.
        // SAFETY: only a flag; this process has one thread.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).unwrap();
        let count = || mount_table().lines().count();
        let (few, fast) = (count(), median(&scratch));
        // One on top of the other, all in one place.
        let target = scratch.dir("target");
        for _ in few..2000 {
            mount_bind(&scratch.0, &target).unwrap();
        }
        let (many, slow) = (count(), median(&scratch));
        println!("fork and confine, median: {fast:?} with {few} host mounts, {slow:?} with {many}");
        assert_eq!(many, 2000);
        while unmount(&target, UnmountFlags::DETACH).is_ok() {}
    });
}

fn nothing_stays_when_a_step_fails() {
    let scratch = Scratch::new();
    let before = mount_table();
    for bad in ["/file/below", "relative"] {
        scratch.file("image/file", "");
        let case = Case::in_dir(&scratch.0.join("image")).bind(&scratch.dir("v"), bad, &[]);
        let error = case.run(String::new).error();
        assert!(error.contains(bad), "{error}");
    }
    assert_eq!(before, mount_table());
}
