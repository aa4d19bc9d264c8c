//! v1 cpusets begin empty, and nothing can run in an empty one.

use std::path::Path;

use crate::{Cpu, Error, Result, file};

/// Fills processors and memory nodes of a directory, and of those above it, from the next one above that has
/// some. What is about to be limited anyway is filled above only.
pub(crate) fn inherit(root: &Path, directory: &Path, limits: &Cpu) -> Result<()> {
    for (name, limited) in [("cpuset.cpus", limits.cpus.is_some()), ("cpuset.mems", limits.mems.is_some())] {
        match directory.parent() {
            Some(parent) if limited => drop(value_of(root, parent, name)?),
            _ => drop(value_of(root, directory, name)?),
        }
    }
    Ok(())
}

fn value_of(root: &Path, directory: &Path, name: &'static str) -> Result<String> {
    let path = directory.join(name);
    let present = file::read(&path).map_err(|e| Error::io("read", &path, e))?;
    if !present.trim().is_empty() || directory == root {
        return Ok(present);
    }
    let Some(parent) = directory.parent() else { return Ok(present) };
    let inherited = value_of(root, parent, name)?;
    file::write(&path, inherited.trim()).map_err(|e| Error::io("write", &path, e))?;
    Ok(inherited)
}
