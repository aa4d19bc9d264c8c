//! Promise: a pod's security context is kept. Real: all but the kubelet; who a guest is, is read from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use cri::api::security_profile::ProfileType;
use cri::api::{Int64Value, SecurityProfile};
use cri::{Container, Node, guests};
use e2e::{Image, Layer, guest};

fn image() -> Image {
    guests("security", &["wait", "file"])
}

fn id(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

/// Fields of `/proc/PID/status`.
fn status(container: &Container<'_>) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn a_guest_runs_as_the_user_and_in_the_groups_it_was_given() {
    let scene = Node::shared().scene("user");
    let container = scene.pod("a").run().container("main", &image(), &["/wait.wasm"]).security(|security| {
        security.run_as_user = id(1000);
        security.run_as_group = id(2000);
        security.supplemental_groups = vec![3000, 4000];
    });
    let status = status(&container.start());
    assert_eq!(status["Uid"], "1000 1000 1000 1000");
    assert_eq!(status["Gid"], "2000 2000 2000 2000");
    let groups: Vec<_> = status["Groups"].split(' ').filter(|group| *group != "2000").collect();
    assert_eq!(groups, ["3000", "4000"]);
}

#[test]
fn no_guest_has_a_capability_or_can_get_one() {
    let scene = Node::shared().scene("powers");
    let pod = scene.pod("a").run();
    for (name, profile) in [("default", ProfileType::RuntimeDefault), ("unconfined", ProfileType::Unconfined)]
    {
        let container = pod.container(name, &image(), &["/wait.wasm"]).security(|security| {
            security.seccomp =
                Some(SecurityProfile { profile_type: profile.into(), ..SecurityProfile::default() });
        });
        let status = status(&container.start());
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    }
}

#[test]
fn a_user_is_found_by_name_in_the_image() {
    let scene = Node::shared().scene("name");
    let layer = Layer::new().directory("/etc").file("/wait.wasm", guest("wait"));
    let layer = layer
        .file("/etc/passwd", "app:x:1234:5678::/:/none\n")
        .file("/etc/group", "app:x:5678:\nmore:x:777:app\n");
    let image = Image::new("e2e.local/with-users:1").layer(layer).entrypoint(&["/wait.wasm"]);
    let container = scene.pod("a").run().container("main", &image, &[]);
    let container = container.security(|security| security.run_as_username = "app".to_owned());
    let status = status(&container.start());
    assert_eq!(
        (status["Uid"].as_str(), status["Gid"].as_str()),
        ("1234 1234 1234 1234", "5678 5678 5678 5678")
    );
    assert!(status["Groups"].split(' ').any(|group| group == "777"), "{status:?}");
}

#[test]
fn files_belong_to_the_user_and_the_volume_s_group_can_use_them() {
    let scene = Node::shared().scene("fs-group");
    // What the kubelet does for fsGroup: the volume's group, its bit, and group rights.
    let volume = scene.folder().join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("secret"), "for the group").unwrap();
    for (path, mode) in [(volume.clone(), 0o2770), (volume.join("secret"), 0o440)] {
        chown(&path, Some(0), Some(5000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let pod = scene.pod("a").run();
    let with_groups = |name: &str, groups: Vec<i64>| {
        let container = pod.container(name, &image(), &["/wait.wasm"]).volume(&volume, "/data");
        let container = container.security(|security| {
            security.run_as_user = id(1000);
            security.supplemental_groups = groups;
        });
        container.start()
    };
    let member = with_groups("member", vec![5000]);
    assert_eq!(member.exec(&["/file.wasm", "read", "/data/secret"]), (0, "for the group".to_owned()));
    assert_eq!(member.exec(&["/file.wasm", "write", "/data/new", "text"]).0, 0);
    let made = fs::metadata(volume.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (1000, 5000));
    let stranger = with_groups("stranger", Vec::new());
    let (code, text) = stranger.exec(&["/file.wasm", "read", "/data/secret"]);
    assert_eq!((code, text.as_str()), (1, "/data/secret: Permission denied\n"));
}

#[test]
fn a_read_only_root_can_be_written_to_in_its_volumes_alone() {
    let scene = Node::shared().scene("read-only");
    let volume = scene.folder().join("volume");
    fs::create_dir_all(&volume).unwrap();
    let container =
        scene.pod("a").run().container("main", &image(), &["/wait.wasm"]).volume(&volume, "/data");
    let container = container.security(|security| security.readonly_rootfs = true).start();
    let (code, text) = container.exec(&["/file.wasm", "write", "/x", "text"]);
    assert_eq!((code, text.as_str()), (1, "/x: Read-only file system\n"));
    for path in ["/data/x", "/dev/shm/x", "/dev/null"] {
        assert_eq!(container.exec(&["/file.wasm", "write", path, "text"]).0, 0, "{path}");
    }
}

#[test]
fn the_root_of_one_container_is_not_that_of_another() {
    let scene = Node::shared().scene("root");
    let pod = scene.pod("a").run();
    let one = pod.container("one", &image(), &["/wait.wasm"]).start();
    let other = pod.container("other", &image(), &["/wait.wasm"]).start();
    assert_eq!(one.exec(&["/file.wasm", "write", "/x", "text"]).0, 0);
    assert_eq!(one.exec(&["/file.wasm", "read", "/x"]), (0, "text".to_owned()));
    assert_eq!(other.exec(&["/file.wasm", "read", "/x"]).0, 1);
}
