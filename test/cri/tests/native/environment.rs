//! What a program finds around itself: its powers, limits, variables, devices, mounts, cgroups, streams.

use cri::api::NamespaceMode::{Container as Own, Node as Host, Pod as Shared};
use cri::api::{Capability, Int64Value, LinuxContainerSecurityContext};

use crate::bench::{Bench, same, script_in};

/// Looks around. Not compared: what kind of descriptor a stream is, options of a whole file system (as opposed to a mount),
/// flags of `/dev/shm` (we keep `nosuid,nodev,noexec` of what is bound, some releases of runc do not), and hierarchies without
/// controllers: systemd's, which runc fills and we do not, and the server's own; real-time signals that are ignored since
/// whoever started containerd.
const LOOK: &str = r#"exec 2>&1
echo "== status"; grep -E '^(Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap|Speculation|Sig(Blk|Cgt))' /proc/self/status
echo ignored $((0x$(sed -n 's/^SigIgn:.//p' /proc/self/status) & 0x7fffffff))
echo "== limits"; cat /proc/self/limits; cat /proc/self/oom_score_adj
echo "== env"; env; pwd; hostname
echo "== dev"; ls -l /dev /dev/pts | sed -E 's/ [A-Z][a-z][a-z] +[0-9]+ [0-9:]+ / /'
echo "== mounts"; grep -v ' /sys/fs/cgroup' /proc/self/mountinfo | sed -E 's/^[0-9]+ [0-9]+ [0-9:]+ //; s/(shared|master):[0-9]+/\1/g; s/ - ([^ ]+) .*/ \1/; s# /dev/shm [^ ]*# /dev/shm#'
echo "== cgroup"; sed -E 's/^[0-9]+://' /proc/1/cgroup | grep -v '^name=\|^:' | sort
ls /sys/fs/cgroup | grep -v systemd; mkdir /sys/fs/cgroup/memory/x
echo "== fd"; ls /proc/self/fd; tty
echo "== masked"; for p in acpi kcore keys timer_list; do stat -c '%n %F %a' /proc/$p; cat /proc/$p | head -c 1 | wc -c; done; ls -a /sys/firmware
echo "== read-only"; for p in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger /; do touch $p/x; echo $p $?; done
stat -c '%n %a %u %g' / /proc /dev /sys /dev/shm
echo "== session"; read -r pid name state parent group session tty rest < /proc/self/stat; echo $tty $((session == group))
echo "== sysctl"; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
echo "== tries"; unshare -m true; mknod /dev/y c 1 3; echo $?; hostname other; echo $?; touch /y; chmod 4755 /y; echo $?
echo "== other"; cat /proc/self/timerslack_ns /proc/self/attr/current
"#;

fn look(bench: &Bench, change: impl Fn(&mut LinuxContainerSecurityContext)) -> String {
    let mut pod = bench.pod("a");
    pod.config.hostname = "its-name".to_owned();
    script_in(&pod.run(), LOOK).security(change).run().1
}

fn id(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn of_an_ordinary_container() {
    same("ordinary", |bench| look(bench, |_| {}));
}

#[test]
fn of_a_privileged_container() {
    same("privileged", |bench| {
        let mut pod = bench.pod("a");
        let linux = pod.config.linux.get_or_insert_default();
        linux.security_context.get_or_insert_default().privileged = true;
        let container = script_in(&pod.run(), LOOK).security(|security| {
            security.privileged = true;
            security.masked_paths.clear();
            security.readonly_paths.clear();
        });
        container.run().1
    });
}

#[test]
fn of_a_user_without_privileges_on_a_read_only_root() {
    same("user", |bench| {
        look(bench, |security| {
            security.run_as_user = id(1000);
            security.run_as_group = id(2000);
            security.supplemental_groups = vec![3000, 4000];
            security.no_new_privs = true;
            security.readonly_rootfs = true;
        })
    });
}

#[test]
fn with_capabilities_added_and_dropped() {
    for (name, add, drop, user) in [
        ("some", &["SYS_ADMIN", "NET_ADMIN"][..], &["CHOWN"][..], 0),
        ("none", &[], &["ALL"], 0),
        ("all", &["ALL"], &[], 0),
        ("all-but", &["ALL"], &["SYS_TIME", "KILL"], 0),
        ("one", &["CHOWN"], &["ALL"], 0),
        ("user", &["ALL"], &[], 1000),
    ] {
        same(name, |bench| {
            look(bench, |security| {
                security.run_as_user = id(user);
                security.capabilities = Some(Capability {
                    add_capabilities: words(add),
                    drop_capabilities: words(drop),
                    ..Capability::default()
                });
            })
        });
    }
}

#[test]
fn with_a_terminal() {
    same("terminal", |bench| {
        let mut pod = bench.pod("a");
        pod.config.hostname = "its-name".to_owned();
        script_in(&pod.run(), LOOK).terminal().input().run().1
    });
}

#[test]
fn with_namespaces_of_the_pod_and_of_the_host() {
    for (name, network, pid, ipc) in [
        ("host-network", Host, Own, Shared),
        ("host-pid", Shared, Host, Shared),
        ("share-pid", Shared, Shared, Shared),
        ("host-ipc", Shared, Own, Host),
    ] {
        same(name, |bench| {
            let pod = bench.pod("a").namespaces(network, pid, ipc).run();
            // Process 1 is another in a pod's or the host's namespace.
            script_in(&pod, &LOOK.replace("/proc/1/", "/proc/self/")).run().1
        });
    }
}

#[test]
fn of_an_exec() {
    same("exec", |bench| {
        let mut pod = bench.pod("a");
        pod.config.hostname = "its-name".to_owned();
        let container = script_in(&pod.run(), crate::bench::WAITS).start();
        container.wait_until_it_says("ready");
        container.exec(&["/bin/sh", "-c", &LOOK.replace("/proc/1/", "/proc/self/")]).1
    });
}
