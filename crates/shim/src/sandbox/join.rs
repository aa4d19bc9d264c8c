//! How a container enters a pod that was made through the Sandbox API.

use super::{Sandbox, files};
use crate::error::Result;
use crate::spec::{Mount, Plan, Source};

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
}
