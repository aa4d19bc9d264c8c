//! Promise: a pod made through the Sandbox API has namespaces and files of its own and no process, and ends without a
//! trace.
//!
//! Real: containerd for the containers, the shim, namespaces, cgroups. The Sandbox service is asked directly, as only
//! CRI asks it otherwise; `test/cri` has that in earnest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, PingRequest, PlatformRequest, SandboxMetricsRequest, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, StartSandboxRequest, StartSandboxResponse,
    StopSandboxRequest, WaitSandboxRequest,
};
use containerd_shim_protos::sandbox_async::SandboxClient;
use e2e::{Bed, Container, Image, Namespace, Traces, eventually};
use protobuf::well_known_types::any::Any;
use serde_json::json;
use ttrpc::Code;

/// A protobuf field of type bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

/// `runtime.v1.PodSandboxConfig` with a host name, name servers and, if asked for, a shared pid namespace (`POD`) or one
/// for each container (`CONTAINER`).
fn pod(hostname: &str, share_pid: bool, cgroup_parent: &str) -> Any {
    let namespaces = [0x10, u8::from(!share_pid)];
    let linux = [field(1, cgroup_parent.as_bytes()), field(2, &field(1, &namespaces))].concat();
    let dns = [field(1, b"192.0.2.53"), field(2, b"svc.test")].concat();
    let value = [field(2, hostname.as_bytes()), field(4, &dns), field(8, &linux)].concat();
    Any { type_url: "runtime.v1.PodSandboxConfig".into(), value, ..Any::default() }
}

/// The Sandbox service of a namespace's server, which a container keeps alive.
struct Pods<'n> {
    namespace: &'n Namespace,
    runtime: tokio::runtime::Runtime,
    client: SandboxClient,
    bundles: PathBuf,
}

macro_rules! ask {
    ($pods:expr, $method:ident, $request:expr) => {{
        let context = ttrpc::context::with_duration(std::time::Duration::from_secs(20));
        $pods.runtime.block_on($pods.client.$method(context, &$request)).map_err(|error| match error {
            ttrpc::Error::RpcStatus(status) => (status.code.enum_value_or_default(), status.message),
            other => (Code::UNAVAILABLE, other.to_string()),
        })
    }};
}

impl Pods<'_> {
    fn of(namespace: &Namespace) -> Pods<'_> {
        let address = format!("unix://{}", namespace.server().place.join("task.sock").display());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(ttrpc::asynchronous::Client::connect(&address)).unwrap();
        let bundles = namespace.bed.folder().join("pods").join(&namespace.name);
        Pods { namespace, runtime, client: SandboxClient::new(client), bundles }
    }

    fn create(&self, id: &str, options: Any) -> Result<(), (Code, String)> {
        let bundle = self.bundles.join(id);
        std::fs::create_dir_all(&bundle).unwrap();
        let request = CreateSandboxRequest {
            sandbox_id: id.into(),
            bundle_path: bundle.display().to_string(),
            options: Some(options).into(),
            ..CreateSandboxRequest::default()
        };
        ask!(self, create_sandbox, request).map(drop)
    }

    fn start(&self, id: &str) -> Result<StartSandboxResponse, (Code, String)> {
        ask!(
            self,
            start_sandbox,
            StartSandboxRequest { sandbox_id: id.into(), ..StartSandboxRequest::default() }
        )
    }

    fn status(&self, id: &str) -> Result<SandboxStatusResponse, (Code, String)> {
        let request = SandboxStatusRequest { sandbox_id: id.into(), ..SandboxStatusRequest::default() };
        ask!(self, sandbox_status, request)
    }

    fn stop(&self, id: &str) -> Result<(), (Code, String)> {
        let request = StopSandboxRequest { sandbox_id: id.into(), ..StopSandboxRequest::default() };
        ask!(self, stop_sandbox, request).map(drop)
    }

    fn shutdown(&self, id: &str) {
        let request = ShutdownSandboxRequest { sandbox_id: id.into(), ..ShutdownSandboxRequest::default() };
        ask!(self, shutdown_sandbox, request).unwrap();
    }

    /// A container of the pod, with the spec that containerd writes from the pod's process id.
    fn member<'n>(&'n self, image: &Image, id: &str, pod: &str, pid: u32, args: &[&str]) -> Container<'n> {
        let mut member = self.namespace.container(image, id, args);
        let joined =
            |kind: &str, file: &str| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") });
        let namespaces = [
            json!({ "type": "mount" }),
            joined("ipc", "ipc"),
            joined("uts", "uts"),
            joined("network", "net"),
        ];
        member.spec.set("/linux", "namespaces", json!(namespaces));
        member
            .annotation("io.kubernetes.cri.container-type", "container")
            .annotation("io.kubernetes.cri.sandbox-id", pod)
    }
}

