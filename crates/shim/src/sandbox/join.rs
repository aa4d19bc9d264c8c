//! How a container enters a pod that was made through the Sandbox API.

use super::{Sandbox, files};
use crate::error::Result;
use crate::spec::{Mount, Plan, Source};
use jail::NamespaceKind;
use oci_spec::runtime::{LinuxNamespaceType, MountBuilder, Spec};

impl Sandbox {
    /// Puts the pod's own namespaces where the spec names those of the process [`Sandbox::status`] told of, and adds the
    /// pod's files where the spec mounts nothing.
    ///
    /// # Errors
    /// [`crate::error::Error::State`] unless the pod is ready.
    pub fn join(&self, plan: &mut Plan) -> Result<()> {
        let held = self.held()?;
        for (kind, path) in &mut plan.namespaces.join {
            if let Some(own) = held.path(*kind) {
                *path = own;
            }
        }
        for (destination, path) in files::mounts(&self.bundle) {
            if plan.mounts.iter().any(|mount| mount.destination == destination) {
                continue;
            }
            let access = if plan.root.readonly { "ro" } else { "rw" };
            let options = ["nosuid", "nodev", "noexec", access].map(str::to_owned).into();
            let source = Source::Bind { path, recursive: false };
            plan.mounts.push(Mount { destination: destination.to_owned(), source, options });
        }
        Ok(())
    }

    /// The same for a native container, whose spec stays what it is otherwise.
    ///
    /// # Errors
    /// As [`Sandbox::join`].
    pub fn join_native(&self, spec: &mut Spec) -> Result<()> {
        let held = self.held()?;
        let read_only = spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
        let namespaces = spec.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
        for namespace in namespaces.into_iter().flatten() {
            let kind = match namespace.typ() {
                LinuxNamespaceType::Network => NamespaceKind::Network,
                LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
                LinuxNamespaceType::Uts => NamespaceKind::Uts,
                LinuxNamespaceType::Pid => NamespaceKind::Pid,
                _ => continue,
            };
            if let Some(own) = held.path(kind).filter(|_| namespace.path().is_some()) {
                namespace.set_path(Some(own));
            }
        }
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for (destination, path) in files::mounts(&self.bundle) {
            if mounts.iter().any(|mount| mount.destination().as_os_str() == destination) {
                continue;
            }
            let access = if read_only { "ro" } else { "rw" };
            let options = ["bind", "nosuid", "nodev", "noexec", access].map(str::to_owned).to_vec();
            let mount =
                MountBuilder::default().destination(destination).typ("bind").source(path).options(options);
            mounts.extend(mount.build().ok());
        }
        spec.set_mounts(Some(mounts));
        Ok(())
    }
}
