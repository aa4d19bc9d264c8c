//! `docs/oci-spec.md` and the code must agree.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{CRI_CONTAINER, linux, mount, patched, plan, process, resources};

const DOCUMENT: &str = include_str!("../../../../../docs/oci-spec.md");

/// What a row of the document promises: a patch, and for a refusal the field that the error must name.
enum Case {
    Honoured(Value),
    Satisfied(Value),
    Rejected(&'static str, Value),
}
use Case::{Honoured as H, Rejected as R, Satisfied as S};

fn skipped(kind: &str, destination: &str) -> Case {
    S(mount(json!({"destination": destination, "type": kind, "options": []})))
}

fn hook(list: &str) -> Value {
    json!({"hooks": {list: [{"path": "/usr/bin/nvidia-container-runtime-hook"}]}})
}

fn everywhere() -> Vec<(&'static str, Case)> {
    let mapping = json!([{"hostID": 1, "containerID": 0, "size": 1}]);
    let no_uts = json!([{"type": "mount"}]);
    vec![
        ("ociVersion", R("ociVersion", json!({"ociVersion": "2.0.0"}))),
        ("root", R("root", json!({"root": null}))),
        ("root.path", H(json!({"root": {"path": "/elsewhere"}}))),
        ("root.readonly", H(json!({"root": {"readonly": false}}))),
        ("hostname", H(json!({"hostname": "other"}))),
        (
            "hostname without uts",
            R("hostname", json!({"hostname": "other", "linux": {"namespaces": no_uts}})),
        ),
        ("domainname", H(json!({"domainname": "other"}))),
        (
            "domainname without uts",
            R("domainname", json!({"domainname": "other", "linux": {"namespaces": no_uts}})),
        ),
        ("annotations", H(json!({"annotations": {"wamr.containerd.io/wasm_stack_size": "1MiB"}}))),
        (
            "annotations[wamr.containerd.io/listen]",
            H(json!({"annotations": {"wamr.containerd.io/listen": "tcp://0.0.0.0:80"}})),
        ),
        (
            "annotations[wamr.containerd.io/sockets]",
            H(json!({"annotations": {"wamr.containerd.io/sockets": "10.0.0.0/8"}})),
        ),
        (
            "annotations[unknown wamr.containerd.io key]",
            R(
                "annotations.wamr.containerd.io/stack",
                json!({"annotations": {"wamr.containerd.io/stack": "1MiB"}}),
            ),
        ),
        ("mounts[].destination", H(mount(json!({"destination": "/other"})))),
        ("mounts[destination=/]", R("mounts[13].destination", mount(json!({"destination": "/x/../."})))),
        ("mounts[].source", H(mount(json!({"source": "/other"})))),
        ("mounts[].type", H(mount(json!({"type": "tmpfs", "options": []})))),
        ("mounts[].options", H(mount(json!({"options": ["bind", "ro"]})))),
        ("mounts[options=idmap]", R("mounts[13].options", mount(json!({"options": ["bind", "idmap=x"]})))),
        ("mounts[options=tmpcopyup]", R("mounts[13].options", mount(json!({"options": ["tmpcopyup"]})))),
        ("mounts[].uidMappings", R("mounts[13].uidMappings", mount(json!({"uidMappings": mapping})))),
        ("mounts[].gidMappings", R("mounts[13].gidMappings", mount(json!({"gidMappings": mapping})))),
        ("mounts[type=proc]", skipped("proc", "/proc")),
        ("mounts[type=sysfs]", skipped("sysfs", "/sys")),
        ("mounts[type=cgroup]", skipped("cgroup", "/sys/fs/cgroup")),
        ("mounts[type=mqueue]", skipped("mqueue", "/dev/mqueue")),
        ("mounts[type=devpts]", skipped("devpts", "/dev/pts")),
        ("mounts[type=devtmpfs]", R("mounts[13].type", mount(json!({"type": "devtmpfs", "options": []})))),
        (
            "mounts[type=tmpfs at /dev]",
            H(mount(json!({"destination": "/dev", "type": "tmpfs", "options": []}))),
        ),
        ("hooks.prestart", R("hooks.prestart[0]", hook("prestart"))),
        ("hooks.createRuntime", R("hooks.createRuntime[0]", hook("createRuntime"))),
        ("hooks.createContainer", R("hooks.createContainer[0]", hook("createContainer"))),
        ("hooks.startContainer", R("hooks.startContainer[0]", hook("startContainer"))),
        ("hooks.poststart", R("hooks.poststart[0]", hook("poststart"))),
        ("hooks.poststop", R("hooks.poststop[0]", hook("poststop"))),
        ("solaris", R("solaris", json!({"solaris": {"milestone": "x"}}))),
        ("windows", R("windows", json!({"windows": {"layerFolders": ["x"]}}))),
        ("vm", R("vm", json!({"vm": {"kernel": {"path": "/x"}}}))),
        ("zos", R("zos", json!({"zos": {}}))),
        ("freebsd", S(json!({"freebsd": {"jail": {"parent": "x"}}}))),
    ]
}

fn of_process() -> Vec<(&'static str, Case)> {
    let limit = |kind, soft| json!({"rlimits": [{"type": kind, "soft": soft, "hard": 9_u64 << 30}]});
    vec![
        ("process", R("process", json!({"process": null}))),
        ("process.args", H(process(json!({"args": ["/other.wasm"]})))),
        ("process.env", H(process(json!({"env": {"+": "A=b"}})))),
        ("process.cwd", H(process(json!({"cwd": "/work"})))),
        ("process.terminal", H(process(json!({"terminal": true})))),
        (
            "process.consoleSize",
            H(process(json!({"terminal": true, "consoleSize": {"height": 25, "width": 80}}))),
        ),
        ("process.user.uid", H(process(json!({"user": {"uid": 7}})))),
        ("process.user.gid", H(process(json!({"user": {"gid": 7}})))),
        ("process.user.umask", H(process(json!({"user": {"umask": 0o77}})))),
        ("process.user.additionalGids", H(process(json!({"user": {"additionalGids": [7]}})))),
        ("process.user.username", R("process.user.username", process(json!({"user": {"username": "joe"}})))),
        ("process.rlimits", H(process(limit("RLIMIT_NOFILE", 10)))),
        (
            "process.rlimits[RLIMIT_AS below 16 GiB]",
            R("process.rlimits[0].soft", process(limit("RLIMIT_AS", 10))),
        ),
        ("process.oomScoreAdj", H(process(json!({"oomScoreAdj": -5})))),
        ("process.apparmorProfile", H(process(json!({"apparmorProfile": "other"})))),
        ("process.selinuxLabel", H(process(json!({"selinuxLabel": "a:b:c:s0"})))),
        ("process.noNewPrivileges", S(process(json!({"noNewPrivileges": false})))),
        ("process.capabilities", S(process(json!({"capabilities": {"effective": ["CAP_SYS_ADMIN"]}})))),
        ("process.commandLine", R("process.commandLine", process(json!({"commandLine": "app.exe"})))),
        (
            "process.scheduler",
            R("process.scheduler", process(json!({"scheduler": {"policy": "SCHED_BATCH"}}))),
        ),
        (
            "process.ioPriority",
            R(
                "process.ioPriority",
                process(json!({"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}})),
            ),
        ),
        (
            "process.execCPUAffinity",
            R("process.execCPUAffinity", process(json!({"execCPUAffinity": {"initial": "0"}}))),
        ),
    ]
}

fn of_linux() -> Vec<(&'static str, Case)> {
    let add = |namespace: Value| linux(json!({"namespaces": {"+": namespace}}));
    let mapping = json!([{"hostID": 1, "containerID": 0, "size": 1}]);
    let fuse = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    vec![
        ("linux", R("linux", json!({"linux": null}))),
        ("linux.namespaces[].type", H(add(json!({"type": "cgroup"})))),
        ("linux.namespaces[].path", H(add(json!({"type": "cgroup", "path": "/proc/7/ns/cgroup"})))),
        (
            "linux.namespaces[type=mount with path]",
            R("linux.namespaces[0].path", linux(json!({"namespaces": [{"type": "mount", "path": "/x"}]}))),
        ),
        ("linux.namespaces[no mount]", R("linux.namespaces", linux(json!({"namespaces": []})))),
        ("linux.namespaces[type=user]", R("linux.namespaces[5].type", add(json!({"type": "user"})))),
        ("linux.namespaces[type=time]", R("linux.namespaces[5].type", add(json!({"type": "time"})))),
        ("linux.uidMappings", R("linux.uidMappings", linux(json!({"uidMappings": mapping})))),
        ("linux.gidMappings", R("linux.gidMappings", linux(json!({"gidMappings": mapping})))),
        (
            "linux.timeOffsets",
            R("linux.timeOffsets", linux(json!({"timeOffsets": {"boottime": {"secs": 1}}}))),
        ),
        ("linux.devices", R("linux.devices[0]", linux(json!({"devices": fuse})))),
        ("linux.netDevices", R("linux.netDevices", linux(json!({"netDevices": {"eth1": {"name": "a"}}})))),
        ("linux.cgroupsPath", H(linux(json!({"cgroupsPath": "/other"})))),
        ("linux.sysctl", H(linux(json!({"sysctl": {"net.ipv4.ip_forward": "1"}})))),
        (
            "linux.sysctl[of the host]",
            R("linux.sysctl.vm.swappiness", linux(json!({"sysctl": {"vm.swappiness": "1"}}))),
        ),
        ("linux.seccomp", S(linux(json!({"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}})))),
        (
            "linux.seccomp.listenerPath",
            R("linux.seccomp.listenerPath", linux(json!({"seccomp": {"listenerPath": "/run/agent"}}))),
        ),
        ("linux.rootfsPropagation", S(linux(json!({"rootfsPropagation": "rslave"})))),
        (
            "linux.rootfsPropagation[unknown]",
            R("linux.rootfsPropagation", linux(json!({"rootfsPropagation": "rmaster"}))),
        ),
        ("linux.maskedPaths", H(linux(json!({"maskedPaths": ["/etc/secret"]})))),
        ("linux.maskedPaths[below /proc or /sys]", S(linux(json!({"maskedPaths": ["/proc/x", "/sys/y"]})))),
        ("linux.readonlyPaths", H(linux(json!({"readonlyPaths": ["/etc"]})))),
        (
            "linux.readonlyPaths[below /proc or /sys]",
            S(linux(json!({"readonlyPaths": ["/proc/x", "/sys/y"]}))),
        ),
        (
            "linux.mountLabel",
            H(json!({"linux": {"mountLabel": "a:b:c:s0"},
                "mounts": {"+": {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}}})),
        ),
        ("linux.personality", S(linux(json!({"personality": {"domain": "LINUX"}})))),
        (
            "linux.personality[LINUX32]",
            R("linux.personality.domain", linux(json!({"personality": {"domain": "LINUX32"}}))),
        ),
        (
            "linux.personality.flags",
            R("linux.personality.flags", linux(json!({"personality": {"domain": "LINUX", "flags": ["X"]}}))),
        ),
        ("linux.intelRdt", R("linux.intelRdt", linux(json!({"intelRdt": {"closID": "x"}})))),
        (
            "linux.memoryPolicy",
            R("linux.memoryPolicy", linux(json!({"memoryPolicy": {"mode": "MPOL_BIND"}}))),
        ),
    ]
}

fn of_resources() -> Vec<(&'static str, Case)> {
    let device = json!([{"major": 8, "minor": 0, "rate": 1}]);
    let weights = json!([{"major": 8, "minor": 0, "weight": 10}]);
    let leaf = json!([{"major": 8, "minor": 0, "leafWeight": 10}]);
    let memory = |fields: Value| resources(json!({ "memory": fields }));
    let cpu = |fields: Value| resources(json!({ "cpu": fields }));
    let io = |fields: Value| resources(json!({ "blockIO": fields }));
    macro_rules! row {
        ($kind:ident, $name:literal, $patch:expr) => {
            (concat!("linux.resources.", $name), row!(@$kind, concat!("linux.resources.", $name), $patch))
        };
        ($kind:ident, $name:literal, $variant:literal, $patch:expr) => {
            (concat!("linux.resources.", $name, $variant), row!(@$kind, concat!("linux.resources.", $name), $patch))
        };
        (@R, $name:expr, $patch:expr) => { R($name, $patch) };
        (@$kind:ident, $name:expr, $patch:expr) => { $kind($patch) };
    }
    vec![
        row!(S, "devices", resources(json!({"devices": [{"allow": true, "access": "rwm"}]}))),
        row!(H, "memory.limit", memory(json!({"limit": 1 << 23}))),
        row!(R, "memory.limit", "[too small]", memory(json!({"limit": 4096, "swap": null}))),
        row!(H, "memory.reservation", memory(json!({"reservation": 1 << 20}))),
        row!(H, "memory.swap", memory(json!({"swap": 1 << 26}))),
        row!(R, "memory.swap", "[below limit]", memory(json!({"swap": 1 << 20}))),
        row!(R, "memory.kernel", memory(json!({"kernel": 1}))),
        row!(R, "memory.kernelTCP", memory(json!({"kernelTCP": 1}))),
        row!(H, "memory.swappiness", memory(json!({"swappiness": 0}))),
        row!(H, "memory.disableOOMKiller", memory(json!({"disableOOMKiller": true}))),
        row!(S, "memory.useHierarchy", memory(json!({"useHierarchy": true}))),
        row!(R, "memory.useHierarchy", "[false]", memory(json!({"useHierarchy": false}))),
        row!(H, "memory.checkBeforeUpdate", memory(json!({"checkBeforeUpdate": true}))),
        row!(H, "cpu.shares", cpu(json!({"shares": 7}))),
        row!(H, "cpu.quota", cpu(json!({"quota": 70_000}))),
        row!(H, "cpu.period", cpu(json!({"period": 70_000}))),
        row!(H, "cpu.burst", cpu(json!({"burst": 7}))),
        row!(H, "cpu.realtimeRuntime", cpu(json!({"realtimeRuntime": 7}))),
        row!(H, "cpu.realtimePeriod", cpu(json!({"realtimePeriod": 7}))),
        row!(H, "cpu.cpus", cpu(json!({"cpus": "0-1,3"}))),
        row!(H, "cpu.mems", cpu(json!({"mems": "0"}))),
        row!(H, "cpu.idle", cpu(json!({"idle": 1}))),
        row!(H, "pids.limit", resources(json!({"pids": {"limit": 7}}))),
        row!(H, "blockIO.weight", io(json!({"weight": 70}))),
        row!(H, "blockIO.leafWeight", io(json!({"leafWeight": 70}))),
        row!(H, "blockIO.weightDevice", io(json!({"weightDevice": weights}))),
        (
            "linux.resources.blockIO.weightDevice[].leafWeight",
            R("linux.resources.blockIO.weightDevice[0].leafWeight", io(json!({"weightDevice": leaf}))),
        ),
        row!(H, "blockIO.throttleReadBpsDevice", io(json!({"throttleReadBpsDevice": device}))),
        row!(H, "blockIO.throttleWriteBpsDevice", io(json!({"throttleWriteBpsDevice": device}))),
        row!(H, "blockIO.throttleReadIOPSDevice", io(json!({"throttleReadIOPSDevice": device}))),
        row!(H, "blockIO.throttleWriteIOPSDevice", io(json!({"throttleWriteIOPSDevice": device}))),
        row!(H, "hugepageLimits", resources(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 7}]}))),
        row!(R, "network.classID", resources(json!({"network": {"classID": 7}}))),
        row!(
            R,
            "network.priorities",
            resources(json!({"network": {"priorities": [{"name": "e", "priority": 1}]}}))
        ),
        row!(R, "rdma", resources(json!({"rdma": {"mlx5_1": {"hcaHandles": 1}}}))),
        row!(H, "unified", resources(json!({"unified": {"memory.high": "1"}}))),
    ]
}

#[test]
fn the_document_has_a_row_for_every_case_and_the_code_does_what_the_row_says() {
    let rows: BTreeMap<&str, &str> = DOCUMENT
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.splitn(3, " | ");
            Some((cells.next()?.strip_suffix('`')?, cells.next()?))
        })
        .collect();
    let cases: Vec<_> =
        [everywhere(), of_process(), of_linux(), of_resources()].into_iter().flatten().collect();
    let base = plan(CRI_CONTAINER).unwrap();
    for (name, case) in &cases {
        let documented = rows.get(name).unwrap_or_else(|| panic!("{name} is not in docs/oci-spec.md"));
        match case {
            H(patch) => {
                assert_eq!(*documented, "honoured", "{name}");
                assert_ne!(patched(CRI_CONTAINER, patch).unwrap(), base, "{name} has no effect");
            }
            S(patch) => {
                assert_eq!(*documented, "satisfied", "{name}");
                let mut plan = patched(CRI_CONTAINER, patch).unwrap();
                // A mount that is left out stays visible as such.
                let new = plan.mounts.len() - base.mounts.len();
                plan.mounts.truncate(base.mounts.len());
                assert!(new == 0 || patch.get("mounts").is_some(), "{name}");
                assert_eq!(plan, base, "{name} has an effect");
            }
            R(field, patch) => {
                assert_eq!(*documented, "rejected", "{name}");
                let error = patched(CRI_CONTAINER, patch).expect_err(name);
                assert_eq!(error.field(), Some(*field), "{name}: {error}");
                assert!(error.to_string().contains(field), "{error}");
            }
        }
    }
    let tested: Vec<_> = cases.iter().map(|(name, _)| *name).collect();
    let untested: Vec<_> = rows.keys().filter(|row| !tested.contains(row)).collect();
    assert!(untested.is_empty(), "rows without a case: {untested:?}");
}