fn namespaces_of(pid: i32) -> BTreeMap<&'static str, String> {
    let link = |kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    ["ipc", "uts", "net"].map(|kind| (kind, link(kind))).into()
}

#[test]
fn a_pod_without_a_process_has_namespaces_and_files_of_its_own() {
    let bed = Bed::shared();
    let namespace = bed.namespace("pods");
    let image = namespace.import_guests(&["wait", "file"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    let server = namespace.server().process;
    let processes = server.children().len();
    let pods = Pods::of(&namespace);

    pods.create("one", pod("web-1", false, "")).unwrap();
    assert_eq!(pods.status("one").unwrap().state, "SANDBOX_NOTREADY");
    let started = pods.start("one").unwrap();
    assert!(started.created_at.seconds > 0);
    assert_eq!(server.children().len(), processes, "no process is left of making the namespaces");
    let status = pods.status("one").unwrap();
    assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_READY", started.pid));
    pods.create("two", pod("web-2", false, "")).unwrap();
    pods.start("two").unwrap();

    let member = |id, sandbox| {
        let task = pods.member(&image, id, sandbox, started.pid, &["/bin/wait.wasm"]).start();
        task.stdout().wait_until_it_says("ready");
        task
    };
    let (a, b, other) = (member("a", "one"), member("b", "one"), member("c", "two"));
    let own = namespaces_of(a.pid);
    assert_eq!(own, namespaces_of(b.pid));
    for (kind, inode) in &own {
        assert_ne!(*inode, namespaces_of(other.pid)[kind], "{kind} of two pods");
        assert_ne!(*inode, namespaces_of(server.pid)[kind], "{kind} of pod and host");
    }
    let read = |id, path| {
        pods.member(&image, id, "one", started.pid, &["/bin/file.wasm", "read", path]).run().text()
    };
    assert_eq!(read("h", "/etc/hostname"), "web-1\n");
    assert_eq!(read("r", "/etc/resolv.conf"), "search svc.test\nnameserver 192.0.2.53\n");
    assert_eq!(read("e", "/etc/hosts"), std::fs::read_to_string("/etc/hosts").unwrap());

    for task in [a, b, other, keeper] {
        task.end();
    }
    assert_eq!(pods.namespace.server().process.children().len(), 1, "the zygote");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(server.is_there(), "pods keep their server");
    for id in ["one", "two"] {
        pods.stop(id).unwrap();
        pods.stop(id).unwrap();
        let status = pods.status(id).unwrap();
        assert_eq!((status.state.as_str(), status.exited_at.seconds > 0), ("SANDBOX_NOTREADY", true));
        pods.shutdown(id);
        pods.shutdown(id);
        assert_eq!(pods.status(id).unwrap_err().0, Code::NOT_FOUND);
    }
    drop(pods);
    eventually("the server to end", || Traces::of(&namespace).is_empty());
}

#[test]
fn a_shared_pid_namespace_has_a_holder_and_the_pod_ends_with_it() {
    let bed = Bed::shared();
    let namespace = bed.namespace("sharedpid");
    let image = namespace.import_guests(&["wait"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    let pods = Pods::of(&namespace);
    pods.create("p", pod("web", true, "")).unwrap();
    let pid = pods.start("p").unwrap().pid as i32;
    let server = namespace.server().process;
    let holder =
        server.children().into_iter().find(|process| process.pid == pid).expect("the holder is a child");
    holder.signal(rustix::process::Signal::KILL);
    let request = WaitSandboxRequest { sandbox_id: "p".into(), ..WaitSandboxRequest::default() };
    assert_eq!(ask!(pods, wait_sandbox, request).unwrap().exit_status, 137);
    assert_eq!(pods.status("p").unwrap().state, "SANDBOX_NOTREADY");
    let late = pods.member(&image, "late", "p", pid as u32, &["/bin/wait.wasm"]).refusal();
    assert!(late.contains("has ended"), "{late}");
    assert!(!holder.is_there(), "it was reaped");
    pods.shutdown("p");
    keeper.end();
}

#[test]
fn each_call_that_makes_no_sense_is_refused_in_words() {
    let bed = Bed::shared();
    let namespace = bed.namespace("podwords");
    let image = namespace.import_guests(&["wait"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    let pods = Pods::of(&namespace);
    assert_eq!(pods.start("none").unwrap_err(), (Code::NOT_FOUND, "sandbox \"none\" not found".to_owned()));
    assert_eq!(pods.stop("none").unwrap_err().0, Code::NOT_FOUND);
    let ping =
        |id: &str| ask!(pods, ping_sandbox, PingRequest { sandbox_id: id.into(), ..PingRequest::default() });
    assert_eq!(ping("none").unwrap_err().0, Code::NOT_FOUND);
    assert_eq!(pods.create("../x", pod("", false, "")).unwrap_err().0, Code::INVALID_ARGUMENT);
    let (code, why) = pods.create("x", Any { type_url: "x.Y".into(), ..Any::default() }).unwrap_err();
    assert!(code == Code::INVALID_ARGUMENT && why.contains("x.Y"), "{why}");
    assert_eq!(pods.create("keeper", pod("", false, "")).unwrap_err().0, Code::ALREADY_EXISTS);
    pods.create("x", pod("", false, "")).unwrap();
    assert_eq!(pods.create("x", pod("", false, "")).unwrap_err().0, Code::ALREADY_EXISTS);
    ping("x").unwrap();
    let early = pods.member(&image, "early", "x", 1, &["/bin/wait.wasm"]).refusal();
    assert!(early.contains("is not started"), "{early}");
    pods.start("x").unwrap();
    assert_eq!(pods.start("x").unwrap_err().0, Code::FAILED_PRECONDITION);
    pods.shutdown("x");
    keeper.end();
}

#[test]
fn a_pod_tells_its_platform_and_the_figures_of_its_cgroup() {
    let bed = Bed::shared();
    let namespace = bed.namespace("podstats");
    let image = namespace.import_guests(&["wait"]);
    let keeper = namespace.container(&image, "keeper", &["/bin/wait.wasm"]).start();
    let pods = Pods::of(&namespace);
    pods.create("x", pod("", false, &bed.cgroups.add(&namespace.name))).unwrap();
    pods.start("x").unwrap();
    let request = PlatformRequest { sandbox_id: "x".into(), ..PlatformRequest::default() };
    let platform = ask!(pods, platform, request).unwrap().platform;
    assert_eq!(platform.os, "linux");
    assert_eq!(platform.architecture, if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
    let request = SandboxMetricsRequest { sandbox_id: "x".into(), ..SandboxMetricsRequest::default() };
    let metrics = ask!(pods, sandbox_metrics, request).unwrap().metrics;
    assert_eq!(metrics.id, "x");
    assert!(metrics.data.type_url.starts_with("io.containerd.cgroups.v"), "{metrics:?}");
    pods.shutdown("x");
    keeper.end();
}
