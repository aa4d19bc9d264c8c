//! Whose processes, network, memory segments and name a container sees.

use std::fs;

use cri::Container;
use cri::api::NamespaceMode::{Node as Host, Pod as Shared, Target};
use cri::api::NamespaceOption;
use e2e::Process;

use crate::bench::{Bench, WAITS, each, script_in};

fn namespace(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

/// Those of the bed's containerd, which runs outside all pods.
fn of_the_node(bench: &Bench, kind: &str) -> String {
    let socket = bench.scene.node.bed.folder().join("config.toml").display().to_string();
    let containerd = Process::all().into_iter().find(|process| process.arguments().contains(&socket));
    namespace(containerd.expect("containerd runs").pid, kind)
}

fn of(container: &Container<'_>, kind: &str) -> String {
    namespace(container.pid(), kind)
}

fn start<'s>(pod: &cri::Pod<'s>, attempt: u32) -> Container<'s> {
    let container = script_in(pod, WAITS).attempt(attempt).start();
    container.wait_until_it_says("ready");
    container
}

#[test]
fn containers_of_a_pod_share_network_ipc_and_name_and_nothing_else() {
    each("pod", |bench| {
        let pod = bench.pod("a").run();
        let (one, two) = (start(&pod, 0), start(&pod, 1));
        for kind in ["net", "ipc", "uts"] {
            assert_eq!(of(&one, kind), of(&two, kind), "{kind}");
            assert_ne!(of(&one, kind), of_the_node(bench, kind), "{kind}");
        }
        for kind in ["pid", "mnt"] {
            assert_ne!(of(&one, kind), of(&two, kind), "{kind}");
            assert_ne!(of(&one, kind), of_the_node(bench, kind), "{kind}");
        }
        assert_eq!(
            one.exec(&["sh", "-c", "echo $$; kill -0 1 && echo its own"]).1.lines().last(),
            Some("its own")
        );
    });
}

#[test]
fn host_network_ipc_and_pid_are_the_host_s() {
    each("host", |bench| {
        let pod = bench.pod("a").namespaces(Host, Host, Host).run();
        let container = start(&pod, 0);
        for kind in ["net", "ipc", "pid", "uts"] {
            assert_eq!(of(&container, kind), of_the_node(bench, kind), "{kind}");
        }
        // The container's own process is seen by the host's number.
        let pid = container.pid();
        assert_eq!(container.exec(&["ls", "-d", &format!("/proc/{pid}")]).0, 0);
        container.stop(10);
        assert_eq!(container.status().exit_code, 143);
    });
}

#[test]
fn a_pod_s_containers_see_each_other_s_processes_where_it_asks_for_that() {
    each("share-pid", |bench| {
        let pod = bench.pod("a").namespaces(Shared, Shared, Shared).run();
        let one = start(&pod, 0);
        let two = script_in(&pod, "exec sleep 4321").attempt(1).start();
        assert_eq!(of(&one, "pid"), of(&two, "pid"));
        e2e::eventually("the neighbour in ps", || one.exec(&["sh", "-c", "ps | grep '[s]leep 4321'"]).0 == 0);
        // What it leaves behind ends with it, although its namespace goes on.
        one.stop(10);
        assert_eq!(one.status().exit_code, 143);
        assert_eq!(two.exec(&["true"]).0, 0);
    });
}

#[test]
fn a_debugging_container_joins_the_processes_of_its_target() {
    each("target", |bench| {
        let pod = bench.pod("a").run();
        let target = start(&pod, 0);
        let debugger =
            script_in(&pod, "ps; trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done").attempt(1);
        let debugger = debugger.security(|security| {
            let options = NamespaceOption {
                network: Shared.into(),
                pid: Target.into(),
                ipc: Shared.into(),
                target_id: target.id.clone(),
                ..NamespaceOption::default()
            };
            security.namespace_options = Some(options);
        });
        let debugger = debugger.start();
        debugger.wait_until_it_says("ready");
        assert_eq!(of(&debugger, "pid"), of(&target, "pid"));
        assert!(debugger.log().stdout().contains("echo ready"), "{:?}", debugger.log());
        // The target is process 1: its end is theirs.
        target.stop(10);
        debugger.wait();
    });
}

#[test]
fn sysctls_are_set_for_the_pod_and_unsafe_ones_of_the_host_are_refused() {
    each("sysctls", |bench| {
        let pod = bench.pod("a").sysctl("kernel.shm_rmid_forced", "1").sysctl("kernel.msgmax", "16384");
        let pod = pod.sysctl("net.ipv4.ip_local_port_range", "2000 3000");
        let pod = pod.sysctl("fs.mqueue.msg_max", "100").run();
        let script = "cd /proc/sys; cat kernel/shm_rmid_forced kernel/msgmax net/ipv4/ip_local_port_range fs/mqueue/msg_max";
        assert_eq!(script_in(&pod, script).run().1, "1\n16384\n2000\t3000\n100\n");
        let refused = bench.pod("b").sysctl("vm.swappiness", "1").try_run().unwrap_err();
        assert!(refused.message().contains("swappiness"), "{refused}");
    });
}

#[test]
fn the_host_name_is_the_pod_s() {
    each("name", |bench| {
        let mut pod = bench.pod("a");
        pod.config.hostname = "its-name".to_owned();
        let pod = pod.run();
        let (_, text) = script_in(&pod, "hostname; cat /etc/hostname; echo $HOSTNAME").run();
        assert_eq!(text, "its-name\nits-name\nits-name\n");
    });
}
