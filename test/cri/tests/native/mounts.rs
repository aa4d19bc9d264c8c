//! Volumes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use cri::api::MountPropagation::{
    self, PropagationBidirectional as Both, PropagationHostToContainer as FromHost,
    PropagationPrivate as Neither,
};
use cri::{Container, Pod, mount};

use crate::bench::{Bench, WAITS, each, script_in};

fn host(command: &[&str]) {
    let status = Command::new(command[0]).args(&command[1..]).status().unwrap();
    assert!(status.success() || std::thread::panicking(), "{command:?}");
}

/// A tmpfs on the host that is shared, taken off with all below it when dropped.
struct Shared(PathBuf);

impl Shared {
    fn mount(bench: &Bench, name: &str) -> Shared {
        let path = bench.scene.folder().join(name);
        fs::create_dir_all(&path).unwrap();
        host(&["mount", "-t", "tmpfs", "tmpfs", &path.display().to_string()]);
        host(&["mount", "--make-shared", &path.display().to_string()]);
        for folder in ["early", "by-host", "by-container"] {
            fs::create_dir(path.join(folder)).unwrap();
        }
        host(&["mount", "-t", "tmpfs", "early", &path.join("early").display().to_string()]);
        fs::write(path.join("early/file"), "").unwrap();
        Shared(path)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        host(&["umount", "-R", "-l", &self.0.display().to_string()]);
    }
}

fn privileged(pod: cri::PodSpec<'_>) -> Pod<'_> {
    let mut pod = pod;
    pod.config.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
    pod.run()
}

fn with_propagation<'s>(pod: &Pod<'s>, volume: &Path, propagation: MountPropagation) -> Container<'s> {
    let mut volume = mount(volume, "/volume", false);
    volume.propagation = propagation.into();
    let mut container = script_in(pod, WAITS).security(|security| security.privileged = true);
    container.config.mounts.push(volume);
    let container = container.start();
    container.wait_until_it_says("ready");
    container
}

#[test]
fn mounts_of_host_and_container_are_seen_on_the_other_side_as_was_asked() {
    for (name, propagation, seen_inside, seen_outside) in [
        ("private", Neither, false, false),
        ("from-host", FromHost, true, false),
        ("both-ways", Both, true, true),
    ] {
        each(name, |bench| {
            let volume = Shared::mount(bench, "volume");
            let pod = privileged(bench.pod("a"));
            let container = with_propagation(&pod, &volume.0, propagation);
            let inside = |file: &str| container.exec(&["ls", &format!("/volume/{file}")]).0 == 0;
            assert!(inside("early/file"), "what was mounted before is always there");
            let by_host = volume.0.join("by-host");
            host(&["mount", "-t", "tmpfs", "later", &by_host.display().to_string()]);
            fs::write(by_host.join("file"), "").unwrap();
            assert_eq!(inside("by-host/file"), seen_inside);
            let script = "mount -t tmpfs theirs /volume/by-container && touch /volume/by-container/file";
            assert_eq!(container.exec(&["sh", "-c", script]).0, 0);
            assert_eq!(volume.0.join("by-container/file").exists(), seen_outside);
            pod.stop();
            pod.remove();
        });
    }
}

#[test]
fn a_read_only_volume_is_read_only_and_so_is_a_single_file() {
    each("read-only", |bench| {
        let volume = bench.scene.folder().join("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "text").unwrap();
        let script = "cat /folder/file /etc/one; touch /folder/x; echo $?; echo more >/etc/one; echo $?; touch /open/x; echo $?; \
                      mount -o remount,rw /folder; touch /folder/x; echo $?";
        let container = bench.script(&format!("exec 2>&1; {script}")).read_only_volume(&volume, "/folder");
        let container = container.read_only_volume(&volume.join("file"), "/etc/one").volume(&volume, "/open");
        let (_, text) = container.run();
        assert_eq!(text.matches("text").count(), 2, "{text}");
        assert_eq!(text.lines().filter(|line| *line == "0").count(), 1, "{text}");
        assert!(volume.join("x").exists());
        assert_eq!(fs::read_to_string(volume.join("file")).unwrap(), "text");
    });
}

#[test]
fn a_host_path_may_be_a_link_or_missing() {
    each("host-path", |bench| {
        let folder = bench.scene.folder();
        fs::create_dir(folder.join("real")).unwrap();
        fs::write(folder.join("real/file"), "through a link\n").unwrap();
        symlink("real", folder.join("link")).unwrap();
        let container = bench.script("cat /linked/file; echo new >/made/file");
        let container =
            container.volume(&folder.join("link"), "/linked").volume(&folder.join("not-there/yet"), "/made");
        assert_eq!(container.run().1, "through a link\n");
        assert_eq!(fs::read_to_string(folder.join("not-there/yet/file")).unwrap(), "new\n");
    });
}

#[test]
fn volumes_cover_each_other_and_go_where_links_of_the_image_lead() {
    each("order", |bench| {
        let folder = bench.scene.folder();
        for name in ["outer", "outer/inner", "inner"] {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("name"), format!("{name}\n")).unwrap();
        }
        let container =
            bench.script("cat /data/name /data/inner/name /deep/er/still/name; ls -d /data/inner");
        let container = container
            .volume(&folder.join("outer"), "/data")
            .volume(&folder.join("inner"), "/data/inner")
            .volume(&folder.join("inner"), "/deep/er/still");
        assert_eq!(container.run().1, "outer\ninner\ninner\n/data/inner\n");
    });
}

#[test]
fn devices_are_there_with_their_rights_and_others_are_not() {
    each("devices", |bench| {
        let mut container = bench.script("head -c 4 /dev/also-zero | wc -c; echo x >/dev/also-zero; head -c 1 /dev/kmsg; echo $?; ls -l /dev/also-zero");
        container.config.devices.push(cri::api::Device {
            container_path: "/dev/also-zero".into(),
            host_path: "/dev/zero".into(),
            permissions: "rwm".into(),
        });
        let (_, text) = container.run();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0], lines[1]), ("4", "1"), "{text}");
        assert!(lines[2].starts_with("crw-rw-rw-"), "{text}");
    });
}
