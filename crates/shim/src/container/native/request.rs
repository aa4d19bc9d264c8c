//! What a helper is asked for a new container: written down in the bundle, with the spec as its maker does it right.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cgroup::{Cgroup, Version};
use native::{CgroupMount, CreateRequest, RunRequest, Surroundings};
use oci_spec::runtime::Spec;

use super::{CONFIG, DIRECTORY, end};
use crate::container::Creation;
use crate::error::{Error, Result};
use crate::spec::NativeSpec;

/// Writes the spec for libcontainer.
pub fn for_libcontainer(
    creation: &Creation,
    spec: NativeSpec,
    cgroup: &Cgroup,
    root: &Path,
    oom_score_adj: i32,
) -> Result<CreateRequest> {
    let directory = make_directory(&creation.bundle)?;
    let (place, directories) = cgroup.places();
    let mounts = directories.filter_map(|(root, directory)| {
        let name = root.file_name()?.to_str()?.to_owned();
        Some(CgroupMount { name, directory: directory.to_owned() })
    });
    let mounts: Vec<_> = if cgroup.version() == Version::V1 { mounts.collect() } else { Vec::new() };
    let around = Surroundings {
        bundle: &creation.bundle,
        root,
        directory: &directory,
        cgroup: &place,
        cgroup_mounts: &mounts,
        terminal: creation.stdio.terminal,
    };
    let uid = spec.process.process.user().uid();
    let cwd = spec.process.process.cwd().clone();
    let home_given = native::names_home(spec.process.process.env().as_deref().unwrap_or_default());
    let device_directories = native::device_directories(&spec.spec);
    let (spec, binds, warnings) = native::rewrite(spec.spec, &around);
    write_config(creation, &directory, &spec, &warnings)?;
    let id = creation.id.clone();
    Ok(CreateRequest {
        id,
        directory,
        root: root.to_owned(),
        cwd,
        binds,
        terminal: creation.stdio.terminal,
        oom_score_adj,
        uid,
        device_directories,
        home_given,
    })
}

/// Writes the spec for another runtime.
pub fn for_runtime(
    creation: &Creation,
    spec: NativeSpec,
    cgroup: &Cgroup,
    root: &Path,
    runtime: &Path,
) -> Result<RunRequest> {
    let directory = make_directory(&creation.bundle)?;
    let terminal = creation.stdio.terminal;
    let around = Surroundings {
        bundle: &creation.bundle,
        root,
        directory: &directory,
        cgroup: &cgroup.places().0,
        cgroup_mounts: &[],
        terminal,
    };
    let (spec, warnings) = native::rewrite_for_runtime(spec.spec, &around);
    write_config(creation, &directory, &spec, &warnings)?;
    Ok(RunRequest { id: creation.id.clone(), runtime: runtime.to_owned(), directory, terminal })
}

fn make_directory(bundle: &Path) -> Result<PathBuf> {
    let directory = bundle.join(DIRECTORY);
    end::remove_directory(bundle);
    let made = fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map(|()| directory).map_err(|e| Error::io("make a directory in the bundle", &e))
}

fn write_config(creation: &Creation, directory: &Path, spec: &Spec, warnings: &[String]) -> Result<()> {
    for warning in warnings {
        log::warn!("container {:?}: {warning}", creation.id);
    }
    let text = serde_json::to_vec(spec).map_err(std::io::Error::from);
    let written = text.and_then(|text| fs::write(directory.join(CONFIG), text));
    written.map_err(|e| Error::io("write the spec for libcontainer or another runtime", &e))
}
