//! Keeps the cache within its size: what was used longest ago goes first.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::directory::Directory;
use crate::entry::{CODE, FAILED, SIDECAR, file_name, modified};
use crate::key::is_name;

/// Files that are no entry, such as those of an older layout, go after so long.
const STRANGE: Duration = Duration::from_secs(3600);

/// A draft is locked some moments after it is made.
const NEW: Duration = Duration::from_secs(60);

/// Removes drafts that nobody writes to any more, and the least recently used entries until all together are not larger
/// than `limit`. `keep` stays in any case: it was made just now. Returns how many entries went.
pub(crate) fn trim(directory: &Directory, limit: u64, keep: Option<&str>) -> crate::Result<usize> {
    let mut entries: BTreeMap<String, (SystemTime, u64)> = BTreeMap::new();
    for name in directory.names()? {
        let Some(stat) = directory.stat(&name) else { continue };
        match name.split_once('.') {
            Some((stem, CODE | SIDECAR | FAILED)) if is_name(stem) => {
                let entry = entries.entry(stem.to_owned()).or_insert((SystemTime::UNIX_EPOCH, 0));
                entry.0 = entry.0.max(modified(&stat));
                entry.1 += u64::try_from(stat.st_size).unwrap_or(0);
            }
            // Removed by whoever holds it.
            Some((stem, "lock")) if is_name(stem) => {}
            _ if name.starts_with(crate::cache::DRAFT) && older(&stat, NEW) => {
                remove_unless_in_use(directory, &name);
            }
            _ if !name.starts_with(crate::cache::DRAFT) && older(&stat, STRANGE) => directory.remove(&name),
            _ => {}
        }
    }
    let mut total: u64 = entries.values().map(|(_, size)| size).sum();
    let mut by_age: Vec<_> = entries.into_iter().filter(|(name, _)| keep != Some(name)).collect();
    by_age.sort_by_key(|(_, (used, _))| *used);
    let mut removed = 0;
    for (name, (_, size)) in by_age {
        if total <= limit {
            break;
        }
        remove(directory, &name);
        total = total.saturating_sub(size);
        removed += 1;
    }
    Ok(removed)
}

fn older(stat: &rustix::fs::Stat, age: Duration) -> bool {
    modified(stat).elapsed().is_ok_and(|elapsed| elapsed > age)
}

/// Removes all files of a key. The sidecar goes first: without it the code is nothing.
pub(crate) fn remove(directory: &Directory, name: &str) {
    for ending in [SIDECAR, CODE, FAILED] {
        directory.remove(&file_name(name, ending));
    }
}

/// A draft is locked as long as its server lives.
fn remove_unless_in_use(directory: &Directory, name: &str) {
    let unused = directory
        .trusted(name)
        .is_some_and(|(file, _)| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
    if unused {
        directory.remove(name);
    }
}
