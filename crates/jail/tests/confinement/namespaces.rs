//! Namespaces: fresh ones, joined ones, and what is set in them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use jail::{Confinement, Descriptors, NamespaceKind, Namespaces};

use crate::harness::{Case, Scratch, list, tests, word};

tests![
    each_fresh_namespace_differs_from_the_hosts,
    host_and_domain_name_are_the_containers_own,
    a_host_name_needs_a_uts_namespace,
    loopback_is_up_in_a_fresh_network,
    a_sysctl_of_a_fresh_namespace_is_set,
    a_sysctl_of_the_host_is_refused_by_name,
    a_sysctl_needs_its_namespace,
    an_exec_joins_its_container,
    a_cgroup_is_entered_before_its_namespace_is_made,
    a_namespace_holder_needs_no_root,
];

fn link(pid: i32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_str().unwrap().to_owned()
}

fn open(pid: i32, kind: &str) -> OwnedFd {
    fs::File::open(format!("/proc/{pid}/ns/{kind}")).unwrap().into()
}

fn own() -> i32 {
    std::process::id() as i32
}

fn each_fresh_namespace_differs_from_the_hosts() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.fresh =
        Namespaces { mount: true, pid: true, network: true, ipc: true, uts: true, cgroup: true };
    let outcome = case.run_watched(
        || std::process::id().to_string(),
        |pid| {
            for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
                assert_ne!(link(pid, kind), link(own(), kind), "{kind}");
            }
        },
    );
    assert_eq!(outcome.said(), "1");
}

/// What `uname` says; the filter lets it through.
fn names() -> String {
    // SAFETY: all zeroes is a valid `utsname`, which the kernel fills with NUL-terminated strings.
    let names = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut names);
        names
    };
    [names.nodename, names.domainname]
        .map(|name| name.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect::<String>())
        .join(" ")
}

fn host_and_domain_name_are_the_containers_own() {
    let scratch = Scratch::new();
    let before = names();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.hostname = Some("pod-1");
    case.confinement.domainname = Some("cluster.test");
    assert_eq!(case.run(names).said(), "pod-1 cluster.test");
    assert_eq!(before, names());
}

fn a_host_name_needs_a_uts_namespace() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.fresh.uts = false;
    case.confinement.hostname = Some("pod-1");
    let error = case.run(String::new).error();
    assert!(error.contains("pod-1") && error.contains("uts namespace"), "{error}");
}

fn loopback_is_up_in_a_fresh_network() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.fresh.network = true;
    let outcome = case.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut said = String::new();
        server.read_to_string(&mut said).unwrap();
        said
    });
    assert_eq!(outcome.said(), "hello");
}

fn a_sysctl_of_a_fresh_namespace_is_set() {
    let scratch = Scratch::new();
    let name = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = fs::read_to_string(name).unwrap();
    let run = |sysctl: &[(&'static str, &'static str)]| {
        let mut case = Case::in_dir(&scratch.dir("image"));
        case.confinement.fresh.network = true;
        case.confinement.sysctl = sysctl.to_vec();
        case.run(|| word(TcpListener::bind("127.0.0.1:80"))).said()
    };
    assert_eq!(run(&[]), "EACCES");
    assert_eq!(run(&[("net.ipv4.ip_unprivileged_port_start", "80"), ("kernel.shmmni", "77")]), "ok");
    assert_eq!(before, fs::read_to_string(name).unwrap());
}

fn a_sysctl_of_the_host_is_refused_by_name() {
    let scratch = Scratch::new();
    for name in ["kernel.panic", "vm.swappiness", "net/../kernel/panic"] {
        let mut case = Case::in_dir(&scratch.dir("image"));
        case.confinement.fresh.network = true;
        case.confinement.sysctl = vec![(name, "0")];
        let error = case.run(String::new).error();
        assert!(error.contains(name) && error.contains("not namespaced"), "{error}");
    }
}

fn a_sysctl_needs_its_namespace() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.confinement.sysctl = vec![("net.ipv4.ip_forward", "1")];
    let error = case.run(String::new).error();
    assert!(error.contains("network namespace"), "{error}");
}

fn an_exec_joins_its_container() {
    let scratch = Scratch::new();
    scratch.file("image/here", "");
    let mut said = String::new();
    let outcome = Case::in_dir(&scratch.0.join("image")).bind(&scratch.dir("v"), "/volume", &[]).run_watched(
        String::new,
        |pid| {
            let kinds =
                [(NamespaceKind::Uts, "uts"), (NamespaceKind::Ipc, "ipc"), (NamespaceKind::Mount, "mnt")];
            let exec = Case {
                confinement: Confinement { cwd: "/volume", ..Confinement::default() },
                descriptors: Descriptors {
                    join: kinds.map(|(kind, name)| (kind, open(pid, name))).into(),
                    ..Descriptors::default()
                },
                filter: true,
                no_sockets: false,
                lingers: false,
                before: Box::new(|| {}),
            };
            said = exec
                .run_watched(
                    || format!("{} {}", list("/"), list(".")),
                    |exec| assert_eq!(link(exec, "mnt"), link(pid, "mnt")),
                )
                .said();
        },
    );
    outcome.said();
    assert_eq!(said, "here volume ");
}

fn a_cgroup_is_entered_before_its_namespace_is_made() {
    let cgroup = format!("/sys/fs/cgroup/pids/wamr-test-{}", std::process::id());
    fs::create_dir(&cgroup).expect("this test needs cgroup v1's pids controller");
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    let procs = fs::File::options().write(true).open(format!("{cgroup}/cgroup.procs")).unwrap();
    case.descriptors.cgroup_procs.push(procs.into());
    case.confinement.fresh.cgroup = true;
    let mut members = String::new();
    let mut expected = String::new();
    let outcome = case.run_watched(String::new, |pid| {
        members = fs::read_to_string(format!("{cgroup}/cgroup.procs")).unwrap();
        expected = format!("{pid}\n");
        assert_ne!(link(pid, "cgroup"), link(own(), "cgroup"));
    });
    fs::remove_dir(&cgroup).unwrap();
    outcome.said();
    assert_eq!(members, expected);
}

fn a_namespace_holder_needs_no_root() {
    let scratch = Scratch::new();
    let mut case = Case::in_dir(&scratch.dir("image"));
    case.descriptors.root = None;
    let outcome = case.root_user().run(|| format!("{} {}", list("/"), word(fs::write("/x", ""))));
    assert_eq!(outcome.said(), "root EROFS");
}
