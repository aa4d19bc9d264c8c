//! Who a program is and what it may do.

use std::fs;

use cri::api::security_profile::ProfileType::{Localhost, RuntimeDefault, Unconfined};
use cri::api::{Capability, Int64Value, LinuxContainerSecurityContext, SecurityProfile};
use cri::compile;
use e2e::{Image, Layer, busybox_bytes};
use serde_json::json;

use crate::bench::{Bench, each, same, script_in};

fn profile(kind: cri::api::security_profile::ProfileType, file: &str) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: file.to_owned() })
}

/// What a script says under a seccomp profile.
fn under(bench: &Bench, profile: Option<SecurityProfile>, script: &str, add: &[&str]) -> String {
    let pod = bench.pod("a").run();
    let container = script_in(&pod, &format!("exec 2>&1; grep ^Seccomp: /proc/self/status; {script}"));
    let container = container.security(|security| {
        security.seccomp = profile;
        let add_capabilities = add.iter().map(|name| (*name).to_owned()).collect();
        security.capabilities = Some(Capability { add_capabilities, ..Capability::default() });
    });
    container.run().1
}

#[test]
fn the_runtime_s_seccomp_profile_refuses_what_no_capability_allows() {
    let script = "unshare -m true; echo $?; unshare -U true; echo $?; hostname x; echo $?";
    for add in [&[][..], &["SYS_ADMIN"]] {
        same("default", |bench| under(bench, profile(RuntimeDefault, ""), script, add));
        same("unconfined", |bench| under(bench, profile(Unconfined, ""), script, add));
        same("unset", |bench| under(bench, None, script, add));
    }
    for (kind, installed) in [(RuntimeDefault, "2"), (Unconfined, "0")] {
        each("installed", |bench| {
            assert_eq!(under(bench, profile(kind, ""), "true", &[]), format!("Seccomp:\t{installed}\n"));
        });
    }
}

#[test]
fn a_profile_of_the_node_s_own_holds_also_for_an_exec() {
    each("localhost", |bench| {
        let file = bench.scene.folder().join("profile.json");
        let rule = json!({ "names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO" });
        fs::write(&file, json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }).to_string())
            .unwrap();
        let reference = format!("localhost/{}", file.display());
        for no_new_privs in [true, false] {
            let pod = bench.pod(if no_new_privs { "a" } else { "b" }).run();
            let container =
                script_in(&pod, "chmod 700 /bin; echo $?; trap 'exit 0' TERM; while :; do sleep 0.1; done");
            // As the kubelet of the time before field and profile were apart, and of today.
            let localhost = if bench.scene.node.bed.release.is_2() {
                file.display().to_string()
            } else {
                reference.clone()
            };
            let container = container.security(|security| {
                security.seccomp = profile(Localhost, &localhost);
                security.no_new_privs = no_new_privs;
            });
            let container = container.start();
            container.wait_until_it_says("1\n");
            assert_eq!(container.exec(&["chmod", "700", "/bin"]).0, 1);
            assert_eq!(container.exec(&["true"]).0, 0);
        }
    });
}

