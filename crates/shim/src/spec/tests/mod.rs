//! containerd's own specs must be read as meant, and what makes no sense must be refused by name.

mod document;

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::Config;

const CTR: &str = include_str!("../fixtures/ctr.json");
const CRI_CONTAINER: &str = include_str!("../fixtures/cri-container.json");
const CRI_SANDBOX: &str = include_str!("../fixtures/cri-sandbox.json");

fn plan(spec: &str) -> Result<Plan, SpecError> {
    Plan::from_bundle(spec.as_bytes(), Path::new("/run/bundle"), &Config::default())
}

/// RFC 7386, with one addition: the object `{"+": x}` appends `x` to a list.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if let Some(more) = fields.get("+") {
        if !into.is_array() {
            *into = json!([]);
        }
        into.as_array_mut().unwrap().push(more.clone());
        return;
    }
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn patched(spec: &str, patch: &Value) -> Result<Plan, SpecError> {
    let mut value: Value = serde_json::from_str(spec).unwrap();
    merge(&mut value, patch);
    plan(&value.to_string())
}

fn mount(fields: Value) -> Value {
    let mut mount = json!({"destination": "/new", "type": "bind", "source": "/src", "options": ["rbind"]});
    merge(&mut mount, &fields);
    json!({"mounts": {"+": mount}})
}

fn linux(fields: Value) -> Value {
    json!({ "linux": fields })
}

fn process(fields: Value) -> Value {
    json!({ "process": fields })
}

fn resources(fields: Value) -> Value {
    json!({ "linux": { "resources": fields } })
}

#[test]
fn a_spec_of_ctr_is_read_as_meant() {
    let plan = plan(CTR).unwrap();
    assert_eq!(plan.process.args, ["/hello.wasm", "one", "two"]);
    assert_eq!(plan.process.env_value("PATH").map(|path| path.len()), Some(60));
    assert_eq!(plan.process.rlimits, [(7, 1024, 1024)]);
    assert_eq!(plan.root, Root { path: "/run/bundle/rootfs".into(), readonly: false });
    assert_eq!(plan.cgroups_path.as_deref(), Some("/default/hello"));
    assert_eq!((plan.limits.cpu.shares, plan.max_memory_pages), (Some(1024), None));
    let fresh = plan.namespaces.fresh;
    assert!(fresh.mount && fresh.pid && fresh.network && fresh.ipc && fresh.uts && fresh.cgroup);
    assert!(plan.masked_paths.is_empty() && plan.readonly_paths.is_empty());
    assert_eq!((plan.kubernetes, plan.hostname), (Kubernetes::default(), None));
    let mounted = |mount: &&Mount| !matches!(mount.source, Source::Skip(_));
    let mounted: Vec<_> = plan.mounts.iter().filter(mounted).map(|m| m.destination.as_str()).collect();
    assert_eq!(mounted, ["/dev", "/dev/shm", "/run"]);
    assert_eq!(plan.mounts[1].source, Source::DeviceNodes { private: false });
    assert_eq!(plan.mounts[6].options, ["nosuid", "strictatime", "mode=755", "size=65536k", "nodev"]);
}

#[test]
fn a_container_of_kubernetes_is_read_as_meant() {
    let plan = plan(CRI_CONTAINER).unwrap();
    assert_eq!(plan.kubernetes.container_type, Some(ContainerType::Container));
    assert_eq!(plan.kubernetes.sandbox_id.as_deref(), Some("f00d"));
    assert_eq!(plan.kubernetes.sandbox_namespace.as_deref(), Some("shop"));
    assert_eq!((plan.process.user.uid, &plan.process.user.groups[..]), (1000, &[1000, 2000][..]));
    assert_eq!(plan.process.oom_score_adj, Some(984));
    assert_eq!(plan.process.apparmor.as_deref(), Some("cri-containerd.apparmor.d"));
    let joined: Vec<_> =
        plan.namespaces.join.iter().map(|(kind, path)| (*kind, path.to_str().unwrap())).collect();
    use jail::NamespaceKind::{Ipc, Network, Uts};
    let expected = [(Ipc, "/proc/4242/ns/ipc"), (Uts, "/proc/4242/ns/uts"), (Network, "/proc/4242/ns/net")];
    assert_eq!(joined, expected);
    assert!(plan.namespaces.fresh.pid && !plan.namespaces.fresh.network && !plan.namespaces.fresh.cgroup);
    assert_eq!(plan.limits.memory.limit, Some(32 << 20));
    assert_eq!(plan.max_memory_pages, Some(504));
    assert_eq!(plan.limits.pids, Some(1024));
    assert_eq!(plan.limits.hugepages, [("2MB".to_owned(), 0), ("1GB".to_owned(), 0)]);
    assert_eq!(plan.mounts[1].source, Source::DeviceNodes { private: false }, "all targets are ready-made");
    let data = &plan.mounts[11];
    assert_eq!(data.destination, "/data");
    assert!(matches!(&data.source, Source::Bind { recursive: true, path } if path.ends_with("data")));
    assert_eq!(data.options, ["rbind", "rprivate", "rw", "rnodev"]);
}

