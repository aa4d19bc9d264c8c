//! The child's way into its container, from the fork to the last step before the filter.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::confinement::{Confinement, Descriptors};
use crate::{Error, attach, credentials, error::Step, labels, listen, namespaces, rlimits, sysctl};

/// What a confined process has to show for it.
#[derive(Debug)]
pub struct Entered {
    /// What the kernel would not grant and is no wall, in words.
    pub warnings: Vec<String>,
    /// One socket per [`Confinement::listen`].
    pub listeners: Vec<OwnedFd>,
}

/// Confines the calling process, a child the zygote forked with [`clone_flags`](crate::clone_flags). It must
/// have one thread. `proc_dir` is [`MinimalRoot::proc_dir`](crate::MinimalRoot::proc_dir); every descriptor
/// but 0 to 2, those in `keep` and the listeners is closed. Installing the [`Filter`](crate::Filter) remains.
///
/// # Errors
/// The first step that failed. The process is then half confined: it must end.
pub fn enter(
    confinement: &Confinement<'_>,
    mut descriptors: Descriptors,
    proc_dir: BorrowedFd<'_>,
    keep: &[RawFd],
) -> Result<Entered, Error> {
    let mut warnings = Vec::new();
    // What is made in the container's root gets the mode it is made with.
    rustix::process::umask(Mode::from_raw_mode(0o022));

    // First, so that all the rest is charged to the container and a cgroup namespace starts there.
    for procs in &descriptors.cgroup_procs {
        rustix::io::write(procs, b"0").step(|| "enter the container's cgroup".into())?;
    }
    namespaces::join(&descriptors)?;
    if confinement.fresh.cgroup {
        namespaces::unshare_cgroup()?;
    }
    if confinement.fresh.network {
        namespaces::raise_loopback()?;
    }
    namespaces::set_names(confinement)?;
    sysctl::set_all(confinement, &descriptors, proc_dir)?;

    // As root: ports below 1024 are for whoever may give them away, and that is the spec.
    let listeners = listen::bind_all(&confinement.listen, confinement.listen_anywhere)?;

    let root = descriptors.root.take();
    attach::file_system(confinement, root.as_ref(), &descriptors)?;
    // Tried as root, who may search every directory but those of a root-squashing NFS.
    let cwd = attach::change_to_cwd(confinement.cwd);

    rlimits::set_rlimits(&confinement.rlimits, &mut warnings)?;
    if let Some(value) = confinement.oom_score_adj {
        labels::set_oom_score_adj(proc_dir, value, &mut warnings)?;
    }
    if let Some(profile) = confinement.apparmor {
        labels::change_apparmor_profile(proc_dir, profile)?;
    }
    if let Some(label) = confinement.selinux {
        labels::change_selinux_context(proc_dir, label)?;
    }
    credentials::new_session(confinement.terminal)?;
    credentials::become_user(&confinement.user)?;
    match cwd {
        Err(Errno::ACCESS) => attach::change_to_cwd(confinement.cwd),
        tried => tried,
    }
    .step(|| format!("change to the working directory {:?}", confinement.cwd))?;

    drop((root, descriptors));
    let keep: Vec<RawFd> = keep.iter().copied().chain(listeners.iter().map(AsRawFd::as_raw_fd)).collect();
    close_all_but(&keep).step(|| "close inherited descriptors".into())?;
    Ok(Entered { warnings, listeners })
}

/// Closes every descriptor above 2 that is not in `keep`, gap by gap.
fn close_all_but(keep: &[RawFd]) -> std::io::Result<()> {
    let mut from: RawFd = 3;
    loop {
        let next = keep.iter().copied().filter(|fd| *fd >= from).min();
        let to = next.map_or(u32::MAX, |fd| (fd as u32).saturating_sub(1));
        if next != Some(from) {
            // SAFETY: whoever owns one of these descriptors was forked along and never runs here; `keep` is
            // what the caller still uses.
            if unsafe { libc::syscall(libc::SYS_close_range, from as u32, to, 0) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        match next {
            Some(fd) => from = fd + 1,
            None => return Ok(()),
        }
    }
}
