//! What the server tells of itself when `wamrctl` asks.

use super::Server;
use crate::report::Report;

impl Server {
    /// Everything there is now, the containers by id.
    pub fn report(&self) -> Report {
        let mut containers: Vec<_> = self.registry.all().iter().map(|container| container.report()).collect();
        containers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            zygote: self.zygote.present().pid(),
            containerd: self.containerd.clone(),
            namespace: self.namespace.clone(),
            containers,
        }
    }
}
