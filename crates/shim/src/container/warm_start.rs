//! Warm starts: a guest is run once as its container would run it, up to where it says that it is ready, and this and later
//! containers of the same guest go on from there. What that means for a guest stands in `docs/warm-start.md`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use image::Digest;
use jail::{Confinement, Namespaces};
use zygote::{ForkRequest, Guest, Wasm};

use super::build_warm::build;
use super::create::{Creation, cgroup_path};
use super::file_system::FileSystem;
use super::launch::{cgroup_error, set_form};
use super::templates::{InUse, Key};
use super::wasm::WasmContents;
use crate::error::Result;
use crate::server::Server;
use crate::spec::Plan;

/// Of one container.
pub struct WarmStart<'a> {
    pub plan: &'a Plan,
    pub creation: &'a Creation,
    pub file_system: &'a FileSystem,
    /// Where the guest is run: beside its container's, so that who asks for it pays.
    pub cgroup: cgroup::Path,
    /// Directories that all files of the root come from.
    layers: &'a str,
    /// Environment variables that the guest does not get before it is ready.
    without: &'a [String],
}

impl<'a> WarmStart<'a> {
    /// `None` if it was not asked for, or cannot be: then the log says why.
    ///
    /// # Errors
    /// When the container's place among the cgroups makes no sense.
    pub fn new(
        server: &Server,
        plan: &'a Plan,
        creation: &'a Creation,
        wasm: &'a WasmContents,
    ) -> Result<Option<WarmStart<'a>>> {
        let Some(without) = &plan.warm_start else { return Ok(None) };
        let layers = wasm.file_system().layers();
        let obstacle = match layers {
            _ if creation.stdio.terminal => "it has a terminal",
            None => "its root is not made of an image's layers by overlayfs",
            Some(_) => "",
        };
        let Some(layers) = layers.filter(|_| obstacle.is_empty()) else {
            log::warn!("container {:?} is not started warm: {obstacle}", creation.id);
            return Ok(None);
        };
        let own = plan.cgroups_path.clone();
        let own = own.unwrap_or_else(|| format!("/{}/{}", server.namespace, creation.id));
        let cgroup = cgroup_path(server, creation, Some(&format!("{own}-warm")))?;
        Ok(Some(WarmStart { plan, creation, file_system: wasm.file_system(), cgroup, layers, without }))
    }

    /// Those of the cgroup in which the guest is run, whether or not it is.
    ///
    /// # Errors
    /// When something is there.
    pub fn directories(&self, server: &Server) -> Result<Vec<PathBuf>> {
        let planned = Cgroup::plan(&server.cgroups, &self.cgroup).map_err(cgroup_error)?;
        Ok(planned.directories().map(Path::to_owned).collect())
    }

    /// The guest at its ready point, if another container has had it come there with code of the key's tier.
    pub fn made(
        &self,
        server: &Server,
        key: Key,
        confinement: &Confinement<'_>,
        wasm: &Wasm<'_>,
    ) -> Option<InUse> {
        let request = self.request(confinement, wasm, key.tier.is_some());
        let identity = self.identity(&request).ok()?;
        server.templates.made(server, &Key { warm: Some(identity), ..key })
    }

    /// The guest at its ready point, which it is made to reach now if no other container has had it do so. `cold` is the
    /// template that its containers start from otherwise; `confinement` and `wasm` are what this container is to have.
    pub fn template(
        &self,
        server: &Server,
        (key, cold): (Key, &InUse),
        name: &Path,
        confinement: &Confinement<'_>,
        wasm: &Wasm<'_>,
    ) -> Option<InUse> {
        let request = self.request(confinement, wasm, cold.tier().is_some());
        let warm = match self.identity(&request) {
            Ok(identity) => Key { warm: Some(identity), ..key },
            Err(e) => {
                log::warn!("{} is not started warm: look at the layers of its image: {e}", name.display());
                return None;
            }
        };
        // Compiled code is none of what a guest that ran left behind.
        let code = cold.tier().map(|_| cold.again());
        server.templates.get(server, warm, name, code, |zygote, image| match cold.is_of(zygote) {
            true => {
                let bytes = build(server, self, &request, cold, image)?;
                // The guest ran from it.
                cold.proven();
                Ok(bytes)
            }
            false => Err("the zygote died meanwhile".to_owned()),
        })
    }

    /// The same guest with less: no volumes, no network, nothing that can be written to, only namespaces of its own.
    fn request<'r>(&self, confinement: &Confinement<'r>, wasm: &Wasm<'r>, compiled: bool) -> ForkRequest<'r> {
        let is_left_out = |variable: &&str| {
            let name = variable.split_once('=').map_or(*variable, |(name, _)| name);
            self.without.iter().any(|without| without == name)
        };
        ForkRequest {
            confinement: Confinement {
                fresh: Namespaces {
                    mount: true,
                    pid: true,
                    network: true,
                    ipc: true,
                    uts: true,
                    cgroup: false,
                },
                hostname: None,
                domainname: None,
                sysctl: Vec::new(),
                root_readonly: true,
                listen_anywhere: true,
                ..confinement.clone()
            },
            guest: Guest::Ready(Wasm {
                env: wasm.env.iter().copied().filter(|variable| !is_left_out(variable)).collect(),
                sockets: vec![network::Policy::Only(Vec::new())],
                compiled,
                ..wasm.clone()
            }),
        }
    }

    /// Stands for all that the guest can have seen up to its ready point, and for whose it is: pods of two Kubernetes
    /// namespaces share nothing that a guest has computed.
    fn identity(&self, request: &ForkRequest<'_>) -> io::Result<Digest> {
        let layer = |path: &str| {
            fs::metadata(path)
                .map(|found| (path.to_owned(), found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
        };
        let layers = self.layers.split(':').map(layer).collect::<io::Result<Vec<_>>>()?;
        // A label is each pod's own, and decides only what its processes may do. The form of the code is the key's tier.
        let confinement = Confinement { selinux: None, ..request.confinement.clone() };
        let mut guest = request.guest.clone();
        set_form(&mut guest, false, false);
        let namespace = &self.plan.kubernetes.sandbox_namespace;
        Ok(Digest::of(format!("{:?}", (layers, namespace, confinement, guest)).as_bytes()))
    }
}
