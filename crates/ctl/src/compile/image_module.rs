//! From an image's name to its module, by containerd: image, manifest, configuration, and a view of its snapshot.
//!
//! The view is mounted detached, so nothing is in the host's mount table, and it is removed as soon as the module is
//! open. A lease that runs out makes containerd remove it if this process dies before.

use std::path::PathBuf;

use containerd_client::types::Mount;
use image::{Entrypoint, Module, Modules, Tree};
use jail::RootfsMount;
use rustix::fd::AsFd;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::command_line::Compile;
use crate::containerd::{Containerd, Namespace};

/// An index or a manifest; which of the two, its fields tell.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// An image's configuration, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    config: Process,
    rootfs: Layers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Process {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    env: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Layers {
    diff_ids: Vec<String>,
}

/// The module that a container of the image would run.
///
/// # Errors
/// In words, what is missing and how to get it.
pub fn open(asked: &Compile, modules: &Modules) -> Result<Module, String> {
    let containerd = Containerd::connect(&asked.containerd.socket())?;
    let space = containerd.namespace(&asked.namespace);
    let (name, top) = find(&space, &asked.what, &asked.namespace)?;
    let configuration = configuration(&space, &top)?;
    let command = command(asked, &configuration.config, &name)?;
    let chain = chain_id(&configuration.rootfs.diff_ids);
    let chain = chain.ok_or_else(|| format!("image {name} has no layers: there is no module in it"))?;

    let view = View::make(&space, &asked.snapshotter, &chain).map_err(|e| {
        format!(
            "open image {name} ({e}): is it unpacked for snapshotter {:?}? Pull it again with it, or name another \
             with --snapshotter",
            asked.snapshotter
        )
    })?;
    let scratch = Scratch::make()?;
    let mounts: Vec<RootfsMount> = view.mounts.iter().map(rootfs_mount).collect();
    let root = jail::rootfs(&mounts, &scratch.0).map_err(|e| format!("mount image {name}: {e}"))?;
    let path = configuration.config.env.iter().flatten().find_map(|entry| entry.strip_prefix("PATH="));
    let directory = configuration.config.working_dir.as_deref().unwrap_or("/");
    let failed = |e: image::Error| format!("image {name}: {e}");
    let tree = Tree::new(root.as_fd(), None, &[]).map_err(failed)?;
    let found =
        Entrypoint::parse(&command, directory, path).and_then(|entry| entry.find(&tree)).map_err(failed)?;
    if found.is_native() {
        return Err(format!("image {name}: {} is a Linux program: nothing to compile", found.path.display()));
    }
    modules.identify(found).map_err(failed)
}

/// The image of that name, or of the name that it is short for; and the digest it stands for.
fn find(space: &Namespace<'_>, name: &str, namespace: &str) -> Result<(String, String), String> {
    for candidate in candidates(name) {
        if let Some(digest) = space.image(&candidate)? {
            return Ok((candidate, digest));
        }
    }
    Err(format!(
        "there is no image {name:?} in namespace {namespace:?}, and no such file: pull it first, or name its \
         namespace with --namespace (Kubernetes has k8s.io)"
    ))
}

/// What people leave out, as docker has it.
fn candidates(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let last = name.rsplit('/').next().unwrap_or(name);
    if !last.contains([':', '@']) {
        names.push(format!("{name}:latest"));
    }
    let prefix = match name.split_once('/') {
        None => Some("docker.io/library/"),
        Some((host, _)) if !host.contains(['.', ':']) && host != "localhost" => Some("docker.io/"),
        Some(_) => None,
    };
    let longer: Vec<String> = prefix
        .into_iter()
        .flat_map(|prefix| names.iter().map(move |name| format!("{prefix}{name}")))
        .collect();
    names.extend(longer);
    names
}

fn configuration(space: &Namespace<'_>, top: &str) -> Result<Configuration, String> {
    let mut manifest: Manifest = parse(&space.blob(top)?, top)?;
    if manifest.config.is_none() {
        let chosen = choose(&manifest.manifests).ok_or("the image has nothing for this processor")?;
        manifest = parse(&space.blob(chosen)?, chosen)?;
    }
    let config = manifest.config.ok_or("the image's manifest names no configuration")?;
    parse(&space.blob(&config.digest)?, &config.digest)
}

fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8], digest: &str) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("the image's {digest} makes no sense: {e}"))
}

