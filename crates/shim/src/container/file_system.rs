//! The container's file system, put together from detached mounts: nothing of it is in any mount table before
//! the container process attaches it in its own mount namespace.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use containerd_shim_protos::api::Mount;
use image::{Entrypoint, Found, Tree};
use jail::{Attach, Detached, DeviceNodes, MountOptions, RootfsMount};

use super::create::Creation;
use crate::error::{Error, Result};
use crate::server::Server;
use crate::spec::{Plan, Source};

/// A root and what is mounted below it, in order.
#[derive(Debug)]
pub struct FileSystem {
    root: OwnedFd,
    mounts: Vec<(String, Detached)>,
    /// The overlay's list of lower directories, if all files of the root come from there.
    layers: Option<String>,
}

impl FileSystem {
    /// Mounts everything the spec asks for.
    ///
    /// # Errors
    /// Names the mount.
    pub fn new(server: &Server, plan: &Plan, creation: &Creation) -> Result<FileSystem> {
        // Given no mounts, the directory the spec names is the root.
        let bundle_root = creation.bundle.join("rootfs");
        let root_path = if creation.rootfs.is_empty() { &plan.root.path } else { &bundle_root };
        let mounts: Vec<RootfsMount> = creation.rootfs.iter().map(rootfs_mount).collect();
        let root = jail::rootfs(&mounts, root_path);
        let root = root
            .map_err(|e| Error::because(format!("mount the root file system: {e}"), &e, Error::Internal))?;
        let mut file_system = FileSystem { root, mounts: Vec::new(), layers: layers(&creation.rootfs) };
        for mount in &plan.mounts {
            let failed = |e: jail::Error| {
                Error::because(format!("mount at {:?}: {e}", mount.destination), &e, Error::Invalid)
            };
            let options = jail::parse_options(&mount.options).map_err(failed)?;
            let detached = match &mount.source {
                Source::Bind { path, recursive } => {
                    let options = MountOptions { bind: Some(*recursive), ..options };
                    jail::bind(path, &options).map_err(failed)?
                }
                Source::DeviceNodes { private: false } => directory(device_nodes(server)?),
                Source::DeviceNodes { private: true } => directory(DeviceNodes::writable().map_err(failed)?),
                Source::Filesystem { kind, source } => {
                    jail::filesystem(kind, source, &options).map_err(failed)?
                }
                Source::Skip(_) => continue,
            };
            file_system.mounts.push((mount.destination.clone(), detached));
        }
        file_system.mask(plan)?;
        Ok(file_system)
    }

    /// Covers masked paths that exist.
    fn mask(&mut self, plan: &Plan) -> Result<()> {
        for path in &plan.masked_paths {
            let there = self.tree()?.directory(Path::new(path)).map_err(|e| Error::Invalid(e.to_string()))?;
            let Some(is_directory) = there else { continue };
            let read_only = jail::parse_options(&["ro".to_owned()]);
            let cover = match is_directory {
                true => read_only.and_then(|options| jail::filesystem("tmpfs", "masked", &options)),
                false => jail::bind(Path::new("/dev/null"), &MountOptions::default()),
            };
            let cover = cover.map_err(|e| Error::Internal(format!("mask {path:?}: {e}")))?;
            self.mounts.push((path.clone(), cover));
        }
        for path in &plan.readonly_paths {
            let there = self.tree()?.directory(Path::new(path)).map_err(|e| Error::Invalid(e.to_string()))?;
            if there.is_some() && !plan.root.readonly {
                return Err(Error::Invalid(format!(
                    "linux.readonlyPaths: {path:?} cannot be made read-only by itself: use a read-only root or volume"
                )));
            }
        }
        Ok(())
    }

    /// The file that the container's arguments name.
    ///
    /// # Errors
    /// In words for the user: what was looked for where.
    pub fn find(&self, plan: &Plan) -> Result<Found> {
        let failed = |e: image::Error| Error::of(e, Error::Invalid);
        let process = &plan.process;
        let path = process.env.iter().find_map(|variable| variable.strip_prefix("PATH="));
        let args0 = process.args.first().map(String::as_str).unwrap_or_default();
        let entrypoint = Entrypoint::parse(args0, &process.cwd, path).map_err(failed)?;
        entrypoint.find(&self.tree()?).map_err(failed)
    }

    /// Directories directly below `/`, for preopens.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn top_level_directories(&self) -> Result<Vec<String>> {
        self.tree()?.top_level_directories().map_err(|e| Error::of(e, Error::Internal))
    }

    /// The list of directories that all files of the root come from, if it is an overlay nobody has written to.
    pub fn layers(&self) -> Option<&str> {
        self.layers.as_deref()
    }

    /// The root's detached mount.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The other detached mounts, in order.
    pub fn mounts(&self) -> Vec<BorrowedFd<'_>> {
        self.mounts.iter().map(|(_, mount)| mount.fd.as_fd()).collect()
    }

    /// Where they go, in the same order.
    pub fn attachments(&self) -> Vec<Attach<'_>> {
        self.mounts
            .iter()
            .map(|(destination, mount)| Attach { destination, directory: mount.directory })
            .collect()
    }

    fn tree(&self) -> Result<Tree<'_>> {
        tree(&self.root, self.layers.as_deref(), &self.mounts).map_err(|e| Error::of(e, Error::Invalid))
    }
}

/// A root with what is to be mounted below it, as modules and programs are looked for.
///
/// # Errors
/// Those of [`Tree::new`].
pub fn tree<'a>(
    root: &'a OwnedFd,
    layers: Option<&str>,
    mounts: &'a [(String, Detached)],
) -> image::Result<Tree<'a>> {
    let view = |(destination, mount): &'a (String, Detached)| image::Mount {
        destination,
        fd: mount.fd.as_fd(),
        directory: mount.directory,
    };
    Tree::new(root.as_fd(), layers, &mounts.iter().map(view).collect::<Vec<_>>())
}

pub fn rootfs_mount(mount: &Mount) -> RootfsMount {
    RootfsMount {
        kind: mount.type_.clone(),
        source: mount.source.clone(),
        options: mount.options.clone(),
        target: (!mount.target.is_empty()).then(|| mount.target.clone().into()),
    }
}

fn directory(fd: OwnedFd) -> Detached {
    Detached { fd, directory: true }
}

/// A clone of the server's `/dev`, which is made for the first container that asks.
fn device_nodes(server: &Server) -> Result<OwnedFd> {
    let failed = |e: jail::Error| Error::because(format!("make /dev: {e}"), &e, Error::Internal);
    if server.device_nodes.get().is_none() {
        // Two may get here at once; one of the two file systems is dropped then.
        let _ = server.device_nodes.set(DeviceNodes::new().map_err(failed)?);
    }
    let shared =
        server.device_nodes.get().ok_or_else(|| Error::Internal("make /dev: not made".to_owned()))?;
    shared.detached().map_err(failed)
}

/// Names the read-only layers under an overlay nobody has written to yet: the same list stands for the same
/// files, which is how a module is known again without reading it.
fn layers(rootfs: &[Mount]) -> Option<String> {
    let [overlay] = rootfs else { return None };
    let option = |name: &str| overlay.options.iter().find_map(|option| option.strip_prefix(name));
    let untouched = match option("upperdir=") {
        Some(upper) => fs::read_dir(upper).is_ok_and(|mut entries| entries.next().is_none()),
        None => true,
    };
    let lower = option("lowerdir=").filter(|_| overlay.type_ == "overlay" && untouched)?;
    Some(lower.to_owned())
}
