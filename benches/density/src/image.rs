//! A one-layer OCI image `FROM scratch`, as a tar that `ctr images import` takes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::stack::Stack;

/// An image on disk.
#[derive(Debug)]
pub struct Image {
    /// Its full name.
    pub name: String,
    /// The snapshot that holds its one layer.
    pub chain_id: String,
}

/// Writes the image of `stack` to `archive`, with `scratch`, an absent folder, for what goes into it.
pub fn write(stack: &Stack, archive: &Path, scratch: &Path) -> Result<Image> {
    let (root, layout) = (scratch.join("root"), scratch.join("layout"));
    // The mount points of the spec, so that no overlay has to be written to.
    for directory in ["bin", "proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    for (file, place) in &stack.files {
        let copied = fs::copy(file, root.join(place));
        copied.with_context(|| format!("copy {} into an image", file.display()))?;
    }
    let layer = scratch.join("layer.tar");
    tar(&root, &layer)?;

    fs::create_dir_all(layout.join("blobs/sha256"))?;
    let blob = |media_type: &str, bytes: &[u8]| -> Result<Value> {
        let digest = digest(bytes);
        fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes)?;
        Ok(
            json!({ "mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest, "size": bytes.len() }),
        )
    };
    let layer = fs::read(layer)?;
    let chain_id = digest(&layer);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [chain_id] },
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", config.to_string().as_bytes())?,
        "layers": [blob("layer.v1.tar", &layer)?],
    });
    let name = format!("bench.local/{}:1", stack.name);
    let mut entry = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("platform".into(), json!({ "os": "linux", "architecture": architecture }));
        entry.insert("annotations".into(), json!({ "io.containerd.image.name": name }));
    }
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar(&layout, archive)?;
    Ok(Image { name, chain_id })
}

fn tar(folder: &Path, archive: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-cf"]).arg(archive);
    let status = tar.arg("-C").arg(folder).arg(".").status().context("run tar")?;
    ensure!(status.success(), "tar of {} failed: {status}", folder.display());
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
