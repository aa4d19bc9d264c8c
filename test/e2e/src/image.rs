//! OCI images, made by hand: `FROM scratch` and some files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
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

    /// Adds a file that runs as root, whoever executes it.
    #[must_use]
    pub fn setuid_file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Layer {
        self.0.file(path, 0o4755, bytes.as_ref());
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

/// An image, for linux on this machine's processor unless it is said otherwise.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    layers: Vec<Vec<u8>>,
    config: serde_json::Map<String, serde_json::Value>,
    os: String,
    architecture: String,
    index: bool,
}

/// A piece of content, named by its digest.
#[derive(Debug, Clone)]
pub struct Blob {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// What kind of content it is.
    pub media_type: String,
    /// It.
    pub bytes: Vec<u8>,
}

/// What an image consists of.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Layers, config, manifest and, if there is one, the index.
    pub blobs: Vec<Blob>,
    /// Descriptor of what the image's name stands for: its manifest or index.
    pub top: Value,
}

impl Contents {
    fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        self.blobs.push(Blob { digest, media_type: media_type.to_owned(), bytes: bytes.to_vec() });
        descriptor
    }
}

impl Image {
    /// Without layers. The name is a full one, such as `e2e.local/guests:1`.
    pub fn new(name: &str) -> Image {
        Image {
            name: name.to_owned(),
            layers: Vec::new(),
            config: serde_json::Map::new(),
            os: "linux".to_owned(),
            architecture: if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.to_owned(),
            index: false,
        }
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

    /// Sets the user, by name or number.
    #[must_use]
    pub fn user(mut self, user: &str) -> Image {
        self.config.insert("User".into(), json!(user));
        self
    }

    /// Says what it is for, as `wasi` and `wasm`.
    #[must_use]
    pub fn platform(mut self, os: &str, architecture: &str) -> Image {
        (self.os, self.architecture) = (os.to_owned(), architecture.to_owned());
        self
    }

    /// Puts the manifest into an index, as images for several platforms have it.
    #[must_use]
    pub fn in_an_index(mut self) -> Image {
        self.index = true;
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

    /// All of it.
    pub fn contents(&self) -> Contents {
        let mut contents = Contents { blobs: Vec::new(), top: Value::Null };
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> = self.layers.iter().map(|bytes| contents.add(layer, bytes)).collect();
        let config = json!({
            "architecture": self.architecture,
            "os": self.os,
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.layers.iter().map(|l| digest(l)).collect::<Vec<_>>() },
        });
        let config = contents.add("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
        contents.top = contents.add(kind, manifest.to_string().as_bytes());
        if self.index {
            let mut manifest = contents.top.take();
            manifest["platform"] = json!({ "os": self.os, "architecture": self.architecture });
            let kind = "application/vnd.oci.image.index.v1+json";
            let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [manifest] });
            contents.top = contents.add(kind, index.to_string().as_bytes());
        }
        contents
    }

    /// Writes it as a tar of an OCI layout.
    pub fn write(&self, path: &Path) {
        let mut tar = Tar::default();
        let Contents { blobs, mut top } = self.contents();
        for Blob { digest, bytes, .. } in blobs {
            tar.file(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), 0o644, &bytes);
        }
        top["platform"] = json!({ "os": self.os, "architecture": self.architecture });
        top["annotations"] = json!({ "io.containerd.image.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [top] });
        tar.file("index.json", 0o644, index.to_string().as_bytes());
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        fs::write(path, tar.finish()).expect("write an image");
    }
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
