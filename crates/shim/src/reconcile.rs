//! Cleaning up after a server that is no more, from what it left on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cgroup::Cgroup;

use crate::container;
use crate::control;
use crate::record::Record;
use crate::rendezvous::{Rendezvous, crashed_log};

/// Undoes one container whose server is dead: kills what is left in its cgroup, removes the cgroup, the mount
/// and the record. Never fails: what cannot be undone is logged, and the rest is done.
pub fn clean(bundle: &Path) {
    match cgroups_of(bundle) {
        Ok(Some((cgroup, warm))) => {
            if let Err(e) = warm.kill().and_then(|()| warm.remove()) {
                log::warn!("{}: {e}", bundle.display());
            }
            let emptied = cgroup.kill();
            container::discard(bundle, &|mut command| command.spawn());
            if let Err(e) = emptied.and_then(|()| cgroup.remove()) {
                log::warn!("{}: {e}", bundle.display());
            }
        }
        Ok(None) => {}
        Err(e) => log::warn!("{}: {e}", bundle.display()),
    }
    container::remove_native(bundle);
    // A wasm container's is never mounted here, but containerd leaves it to shims to make sure.
    container::unmount(&bundle.join("rootfs"));
    Record::remove(bundle);
}

/// The container's and that of its warm start, from the record, which is written before the first process is forked.
fn cgroups_of(bundle: &Path) -> Result<Option<(Cgroup, Cgroup)>, String> {
    let host = cgroup::Host::detect().map_err(|e| e.to_string())?;
    let record = Record::read(bundle).map_err(|e| e.to_string())?;
    let cgroup = |directories| Cgroup::from_directories(&host, directories);
    Ok(record.map(|record| (cgroup(record.cgroup), cgroup(record.warm))))
}

/// Cleans up after every container beside `bundle` whose server was `place`, which is known to be dead.
///
/// containerd 2 runs no `delete` for the containers of a pod whose shim died, so the next `start` does it.
pub fn sweep(bundle: &Path, place: &Rendezvous) {
    let beside = match bundle.canonicalize().map(|path| path.parent().map(Path::to_owned)) {
        Ok(Some(parent)) => parent,
        _ => return,
    };
    let Ok(entries) = fs::read_dir(beside) else { return };
    for bundle in entries.flatten().map(|entry| entry.path()) {
        if Record::read(&bundle).ok().flatten().is_some_and(|record| record.server == place.directory()) {
            log::info!("cleaning up after {}, whose server is gone", bundle.display());
            clean(&bundle);
        }
    }
}

/// Removes the rendezvous directory of a server that does not live any more.
pub fn remove_if_dead(place: &Rendezvous) {
    let exists =
        |path: PathBuf| !matches!(fs::symlink_metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound);
    if !exists(place.directory().to_owned()) {
        return;
    }
    let Ok(lock) = place.lock() else { return };
    // Under the lock nobody starts a server: if none answers now, none is there.
    if !control::is_alive(&place.control_socket()) {
        // What it said before it died is of use to whoever looks into it; its sockets are not.
        if fs::metadata(place.log()).is_ok_and(|log| log.len() > 0) {
            let _ = fs::rename(place.log(), crashed_log());
        }
        place.remove(&lock);
    }
}
