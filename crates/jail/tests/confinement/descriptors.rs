//! A guest's process holds the descriptors it needs and no other.

use std::fs;

use crate::harness::{Case, Scratch, tests};

tests![inherited_descriptors_are_closed, confinement_and_descriptors_must_fit];

fn inherited_descriptors_are_closed() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image")).bind(&scratch.dir("v"), "/v", &[]);
    case.before = Box::new(|| {
        for high in [50, 900] {
            // SAFETY: only numbers; these descriptors have no close-on-exec flag and no owner.
            assert_eq!(unsafe { libc::dup2(1, high) }, high);
        }
    });
    let mut open = Vec::new();
    case.run_watched(String::new, |pid| {
        open = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().parse::<i32>().unwrap())
            .filter(|fd| *fd > 2)
            .collect();
    })
    .said();
    assert_eq!(open.len(), 1, "only the test's own socket is kept: {open:?}");
}

fn confinement_and_descriptors_must_fit() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image")).bind(&scratch.dir("v"), "/v", &[]);
    case.descriptors.mounts.clear();
    assert!(case.run(String::new).error().contains("do not fit"));

    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.fresh.mount = false;
    assert!(case.run(String::new).error().contains("fresh mount namespace"));
}
