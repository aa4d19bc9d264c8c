//! Promise: volumes and the files that a kubelet and containerd put into a container are there. Real: all but the kubelet,
//! whose folders and links are made here as it makes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cri::api::{DnsConfig, MountPropagation};
use cri::{Node, Scene, guests, mount};
use e2e::Image;

fn image() -> Image {
    guests("volumes", &["file", "wait"])
}

fn folder(scene: &Scene, name: &str) -> std::path::PathBuf {
    let path = scene.folder().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn an_empty_dir_is_written_to_by_one_container_and_read_by_the_next() {
    let scene = Node::shared().scene("empty-dir");
    let volume = folder(&scene, "volume");
    let pod = scene.pod("a").run();
    let write = pod
        .container("writes", &image(), &["/file.wasm", "write", "/data/x", "text"])
        .volume(&volume, "/data");
    assert_eq!(write.run().0.exit_code, 0);
    let read = pod
        .container("reads", &image(), &["/file.wasm", "read", "/other/place/x"])
        .volume(&volume, "/other/place");
    assert_eq!(read.run().1.trim_end(), "text");
    assert_eq!(fs::read_to_string(volume.join("x")).unwrap(), "text");
}

#[test]
fn a_read_only_volume_cannot_be_written_to_and_a_host_path_shows_the_host() {
    let scene = Node::shared().scene("read-only");
    let volume = folder(&scene, "volume");
    fs::write(volume.join("x"), "from the host").unwrap();
    let container = scene.pod("a").run().container("main", &image(), &["/wait.wasm"]);
    let container = container.read_only_volume(&volume, "/data").start();
    assert_eq!(container.exec(&["/file.wasm", "read", "/data/x"]), (0, "from the host".to_owned()));
    let (code, text) = container.exec(&["/file.wasm", "write", "/data/x", "text"]);
    assert_eq!((code, text.as_str()), (1, "/data/x: Read-only file system\n"));
}

#[test]
fn a_sub_path_is_a_folder_or_a_single_file() {
    let scene = Node::shared().scene("sub-path");
    let volume = folder(&scene, "volume/below");
    fs::write(volume.join("x"), "x").unwrap();
    fs::write(volume.join("y"), "y").unwrap();
    let container = scene.pod("a").run().container("main", &image(), &["/wait.wasm"]);
    let container = container.volume(&volume, "/folder").volume(&volume.join("x"), "/etc/app/x.conf");
    // In a volume, below another one.
    let container = container.volume(&volume.join("y"), "/folder/x").start();
    let read = |path| container.exec(&["/file.wasm", "read", path]).1;
    assert_eq!([read("/folder/y"), read("/folder/x"), read("/etc/app/x.conf")], ["y", "y", "x"]);
    assert_eq!(container.exec(&["/file.wasm", "write", "/etc/app/x.conf", "new"]).0, 0);
    assert_eq!(fs::read_to_string(volume.join("x")).unwrap(), "new");
}

/// Publishes a version as the kubelet does: a folder of its own, and a link that is swapped in one step.
fn publish(volume: &Path, version: u32, text: &str) {
    let name = format!("..version_{version}");
    fs::create_dir(volume.join(&name)).unwrap();
    fs::write(volume.join(&name).join("key"), text).unwrap();
    symlink(&name, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if version > 1 {
        fs::remove_dir_all(volume.join(format!("..version_{}", version - 1))).unwrap();
    }
}

#[test]
fn a_running_guest_sees_a_config_map_change() {
    let scene = Node::shared().scene("config-map");
    let volume = folder(&scene, "config");
    publish(&volume, 1, "first");
    symlink("..data/key", volume.join("key")).unwrap();
    let container =
        scene.pod("a").run().container("main", &image(), &["/file.wasm", "follow", "/config/key"]);
    let container = container.read_only_volume(&volume, "/config").start();
    container.wait_until_it_says("now first\n");
    publish(&volume, 2, "second");
    container.wait_until_it_says("now second\n");
    publish(&volume, 3, "end");
    assert_eq!(container.wait().exit_code, 0);
}

#[test]
fn hosts_hostname_resolv_conf_and_termination_log_are_there() {
    let scene = Node::shared().scene("etc");
    let (hosts, log) = (scene.folder().join("hosts"), scene.folder().join("termination-log"));
    fs::write(&hosts, "127.0.0.1\tlocalhost\n").unwrap();
    fs::write(&log, "").unwrap();
    let mut pod = scene.pod("a");
    pod.config.hostname = "its-name".to_owned();
    pod.config.dns_config = Some(DnsConfig {
        servers: vec!["10.96.0.10".to_owned()],
        searches: vec!["test.svc.cluster.local".to_owned()],
        options: vec!["ndots:5".to_owned()],
    });
    let container = pod.run().container("main", &image(), &["/wait.wasm"]);
    let container = container.volume(&hosts, "/etc/hosts").volume(&log, "/dev/termination-log").start();
    let read = |path| container.exec(&["/file.wasm", "read", path]).1;
    assert_eq!(read("/etc/hosts"), "127.0.0.1\tlocalhost\n");
    assert_eq!(read("/etc/hostname"), "its-name\n");
    let resolv = read("/etc/resolv.conf");
    for line in ["nameserver 10.96.0.10", "search test.svc.cluster.local", "options ndots:5"] {
        assert!(resolv.lines().any(|found| found == line), "{resolv}");
    }
    let (code, text) = container.exec(&["/file.wasm", "write", "/dev/termination-log", "last words"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "last words");
}

#[test]
fn containers_of_a_pod_share_its_dev_shm() {
    let scene = Node::shared().scene("shm");
    let pod = scene.pod("a").run();
    let write = pod.container("writes", &image(), &["/file.wasm", "write", "/dev/shm/x", "shared"]);
    assert_eq!(write.run().0.exit_code, 0);
    assert_eq!(
        pod.container("reads", &image(), &["/file.wasm", "read", "/dev/shm/x"]).run().1.trim_end(),
        "shared"
    );
    let other = scene.pod("b").run().container("main", &image(), &["/file.wasm", "read", "/dev/shm/x"]);
    assert_eq!(other.run().0.exit_code, 1);
}

/// A tmpfs on the host, taken off when dropped.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(path: &Path) -> Tmpfs {
        fs::create_dir_all(path).unwrap();
        host(&["mount", "-t", "tmpfs", "tmpfs", &path.display().to_string()]);
        Tmpfs(path.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        host(&["umount", "-l", &self.0.display().to_string()]);
    }
}

fn host(command: &[&str]) {
    let status = std::process::Command::new(command[0]).args(&command[1..]).status().unwrap();
    assert!(status.success() || std::thread::panicking(), "{command:?}");
}

#[test]
fn what_the_host_mounts_later_is_seen_where_host_to_container_propagation_is_asked_for() {
    let scene = Node::shared().scene("propagation");
    let volume = Tmpfs::mount(&scene.folder().join("shared"));
    host(&["mount", "--make-shared", &volume.0.display().to_string()]);
    fs::create_dir(volume.0.join("below")).unwrap();
    let container = scene.pod("a").run().container("main", &image(), &["/wait.wasm"]);
    let mut container = container.volume(&volume.0, "/private");
    let mut follows = mount(&volume.0, "/follows", false);
    follows.propagation = MountPropagation::PropagationHostToContainer.into();
    container.config.mounts.push(follows);
    let container = container.start();
    let later = Tmpfs::mount(&volume.0.join("below"));
    fs::write(later.0.join("x"), "later").unwrap();
    assert_eq!(container.exec(&["/file.wasm", "read", "/follows/below/x"]), (0, "later".to_owned()));
    assert_eq!(container.exec(&["/file.wasm", "read", "/private/below/x"]).0, 1);
    drop(later);
    assert_eq!(container.exec(&["/file.wasm", "read", "/follows/below/x"]).0, 1);
}

#[test]
fn a_volume_that_is_not_there_is_told_by_name() {
    let scene = Node::shared().scene("missing");
    // containerd makes missing folders of the host; below a file there can be none.
    let file = scene.folder().join("file");
    fs::write(&file, "").unwrap();
    let container = scene.pod("a").run().container("main", &image(), &["/wait.wasm"]);
    let error = container.volume(&file.join("below"), "/data").try_start().unwrap_err();
    assert!(error.message().contains("file/below"), "{error}");
}