fn id(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

/// An image with users, whose own user is `user`.
fn with_users(name: &str, user: &str) -> Image {
    let layer = Layer::new()
        .directory("/etc")
        .directory("/bin")
        .directory("/home/app")
        .file("/bin/busybox", busybox_bytes());
    let layer = ["sh", "id", "cat", "grep"]
        .iter()
        .fold(layer, |layer, tool| layer.symlink(&format!("/bin/{tool}"), "busybox"));
    let layer = layer
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1234:5678::/home/app:/bin/sh\n")
        .file("/etc/group", "root:x:0:\napp:x:5678:\nmore:x:777:app\nimage:x:50000:app\n");
    Image::new(&format!("e2e.local/{name}:1")).layer(layer).entrypoint(&["/bin/sh"]).user(user)
}

#[test]
fn users_and_groups_by_number_and_by_name_and_of_the_image() {
    let script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status; echo $HOME";
    type Change = fn(&mut LinuxContainerSecurityContext);
    let changes: [(&str, Change); 7] = [
        ("user", |security| security.run_as_user = id(1234)),
        ("unknown", |security| security.run_as_user = id(4321)),
        ("group", |security| {
            security.run_as_user = id(1234);
            security.run_as_group = id(99);
        }),
        ("name", |security| security.run_as_username = "app".to_owned()),
        ("groups", |security| {
            security.run_as_user = id(1234);
            security.supplemental_groups = vec![1, 2, 777];
        }),
        ("strict", |security| {
            security.run_as_user = id(1234);
            security.supplemental_groups = vec![1, 2];
            security.supplemental_groups_policy = 1;
        }),
        ("image", |_| {}),
    ];
    for (name, change) in changes {
        same(name, |bench| {
            let image =
                if name == "image" { with_users("user-of-image", "app") } else { with_users("users", "") };
            let container = bench.pod("a").run().container("main", &image, &["/bin/sh", "-c", script]);
            let (status, text) = container.security(change).run();
            assert_eq!(status.exit_code, 0, "{text}");
            text
        });
    }
}

#[test]
fn a_group_without_a_user_and_a_name_that_is_unknown_are_refused() {
    each("refused", |bench| {
        let pod = bench.pod("a").run();
        let group = script_in(&pod, "true").security(|security| security.run_as_group = id(7));
        assert!(group.try_start().is_err());
        let name = pod.container("name", &with_users("users", ""), &["/bin/sh", "-c", "true"]);
        let name = name.security(|security| security.run_as_username = "nobody-here".to_owned());
        assert!(name.try_start().is_err());
    });
}

#[test]
fn no_new_privs_keeps_a_program_from_becoming_root() {
    let layer = Layer::new().setuid_file("/whoami", compile("whoami"));
    let image = Image::new("e2e.local/setuid:1").layer(layer).entrypoint(&["/whoami"]);
    each("no-new-privs", |bench| {
        let pod = bench.pod("a").run();
        for (attempt, no_new_privs, becomes) in [(0, true, 1000), (1, false, 0)] {
            let container = pod.container("main", &image, &[]).attempt(attempt).security(|security| {
                security.run_as_user = id(1000);
                security.no_new_privs = no_new_privs;
            });
            assert_eq!(container.run().1, format!("started as 1000, runs as {becomes}\n"));
        }
    });
}

#[test]
fn paths_are_masked_and_read_only_as_asked() {
    each("paths", |bench| {
        let folder = bench.scene.folder().join("volume");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("secret"), "secret").unwrap();
        let script = "cat /data/secret; ls /covered | wc -l; touch /proc/sys/kernel/x 2>&1; touch /fixed/x 2>&1; touch /free; echo $?; ls /proc/scsi 2>&1 | wc -l";
        let container = bench
            .script(script)
            .volume(&folder, "/data")
            .volume(&folder, "/covered")
            .volume(&folder, "/fixed");
        let container = container.security(|security| {
            security.masked_paths = ["/data/secret", "/covered", "/no/such"].map(str::to_owned).to_vec();
            security.readonly_paths = ["/fixed", "/proc/sys"].map(str::to_owned).to_vec();
        });
        let (_, text) = container.run();
        assert!(!text.contains("secret") && text.starts_with("0\n"), "{text}");
        assert_eq!(text.matches("Read-only file system").count(), 1, "{text}");
    });
}

#[test]
fn apparmor_is_refused_where_the_host_has_none_and_unconfined_is_not() {
    each("apparmor", |bench| {
        let pod = bench.pod("a").run();
        let with = |attempt, kind, name: &str| {
            let container = script_in(&pod, "true").attempt(attempt);
            container.security(|security| security.apparmor = profile(kind, name)).try_start()
        };
        assert!(with(0, Localhost, "localhost/not-loaded").is_err());
        with(1, Unconfined, "").unwrap();
    });
}

#[test]
fn a_privileged_container_may_make_interfaces_and_has_the_host_s_devices() {
    each("privileged", |bench| {
        for privileged in [true, false] {
            let mut pod = bench.pod(if privileged { "a" } else { "b" });
            let linux = pod.config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().privileged = privileged;
            let container =
                script_in(&pod.run(), "ip link add br9 type bridge && [ -b /dev/loop0 -o -c /dev/kmsg ]");
            let container = container.security(|security| security.privileged = privileged);
            assert_eq!(container.run().0.exit_code == 0, privileged);
        }
    });
}
