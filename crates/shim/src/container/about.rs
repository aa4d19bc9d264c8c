//! What is kept of a container only to be shown.

use std::path::PathBuf;

use ::aot::Tier;
use image::{Digest, Module};

use super::templates::InUse;
use super::{Container, Kind, Phase};
use crate::report;

/// Noted when the container is made.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The pod it belongs to, if it does.
    pub sandbox: Option<String>,
    /// What a wasm container runs.
    pub module: Option<Loaded>,
}

/// A module, and in which form its container has it.
#[derive(Debug, Clone)]
pub struct Loaded {
    digest: Digest,
    path: PathBuf,
    tier: Option<Tier>,
    template: bool,
    warm: bool,
}

impl Loaded {
    /// That of a container with a template, or of one that loaded the module itself.
    pub fn new(module: &Module, template: Option<&InUse>) -> Loaded {
        Loaded {
            digest: module.digest,
            path: module.path.clone(),
            tier: template.and_then(InUse::tier),
            template: template.is_some(),
            warm: template.is_some_and(InUse::is_warm),
        }
    }
}

impl Container {
    /// How `wamrctl` is told of it. Reads nothing but memory.
    pub fn report(&self) -> report::Container {
        let phase = self.init.phase();
        report::Container {
            id: self.id.clone(),
            sandbox: self.about.sandbox.clone(),
            kind: kind(self.kind).to_owned(),
            state: state(phase).to_owned(),
            exit: phase.exit().map(|exit| exit.status),
            pid: self.init.pid,
            execs: self.execs().len(),
            bundle: self.bundle.clone(),
            cgroup: self.cgroup.directories().map(ToOwned::to_owned).collect(),
            module: self.about.module.as_ref().map(|module| report::Module {
                digest: format!("sha256:{}", module.digest),
                path: module.path.clone(),
                tier: module.tier.map_or("interpreter", Tier::name).to_owned(),
                template: module.template,
                warm: module.warm,
            }),
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Sandbox => "sandbox",
        Kind::Wasm => "wasm",
        Kind::Native => "native",
    }
}

fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Created => "created",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Stopped(_) => "stopped",
    }
}