#[test]
fn a_pause_container_is_recognised() {
    let plan = plan(CRI_SANDBOX).unwrap();
    assert_eq!(plan.kubernetes.container_type, Some(ContainerType::Sandbox));
    assert_eq!(plan.hostname.as_deref(), Some("web-0"));
    assert_eq!(plan.sysctl.len(), 2);
    assert_eq!(plan.sysctl[0].0, "net.ipv4.ip_unprivileged_port_start");
}

#[test]
fn a_mount_below_dev_without_a_ready_made_target_asks_for_a_private_dev() {
    let private = |mounts: Value| {
        let plan = patched(CTR, &json!({ "mounts": mounts })).unwrap();
        plan.mounts.iter().any(|mount| mount.source == Source::DeviceNodes { private: true })
    };
    let bind = |destination| json!({"destination": destination, "type": "bind", "source": "/x"});
    let dev = json!({"destination": "/dev", "type": "tmpfs"});
    assert!(!private(json!([dev, bind("/dev/shm")])));
    assert!(!private(json!([dev, bind("/dev/shm"), bind("/dev/shm/mine")])));
    assert!(!private(json!([dev, bind("/development/x")])));
    assert!(!private(json!([dev, {"destination": "/dev/other", "type": "mqueue"}])), "it is not mounted");
    assert!(private(json!([dev, bind("/dev/shm/mine")])));
    assert!(private(json!([dev, bind("/dev/log")])));
    assert!(private(json!([dev, bind("/dev/block/x")])));
}

#[test]
fn a_guest_meets_no_device_nodes_but_ours() {
    let mounts = json!([
        {"destination": "/a", "type": "bind", "source": "/dev", "options": ["rbind", "dev"]},
        {"destination": "/b", "type": "tmpfs", "options": ["dev"]}
    ]);
    let plan = patched(CTR, &json!({ "mounts": mounts })).unwrap();
    assert_eq!(plan.mounts[0].options, ["rbind", "rnodev"]);
    assert_eq!(plan.mounts[1].options, ["nodev"]);
    let ready = json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]);
    patched(CTR, &linux(json!({ "devices": ready }))).unwrap();
    let disguised = json!([{"path": "/dev/null", "type": "b", "major": 8, "minor": 0}]);
    patched(CTR, &linux(json!({ "devices": disguised }))).unwrap_err();
}

