//! `annotations`: what Kubernetes says about a container, and our own settings for one.

use std::collections::BTreeMap;

use super::SpecError;
use super::error::Result;
use crate::config::{Config, PodSetting, parse_size};

/// What comes before our own keys.
pub const PREFIX: &str = "wamr.containerd.io/";

/// What containerd's CRI plugin says about a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// `io.kubernetes.cri.container-type`.
    pub container_type: Option<ContainerType>,
    /// `io.kubernetes.cri.sandbox-id`: the pod's pause container; of that container itself, its own id.
    pub sandbox_id: Option<String>,
    /// `io.kubernetes.cri.sandbox-namespace`: the pod's Kubernetes namespace.
    pub sandbox_namespace: Option<String>,
}

/// The two kinds of container in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerType {
    /// The pause container, which only holds the pod's namespaces.
    Sandbox,
    /// One of the pod's own.
    Container,
}

impl Kubernetes {
    pub(super) fn new(annotations: &BTreeMap<String, String>) -> Kubernetes {
        let get = |key: &str| annotations.get(&format!("io.kubernetes.cri.{key}")).cloned();
        let container_type = match get("container-type").as_deref() {
            Some("sandbox") => Some(ContainerType::Sandbox),
            Some("container") => Some(ContainerType::Container),
            _ => None,
        };
        Kubernetes {
            container_type,
            sandbox_id: get("sandbox-id"),
            sandbox_namespace: get("sandbox-namespace"),
        }
    }
}

/// The operand stack for a container's module: from its annotations if it has any and the configuration
/// lets it, else from the configuration.
pub(super) fn wasm_stack_size(annotations: &BTreeMap<String, String>, config: &Config) -> Result<u32> {
    let mut size = config.wasm_stack_size;
    let ours = annotations.range(PREFIX.to_owned()..).take_while(|(key, _)| key.starts_with(PREFIX));
    for (key, value) in ours {
        let field = format!("annotations.{key}");
        let setting = PodSetting::ALL.iter().find(|setting| key.strip_prefix(PREFIX) == Some(setting.name()));
        let Some(setting) = setting else {
            let known: Vec<_> =
                PodSetting::ALL.iter().map(|setting| format!("{PREFIX}{}", setting.name())).collect();
            return Err(SpecError::invalid(
                field,
                value,
                format!("there is no such key; known: {}", known.join(", ")),
            ));
        };
        if !config.pod_settings.contains(setting) {
            let advice = "this node does not let pods set it; see pod_settings in its configuration";
            return Err(SpecError::unsupported(field, value, advice));
        }
        match setting {
            PodSetting::WasmStackSize => {
                let checked = parse_size(value).and_then(crate::config::wasm_stack_size);
                size = checked.map_err(|why| SpecError::invalid(field, value, why))?;
            }
        }
    }
    Ok(size)
}
