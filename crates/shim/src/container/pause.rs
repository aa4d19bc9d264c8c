//! The pause container of a pod: a process that holds the pod's namespaces and does nothing.
//!
//! containerd's CRI plugin runs the pause image for it. Here nothing of that image is mounted or run: the zygote forks
//! a holder, which stays in the zygote's empty root. What the spec says of root, mounts and program is
//! left aside; its namespaces, names, kernel parameters, credentials and limits hold.

use std::os::fd::OwnedFd;

use jail::{Confinement, NamespaceKind};
use zygote::Guest;

use super::launch::Launch;
use crate::config::AotMode;
use crate::spec::Plan;
use crate::stdio::GuestEnds;

/// The holder of the namespaces that `plan` asks for.
pub fn launch<'a>(plan: &'a Plan, guest_ends: GuestEnds, join: Vec<(NamespaceKind, OwnedFd)>) -> Launch<'a> {
    let mut fresh = plan.namespaces.fresh;
    // Copying the zygote's is 13 KiB that nobody would look at.
    fresh.mount = false;
    let confinement = Confinement {
        fresh,
        // The working directory is the image's.
        cwd: "/",
        terminal: false,
        ..plan.confinement()
    };
    Launch {
        confinement,
        guest: Guest::Pause,
        module: None,
        aot: AotMode::Off,
        guest_ends,
        file_system: None,
        join,
        warm_start: None,
    }
}
