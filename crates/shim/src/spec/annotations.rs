//! `annotations`: what Kubernetes says about a container, and our own settings for one.

use std::collections::BTreeMap;

use super::error::Result;
use super::{SpecError, listen};
use crate::config::{AotMode, Config, PodSetting, parse_size};

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
    /// `io.kubernetes.cri.container-name`: its name in the pod.
    pub container_name: Option<String>,
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
            container_name: get("container-name"),
        }
    }
}

/// What the annotations of one container set, or else the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PodSettings {
    pub wasm_stack_size: u32,
    pub listen: Vec<jail::Listen>,
    /// Policies of the node and of the pod, both of which have to allow.
    pub sockets: Vec<network::Policy>,
    pub aot: AotMode,
    pub warm_start: bool,
    /// Environment variables that a guest does not get before it is ready.
    pub warm_start_without: Vec<String>,
}

impl PodSettings {
    /// Reads our own annotations. Kubernetes gives a pod's annotations to all of its containers, so `key.NAME` is for the
    /// container of that name alone, and stands above `key`.
    pub(super) fn new(
        annotations: &BTreeMap<String, String>,
        kubernetes: &Kubernetes,
        config: &Config,
    ) -> Result<PodSettings> {
        let mut settings = PodSettings {
            wasm_stack_size: config.wasm_stack_size,
            sockets: vec![config.sockets.clone()],
            aot: config.aot,
            warm_start: config.warm_start,
            warm_start_without: config.warm_start_without.clone(),
            ..PodSettings::default()
        };
        // In order: `listen` comes before `listen.web`.
        let ours = annotations.range(PREFIX.to_owned()..).map_while(|(key, value)| {
            key.strip_prefix(PREFIX).map(|rest| (format!("annotations.{key}"), rest, value))
        });
        for (field, key, value) in ours {
            let (key, container) = key.split_once('.').map_or((key, None), |(key, name)| (key, Some(name)));
            let setting = PodSetting::ALL.iter().find(|setting| setting.name() == key);
            let Some(setting) = setting else { return Err(unknown(field, value)) };
            if !config.pod_settings.contains(setting) {
                let advice = "this node does not let pods set it; see pod_settings in its configuration";
                return Err(SpecError::unsupported(field, value, advice));
            }
            match container {
                Some(_) if kubernetes.container_type.is_none() => {
                    let why = "it is for a container of a pod, which this one is not; leave the name out";
                    return Err(SpecError::invalid(field, value, why));
                }
                Some(name) if kubernetes.container_name.as_deref() != Some(name) => continue,
                _ => settings.set(*setting, value).map_err(|why| SpecError::invalid(field, value, why))?,
            }
        }
        // The pause container runs no guest that could serve.
        if kubernetes.container_type == Some(ContainerType::Sandbox) {
            settings.listen.clear();
        }
        Ok(settings)
    }

    fn set(&mut self, setting: PodSetting, value: &str) -> std::result::Result<(), String> {
        match setting {
            PodSetting::WasmStackSize => {
                self.wasm_stack_size = parse_size(value).and_then(crate::config::wasm_stack_size)?;
            }
            PodSetting::Listen => self.listen = listen::parse(value)?,
            PodSetting::Sockets => {
                self.sockets.truncate(1);
                self.sockets.push(network::Policy::parse(value)?);
            }
            PodSetting::Aot => self.aot = value.parse()?,
            PodSetting::WarmStart => {
                self.warm_start = value.parse().map_err(|_| "it must be true or false".to_owned())?;
            }
            PodSetting::WarmStartWithout => {
                let names = value.split(',').map(|name| name.trim().to_owned());
                // Beside those of the node.
                self.warm_start_without.extend(names.filter(|name| !name.is_empty()));
                if self.warm_start_without.iter().any(|name| name.contains(['=', ' '])) {
                    return Err("it must be names of environment variables, separated by commas".to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Refuses, of a native container's annotations, those of ours that are misspelt or for this very container. The others
/// are a pod's, for the wasm containers beside it.
pub(super) fn refuse_native(annotations: &BTreeMap<String, String>) -> Result<()> {
    let name = Kubernetes::new(annotations).container_name;
    for (key, value) in annotations {
        let Some(rest) = key.strip_prefix(PREFIX) else { continue };
        let field = format!("annotations.{key}");
        let (setting, container) = rest.split_once('.').map_or((rest, None), |(key, name)| (key, Some(name)));
        if !PodSetting::ALL.iter().any(|known| known.name() == setting) {
            return Err(unknown(field, value));
        }
        if container.is_some() && container == name.as_deref() {
            let advice = "it is for wasm containers, and this one runs a Linux program; leave it out";
            return Err(SpecError::unsupported(field, value, advice));
        }
    }
    Ok(())
}

fn unknown(field: String, value: &str) -> SpecError {
    let known: Vec<_> = PodSetting::ALL.iter().map(|setting| format!("{PREFIX}{}", setting.name())).collect();
    SpecError::invalid(field, value, format!("there is no such key; known: {}", known.join(", ")))
}
