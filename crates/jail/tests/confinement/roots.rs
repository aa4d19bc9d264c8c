//! The container's root: what it is made of, and that it is all there is to see.

use std::fs;
use std::path::Path;

use jail::RootfsMount;

use crate::harness::{Case, Scratch, list, mount_table, tests, word};

tests![
    an_overlay_of_one_layer_is_a_writable_root,
    an_overlay_of_three_layers_shows_all_and_the_upper_one_wins,
    an_overlay_of_130_layers_is_attached_nowhere,
    layers_with_paths_too_long_for_fsconfig_leave_nothing_behind,
    layers_with_more_path_than_a_page_leave_nothing_behind,
    a_bind_mount_can_be_the_root,
    several_mounts_make_one_root,
    a_missing_layer_is_named,
    a_read_only_root_cannot_be_written,
    nothing_of_the_host_can_be_seen,
];

/// Layers that each hold one file of their own and one that all have.
fn layers(scratch: &Scratch, count: usize, name: &str) -> Vec<String> {
    (0..count)
        .map(|i| {
            scratch.file(&format!("{name}{i}/only-{i}"), "");
            let file = scratch.file(&format!("{name}{i}/common"), &i.to_string());
            file.parent().unwrap().to_str().unwrap().to_owned()
        })
        .collect()
}

fn overlay(scratch: &Scratch, layers: &[String]) -> RootfsMount {
    let (upper, work) = (scratch.dir("upper"), scratch.dir("work"));
    RootfsMount {
        kind: "overlay".into(),
        source: "overlay".into(),
        options: vec![
            "index=off".into(),
            format!("workdir={}", work.display()),
            format!("upperdir={}", upper.display()),
            format!("lowerdir={}", layers.join(":")),
        ],
        target: None,
    }
}

fn check_overlay(scratch: &Scratch, layers: &[String]) {
    let before = mount_table();
    let root = jail::rootfs(&[overlay(scratch, layers)], &scratch.dir("rootfs")).unwrap();
    assert_eq!(before, mount_table(), "nothing may stay on the host");
    let count = layers.len();
    let said = Case::with_root(root).root_user().run(move || {
        let seen = (0..count).filter(|i| Path::new(&format!("/only-{i}")).exists()).count();
        let common = fs::read_to_string("/common").unwrap();
        format!("{seen} {common} {}", word(fs::write("/new", "x")))
    });
    assert_eq!(said.said(), format!("{count} 0 ok"));
    assert!(scratch.0.join("upper/new").exists());
}

fn an_overlay_of_one_layer_is_a_writable_root() {
    let scratch = Scratch::new();
    check_overlay(&scratch, &layers(&scratch, 1, "l"));
}

fn an_overlay_of_three_layers_shows_all_and_the_upper_one_wins() {
    let scratch = Scratch::new();
    check_overlay(&scratch, &layers(&scratch, 3, "l"));
}

fn an_overlay_of_130_layers_is_attached_nowhere() {
    let scratch = Scratch::new();
    check_overlay(&scratch, &layers(&scratch, 130, "l"));
}

fn layers_with_paths_too_long_for_fsconfig_leave_nothing_behind() {
    let scratch = Scratch::new();
    let long = format!("{}/{}/l", "d".repeat(200), "e".repeat(200));
    check_overlay(&scratch, &layers(&scratch, 3, &long));
}

fn layers_with_more_path_than_a_page_leave_nothing_behind() {
    let scratch = Scratch::new();
    let long = format!("{}/{}/l", "d".repeat(200), "e".repeat(200));
    check_overlay(&scratch, &layers(&scratch, 130, &long));
}

fn a_bind_mount_can_be_the_root() {
    let scratch = Scratch::new();
    scratch.file("image/here", "");
    let mount = RootfsMount {
        kind: "bind".into(),
        source: scratch.0.join("image").to_str().unwrap().into(),
        options: vec!["ro".into(), "rbind".into()],
        target: None,
    };
    let root = jail::rootfs(&[mount], &scratch.dir("rootfs")).unwrap();
    let said = Case::with_root(root).run(|| format!("{} {}", list("/"), word(fs::write("/new", ""))));
    assert_eq!(said.said(), "here EROFS");
}

fn several_mounts_make_one_root() {
    let scratch = Scratch::new();
    scratch.file("more/there", "");
    let layers = layers(&scratch, 2, "l");
    fs::create_dir(scratch.0.join("l0/sub")).unwrap();
    let more = RootfsMount {
        kind: "bind".into(),
        source: scratch.0.join("more").to_str().unwrap().into(),
        options: vec!["rbind".into()],
        target: Some("/sub".into()),
    };
    let root = jail::rootfs(&[overlay(&scratch, &layers), more], &scratch.dir("rootfs")).unwrap();
    let said = Case::with_root(root).run(|| format!("{} {}", list("/"), list("/sub")));
    assert_eq!(said.said(), "common only-0 only-1 sub there");
}

fn a_missing_layer_is_named() {
    let scratch = Scratch::new();
    let mut layers = layers(&scratch, 2, "l");
    layers.push(scratch.0.join("gone").to_str().unwrap().into());
    let error = jail::rootfs(&[overlay(&scratch, &layers)], &scratch.dir("rootfs")).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
}

fn a_read_only_root_cannot_be_written() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image")).root_user();
    case.confinement.root_readonly = true;
    assert_eq!(case.run(|| word(fs::write("/new", ""))).said(), "EROFS");
}

fn nothing_of_the_host_can_be_seen() {
    let scratch = Scratch::new();
    scratch.file("image/here", "");
    let host_file = scratch.file("secret", "");
    let mut mounts = 0;
    let outcome = Case::in_dir(&scratch.0.join("image")).root_user().run_watched(
        move || {
            let up = fs::metadata("/../../../../etc/passwd").is_ok();
            format!("{} {} {up} {}", list("/"), host_file.exists(), list("/.."))
        },
        |pid| mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap().lines().count(),
    );
    assert_eq!(outcome.said(), "here false false here");
    assert_eq!(mounts, 1, "the container's root is the only mount in reach");
}
