//! What a kubelet asks CRI for when a pod says nothing special.

use std::path::Path;

use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxContainerConfig, LinuxContainerResources,
    LinuxContainerSecurityContext, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
};

/// What is covered and protected in a container that is not privileged.
const MASKED: [&str; 6] =
    ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A pod of that name, in a cgroup, with its logs in a folder. On the host's network, or with one of its own.
pub fn pod(name: &str, cgroup_parent: String, logs: &Path, host_network: bool) -> PodSandboxConfig {
    let network = if host_network { NamespaceMode::Node } else { NamespaceMode::Pod };
    // The containers of a pod share all but their processes.
    let namespaces = NamespaceOption {
        network: network.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
        ..NamespaceOption::default()
    };
    let security = LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces),
        ..LinuxSandboxSecurityContext::default()
    };
    let linux = LinuxPodSandboxConfig {
        cgroup_parent,
        security_context: Some(security),
        ..LinuxPodSandboxConfig::default()
    };
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            namespace: "test".to_owned(),
            attempt: 0,
        }),
        // On the host's network it is left to the node's name.
        hostname: if host_network { String::new() } else { name.to_owned() },
        log_directory: logs.display().to_string(),
        linux: Some(linux),
        ..PodSandboxConfig::default()
    }
}

/// A container of `pod` that logs to `NAME.log`, without limits.
pub fn container(pod: &PodSandboxConfig, name: &str, image: &str, command: &[&str]) -> ContainerConfig {
    let strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let sandbox = pod.linux.as_ref().and_then(|linux| linux.security_context.clone());
    let security = LinuxContainerSecurityContext {
        namespace_options: sandbox.and_then(|security| security.namespace_options),
        masked_paths: strings(&MASKED),
        readonly_paths: strings(&READ_ONLY),
        ..LinuxContainerSecurityContext::default()
    };
    let resources =
        LinuxContainerResources { cpu_shares: 2, oom_score_adj: 1000, ..LinuxContainerResources::default() };
    let linux = LinuxContainerConfig { security_context: Some(security), resources: Some(resources) };
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
        command: strings(command),
        log_path: format!("{name}.log"),
        linux: Some(linux),
        ..ContainerConfig::default()
    }
}