/// The manifest for Linux on this processor.
fn choose(manifests: &[Descriptor]) -> Option<&str> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == architecture;
    // One without a platform says nothing against it.
    let chosen = manifests.iter().find(|manifest| manifest.platform.as_ref().is_none_or(fits));
    chosen.map(|manifest| manifest.digest.as_str())
}

fn command(asked: &Compile, process: &Process, name: &str) -> Result<String, String> {
    let own = process.entrypoint.iter().chain(&process.cmd).flatten().next();
    let command = asked.command.as_ref().or(own).cloned();
    command.ok_or_else(|| format!("image {name} has no entry point: name the module with --command"))
}

/// What containerd calls the snapshot of a stack of layers (OCI image spec, `ChainID`).
fn chain_id(diff_ids: &[String]) -> Option<String> {
    let (first, rest) = diff_ids.split_first()?;
    Some(rest.iter().fold(first.clone(), |chain, diff| {
        let digest = Sha256::digest(format!("{chain} {diff}"));
        digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }))
}

fn rootfs_mount(mount: &Mount) -> RootfsMount {
    RootfsMount {
        kind: mount.r#type.clone(),
        source: mount.source.clone(),
        options: mount.options.clone(),
        target: (!mount.target.is_empty()).then(|| mount.target.clone().into()),
    }
}

/// A view of a snapshot; containerd forgets it when this is dropped.
struct View<'c> {
    space: &'c Namespace<'c>,
    snapshotter: &'c str,
    key: String,
    mounts: Vec<Mount>,
}

impl<'c> View<'c> {
    fn make(space: &'c Namespace<'c>, snapshotter: &'c str, parent: &str) -> Result<View<'c>, String> {
        let key = format!("wamrctl-{}", std::process::id());
        space.lease(&key)?;
        // From here on dropped with what there is of it.
        let mut view = View { space, snapshotter, key, mounts: Vec::new() };
        view.mounts = space.view(snapshotter, &view.key, parent)?;
        Ok(view)
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        // The lease runs out otherwise.
        let _ = self.space.remove_view(self.snapshotter, &self.key);
        let _ = self.space.end_lease(&self.key);
    }
}

/// An empty folder for mounts that the kernel cannot make detached.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Scratch, String> {
        let path = std::env::temp_dir().join(format!("wamrctl-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|e| format!("make {}: {e}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_completed_as_docker_does() {
        assert_eq!(
            candidates("hello"),
            ["hello", "hello:latest", "docker.io/library/hello", "docker.io/library/hello:latest"]
        );
        assert_eq!(candidates("me/hello:1"), ["me/hello:1", "docker.io/me/hello:1"]);
        assert_eq!(candidates("quay.io/a:1"), ["quay.io/a:1"]);
        assert_eq!(candidates("localhost/a@sha256:00"), ["localhost/a@sha256:00"]);
    }

    #[test]
    fn layers_are_named_by_their_chain() {
        let diff = |digit: &str| format!("sha256:{}", digit.repeat(64));
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(&[diff("a")]), Some(diff("a")));
        // As `sha256sum` has it of "sha256:aaa… sha256:bbb…".
        let two = chain_id(&[diff("a"), diff("b")]).unwrap();
        assert_eq!(two, "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c");
    }

    #[test]
    fn of_several_manifests_that_of_this_processor_is_taken() {
        let manifest = |os: &str, architecture: &str, digest: &str| Descriptor {
            digest: digest.to_owned(),
            platform: Some(Platform { os: os.to_owned(), architecture: architecture.to_owned() }),
        };
        let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let list = [
            manifest("linux", "s390x", "a"),
            manifest("linux", own, "b"),
            manifest("unknown", "unknown", "c"),
        ];
        assert_eq!(choose(&list), Some("b"));
        assert_eq!(choose(&list[..1]), None);
    }

    #[test]
    fn an_image_of_any_shape_is_refused_in_words() {
        assert!(parse::<Manifest>(b"{\"manifests\": 7}", "sha256:x").unwrap_err().contains("sha256:x"));
        assert!(parse::<Configuration>(b"{}", "x").unwrap().rootfs.diff_ids.is_empty());
        assert!(parse::<Configuration>(b"{\"config\":{\"Entrypoint\":null}}", "x").is_ok());
    }
}
