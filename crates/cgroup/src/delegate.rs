//! v2: which controllers a cgroup has is written in `cgroup.subtree_control` of every directory above it
//! (kernel `cgroup-v2.rst`, "Enabling and Disabling").

use std::path::Path;

use rustix::io::Errno;

use crate::{Cgroup, Controller, Controllers, Error, Result, file};

/// Enables what is read or limited in nearly every container. Others are enabled when a limit asks for them:
/// each costs kernel memory per cgroup. The kubelet and containerd have enabled them all in most places
/// anyway.
pub(crate) fn enable_usual(cgroup: &Cgroup) -> Result<()> {
    use Controller::{BlockIo, Cpu, Memory, Pids};
    let usual = [Cpu, Memory, Pids, BlockIo].into_iter().collect();
    cgroup.unified().map_or(Ok(()), |(root, directory)| enable(root, directory, usual).map(drop))
}

/// Makes sure that the cgroup has what these limits need.
///
/// # Errors
/// [`Error::NoController`] for the first limit whose controller is not to be had.
pub(crate) fn require(cgroup: &Cgroup, needs: &[(&'static str, Controller)]) -> Result<()> {
    let Some((root, directory)) = cgroup.unified() else { return Ok(()) };
    let wanted: Controllers = needs.iter().map(|(_, controller)| *controller).collect();
    let controllers = directory.join("cgroup.controllers");
    if wanted.is_empty()
        || (wanted.without(listed(&controllers)?).is_empty() && has_files_of(directory, wanted))
    {
        return Ok(());
    }
    let refusal = enable(root, directory, wanted)?;
    let available = listed(&controllers)?;
    match needs.iter().find(|(_, controller)| !available.has(*controller)) {
        None => Ok(()),
        Some(&(limit, controller)) => Err(Error::NoController {
            limit,
            controller,
            directory: directory.to_owned(),
            reason: refusal.unwrap_or_default(),
        }),
    }
}

/// Enables controllers in every directory from the root to the parent. Those that are not available are left out;
/// gives the reason of the last refusal.
fn enable(root: &Path, directory: &Path, wanted: Controllers) -> Result<Option<String>> {
    let Some(parent) = directory.parent() else { return Ok(None) };
    let control = parent.join("cgroup.subtree_control");
    // Nearly always: somebody has done it before.
    let mut enabled = wanted.and(listed(&control)?);
    let mut refusal = None;
    if !wanted.without(enabled).is_empty() {
        refusal = enable_above(root, parent, wanted)?;
        enabled = wanted.and(listed(&control)?);
    }
    // The kernel lists a controller before its files are there. Should another thread or program be enabling it
    // just now, a write of the same waits until that is done.
    if !has_files_of(directory, enabled) {
        let _ = file::write(&control, &additions(enabled).join(" "));
    }
    Ok(refusal)
}

/// Top-down, as the kernel wants it.
fn enable_above(root: &Path, parent: &Path, wanted: Controllers) -> Result<Option<String>> {
    let mut refusal = None;
    let mut above: Vec<&Path> = parent.ancestors().take_while(|path| path.starts_with(root)).collect();
    above.reverse();
    for path in above {
        let control = path.join("cgroup.subtree_control");
        let available = listed(&path.join("cgroup.controllers"))?;
        let missing = wanted.and(available).without(listed(&control)?);
        if missing.is_empty() {
            continue;
        }
        let names = additions(missing);
        if file::write(&control, &names.join(" ")).is_ok() {
            continue;
        }
        // One that is refused takes the others in the same write with it.
        for name in names {
            if let Err(errno) = file::write(&control, &name) {
                let hint = if errno == Errno::BUSY { " (it has processes of its own)" } else { "" };
                refusal = Some(format!(": writing {name} to {} failed: {errno}{hint}", control.display()));
            }
        }
    }
    Ok(refusal)
}

fn additions(controllers: Controllers) -> Vec<String> {
    controllers.iter().map(|c| format!("+{}", c.v2_name())).collect()
}

fn has_files_of(directory: &Path, controllers: Controllers) -> bool {
    controllers.iter().filter_map(a_file_of).all(|name| file::exists(directory, name))
}

/// A file that a cgroup has if and only if it has the controller. Those of hugetlb depend on the machine.
fn a_file_of(controller: Controller) -> Option<&'static str> {
    match controller {
        Controller::Memory => Some("memory.max"),
        Controller::Cpu => Some("cpu.weight"),
        Controller::Cpuset => Some("cpuset.cpus"),
        Controller::Pids => Some("pids.max"),
        Controller::BlockIo => Some("io.stat"),
        Controller::Hugetlb | Controller::Freezer | Controller::Cpuacct => None,
    }
}

fn listed(path: &Path) -> Result<Controllers> {
    file::read(path).map(|text| Controllers::listed(&text)).map_err(|e| Error::io("read", path, e))
}