#[test]
fn masked_paths_count_again_when_the_spec_binds_over_proc() {
    let bind = json!([{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]);
    let plan =
        patched(CTR, &json!({"mounts": bind, "linux": {"maskedPaths": ["/proc/kcore", "/sys/firmware"]}}));
    assert_eq!(plan.unwrap().masked_paths, ["/proc/kcore"]);
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let r = resources;
    for (field, patch) in [
        ("process.args", process(json!({"args": []}))),
        ("process.args[0]", process(json!({"args": ["a\0b"]}))),
        ("process.cwd", process(json!({"cwd": "work"}))),
        ("process.env[0]", process(json!({"env": ["NOVALUE"]}))),
        ("process.env[0]", process(json!({"env": ["=x"]}))),
        ("process.user.uid", process(json!({"user": {"uid": u32::MAX}}))),
        ("process.user.umask", process(json!({"user": {"umask": 0o1000}}))),
        ("process.oomScoreAdj", process(json!({"oomScoreAdj": 1001}))),
        (
            "process.consoleSize.width",
            process(json!({"terminal": true, "consoleSize": {"height": 1, "width": 65536}})),
        ),
        (
            "process.rlimits[0].soft",
            process(json!({"rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]})),
        ),
        (
            "process.rlimits[1].type",
            process(json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1},
                {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}]})),
        ),
        ("mounts[13].destination", mount(json!({"destination": "relative"}))),
        ("mounts[13].source", mount(json!({"source": ""}))),
        ("mounts[13].type", mount(json!({"type": "none", "options": []}))),
        ("hostname", json!({"hostname": "h".repeat(65)})),
        ("linux.namespaces[5].type", linux(json!({"namespaces": {"+": {"type": "pid"}}}))),
        ("linux.namespaces[5].path", linux(json!({"namespaces": {"+": {"type": "cgroup", "path": "x"}}}))),
        ("linux.maskedPaths[0]", linux(json!({"maskedPaths": ["/"]}))),
        ("linux.sysctl.net..x", linux(json!({"sysctl": {"net..x": "1"}}))),
        (
            "linux.sysctl.net/../kernel/core_pattern",
            linux(json!({"sysctl": {"net/../kernel/core_pattern": "x"}})),
        ),
        ("linux.sysctl.kernel.hostname", linux(json!({"sysctl": {"kernel.hostname": "x"}}))),
        ("linux.resources.memory.limit", r(json!({"memory": {"limit": 0}}))),
        ("linux.resources.memory.limit", r(json!({"memory": {"limit": -2}}))),
        ("linux.resources.memory.swappiness", r(json!({"memory": {"swappiness": 101}}))),
        ("linux.resources.cpu.quota", r(json!({"cpu": {"quota": 999}}))),
        ("linux.resources.cpu.period", r(json!({"cpu": {"period": 1_000_001}}))),
        ("linux.resources.cpu.idle", r(json!({"cpu": {"idle": 2}}))),
        ("linux.resources.cpu.cpus", r(json!({"cpu": {"cpus": "3-1"}}))),
        ("linux.resources.pids.limit", r(json!({"pids": {"limit": -2}}))),
        (
            "linux.resources.hugepageLimits[0].pageSize",
            r(json!({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]})),
        ),
        (
            "linux.resources.hugepageLimits[0].limit",
            r(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": -1}]})),
        ),
        ("linux.resources.blockIO.weight", r(json!({"blockIO": {"weight": 9}}))),
        ("linux.resources.unified.../memory.max", r(json!({"unified": {"../memory.max": "1"}}))),
        ("linux.resources.unified.cgroup", r(json!({"unified": {"cgroup": "1"}}))),
    ] {
        let error = patched(CRI_CONTAINER, &patch).expect_err(field);
        assert_eq!(error.field(), Some(field), "{error}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_shown_where_it_stands() {
    let error =
        patched(CRI_CONTAINER, &resources(json!({"pids": {"limit": "many"}}))).unwrap_err().to_string();
    assert!(error.contains("many") && error.contains("\"limit\":"), "{error}");
    for broken in ["", "{", "[]", "null", "\u{0}", "{\"ociVersion\": 1}"] {
        plan(broken).unwrap_err();
    }
}

#[test]
fn an_annotation_sets_what_the_configuration_lets_it() {
    let set = json!({"annotations": {"wamr.containerd.io/wasm_stack_size": "1MiB"}});
    assert_eq!(patched(CTR, &set).unwrap().wasm_stack_size, 1 << 20);
    let mut spec: Value = serde_json::from_str(CTR).unwrap();
    merge(&mut spec, &set);
    let closed = Config { pod_settings: vec![], ..Config::default() };
    let error = Plan::from_bundle(spec.to_string().as_bytes(), Path::new("/b"), &closed).unwrap_err();
    assert_eq!(error.field(), Some("annotations.wamr.containerd.io/wasm_stack_size"));
    let unknown = patched(CTR, &json!({"annotations": {"wamr.containerd.io/x": "1"}})).unwrap_err();
    assert!(
        unknown.to_string().contains("wamr.containerd.io/wasm_stack_size"),
        "known keys are listed: {unknown}"
    );
}

#[test]
fn a_warm_start_is_asked_for_and_leaves_out_variables_that_differ() {
    let with = |set: &[(&str, &str)]| {
        let set: serde_json::Map<_, _> =
            set.iter().map(|(key, value)| (format!("wamr.containerd.io/{key}"), json!(value))).collect();
        patched(CTR, &json!({ "annotations": set }))
    };
    assert_eq!(with(&[]).unwrap().warm_start, None);
    assert_eq!(with(&[("warm_start_without", "A")]).unwrap().warm_start, None);
    assert_eq!(with(&[("warm_start", "false")]).unwrap().warm_start, None);
    let left_out = |set: &[(&str, &str)]| with(set).unwrap().warm_start.unwrap();
    assert_eq!(left_out(&[("warm_start", "true")]), ["HOSTNAME"]);
    let names = [("warm_start", "true"), ("warm_start_without", " POD_NAME,POD_IP ,")];
    assert_eq!(left_out(&names), ["HOSTNAME", "POD_NAME", "POD_IP"]);
    for (key, value) in [("warm_start", "yes"), ("warm_start_without", "A=1"), ("warm_start_without", "A B")]
    {
        let error = with(&[(key, value)]).unwrap_err();
        assert_eq!(error.field(), Some(format!("annotations.wamr.containerd.io/{key}").as_str()), "{error}");
    }
}

#[test]
fn a_setting_with_a_containers_name_is_for_that_one_alone() {
    let annotations = |kind: &str, name: &str| {
        json!({"annotations": {
            "wamr.containerd.io/listen": "tcp://0.0.0.0:80",
            "wamr.containerd.io/listen.web": "tcp://0.0.0.0:8080",
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.container-name": name,
        }})
    };
    let ports = |kind, name| {
        let plan = patched(CRI_CONTAINER, &annotations(kind, name)).unwrap();
        plan.listen.iter().map(|listen| listen.address.port()).collect::<Vec<_>>()
    };
    assert_eq!(ports("container", "web"), [8080]);
    assert_eq!(ports("container", "db"), [80]);
    assert_eq!(ports("sandbox", ""), [0; 0], "the pause container serves nothing");
    let alone = json!({"annotations": {"wamr.containerd.io/listen.web": "tcp://0.0.0.0:80"}});
    let error = patched(CTR, &alone).unwrap_err();
    assert_eq!(error.field(), Some("annotations.wamr.containerd.io/listen.web"));
}

#[test]
fn a_pod_s_policy_is_added_to_the_node_s() {
    let narrowed = patched(CTR, &json!({"annotations": {"wamr.containerd.io/sockets": "none"}})).unwrap();
    assert_eq!(narrowed.sockets, [network::Policy::All, network::Policy::parse("none").unwrap()]);
    assert_eq!(plan(CTR).unwrap().sockets, [network::Policy::All]);
    let error = patched(CTR, &json!({"annotations": {"wamr.containerd.io/sockets": "some"}})).unwrap_err();
    assert_eq!(error.field(), Some("annotations.wamr.containerd.io/sockets"));
}

#[test]
fn an_address_that_makes_no_sense_is_named() {
    let error =
        patched(CTR, &json!({"annotations": {"wamr.containerd.io/listen": "0.0.0.0:80"}})).unwrap_err();
    assert_eq!(error.field(), Some("annotations.wamr.containerd.io/listen"));
    assert!(error.to_string().contains("tcp://"), "{error}");
}

#[test]
fn the_memory_limit_becomes_whole_pages_and_the_least_that_works_is_told() {
    let least = MEMORY_OVERHEAD + 65_536;
    assert_eq!(memory_pages(None).unwrap(), None);
    assert_eq!(memory_pages(Some(-1)).unwrap(), None);
    assert_eq!(memory_pages(Some(least)).unwrap(), Some(1));
    assert_eq!(memory_pages(Some(least + 65_535)).unwrap(), Some(1));
    assert_eq!(memory_pages(Some(i64::MAX)).unwrap(), Some(65_536));
    let error = memory_pages(Some(least - 1)).unwrap_err().to_string();
    assert!(error.contains(&least.to_string()), "{error}");
    for limit in [0, -2, i64::MIN] {
        memory_pages(Some(limit)).unwrap_err();
    }
}

#[test]
fn an_update_is_read_like_the_resources_of_a_spec() {
    let limits =
        limits_from_json(br#"{"memory": {"limit": 67108864}, "cpu": {"shares": 512, "quota": 0}}"#).unwrap();
    assert_eq!((limits.memory.limit, limits.cpu.shares, limits.cpu.quota), (Some(64 << 20), Some(512), None));
    let error = limits_from_json(br#"{"pids": {"limit": -7}}"#).unwrap_err();
    assert_eq!(error.field(), Some("linux.resources.pids.limit"));
}
