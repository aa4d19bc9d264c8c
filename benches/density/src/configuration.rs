//! containerd's configuration.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cri::{Handler, PAUSE, Plugin};
use e2e::{Release, base_config};

use crate::options::{Options, Through};
use crate::stack::Stack;

/// The configuration of a containerd in `folder` that runs `stack`. Writes CNI's as well.
pub fn of(folder: &Path, stack: &Stack, options: &Options) -> Result<String> {
    let containerd = options.containerd.join("containerd");
    let output = Command::new(&containerd).arg("--version").output().context("run containerd --version")?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    // `containerd github.com/containerd/containerd 2.1.9~ds1 2.1.9~ds1-1`
    let version = words.split(' ').nth(2).with_context(|| format!("{words:?} names no version"))?;
    let release = Release { version: version.to_owned(), bin: options.containerd.clone() };
    let cri = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"];
    if options.through == Through::Ctr {
        return Ok(base_config(folder, &release, &cri));
    }
    let network_plugins = options.cni.as_deref().context("--cni is missing: benches/run.sh gives it")?;
    let mut handler = if stack.runtime == "io.containerd.runc.v2" {
        let runc = release.program("runc");
        let mut handler = Handler::runc(&stack.name, stack.program.as_deref().unwrap_or(&runc));
        // Not where the runc of another containerd may keep the state of its pods.
        handler.options += &format!("Root = '{}/runc'\n", folder.display());
        handler
    } else {
        Handler::shim(&stack.name, &stack.runtime)
    };
    if !stack.annotations.is_empty() {
        handler.more = "pod_annotations = ['*']\ncontainer_annotations = ['*']\n".to_owned();
    }
    if stack.sandbox_api {
        ensure!(release.is_2(), "the Sandbox API is there since containerd 2.0; this is {version}");
        handler.more += "sandboxer = 'shim'\n";
    }
    let plugin = Plugin {
        folder,
        is_2: release.is_2(),
        network_plugins,
        pause: PAUSE,
        registry: None,
        handlers: &[handler],
    };
    plugin.write().context("write CNI's configuration")?;
    Ok(base_config(folder, &release, &[]) + &plugin.tables())
}
