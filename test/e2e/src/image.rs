//! OCI images, made by hand: `FROM scratch` and some files.

use std::fs;
use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::tar::Tar;

/// One layer of files.
#[derive(Debug, Default, Clone)]
pub struct Layer(Tar);

impl Layer {
    /// An empty one.
    pub fn new() -> Layer {
        Layer::default()
    }

    /// Adds a file, executable by all.
    #[must_use]
    pub fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Layer {
        self.0.file(path, 0o755, bytes.as_ref());
        self
    }

    /// Adds a directory that all may enter.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Layer {
        self.0.directory(path, 0o755);
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Layer {
        self.0.symlink(path, target);
        self
    }
}

/// An image for linux on this machine's processor.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    layers: Vec<Vec<u8>>,
    config: serde_json::Map<String, serde_json::Value>,
}

impl Image {
    /// Without layers. The name is a full one, such as `e2e.local/guests:1`.
    pub fn new(name: &str) -> Image {
        Image { name: name.to_owned(), layers: Vec::new(), config: serde_json::Map::new() }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Image {
        self.layers.push(layer.0.finish());
        self
    }

    /// Sets the entry point.
    #[must_use]
    pub fn entrypoint(mut self, args: &[&str]) -> Image {
        self.config.insert("Entrypoint".into(), json!(args));
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key of the snapshot that holds all its layers (OCI image specification, "Layer ChainID").
    pub fn chain_id(&self) -> String {
        let mut chain = String::new();
        for layer in &self.layers {
            let diff = digest(layer);
            chain = if chain.is_empty() { diff } else { digest(format!("{chain} {diff}").as_bytes()) };
        }
        chain
    }

    /// Writes it as a tar of an OCI layout.
    pub fn write(&self, path: &Path) {
        let mut tar = Tar::default();
        let mut blob = |media_type: &str, bytes: &[u8]| {
            let digest = digest(bytes);
            tar.file(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), 0o644, bytes);
            json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
        };
        let layers: Vec<_> =
            self.layers.iter().map(|layer| blob("application/vnd.oci.image.layer.v1.tar", layer)).collect();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.layers.iter().map(|l| digest(l)).collect::<Vec<_>>() },
        });
        let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers });
        let mut manifest = blob(manifest_type, manifest.to_string().as_bytes());
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifest["annotations"] = json!({ "io.containerd.image.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        tar.file("index.json", 0o644, index.to_string().as_bytes());
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        fs::write(path, tar.finish()).expect("write an image");
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
