//! Configuration of the cluster's components, written into its folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e::{Release, run, test_folder};

/// The pause image, which containerd wants to have even if no process of it runs.
pub(crate) const PAUSE: &str = "e2e.local/pause:1";

/// Fills `etc` of a cluster's folder. `name` is the cluster's cgroup.
pub(crate) fn write(folder: &Path, name: &str, release: &Release, cni: &Path) {
    let etc = folder.join("etc");
    fs::create_dir_all(etc.join("cni")).expect("make the folder of configuration");
    let place = folder.display().to_string();
    for entry in fs::read_dir(test_folder().join("kubernetes/etc")).expect("list the configuration") {
        let path = entry.expect("list the configuration").path();
        let text = fs::read_to_string(&path).expect("read configuration");
        let text = text.replace("@FOLDER@", &place).replace("@NAME@", name);
        fs::write(etc.join(path.file_name().expect("it is a file")), text).expect("write configuration");
    }
    fs::rename(etc.join("cni.conflist"), etc.join("cni/pods.conflist")).expect("move CNI's configuration");
    fs::write(etc.join("resolv.conf"), "nameserver 10.99.0.1\n").expect("write resolv.conf");
    let mut key = Command::new("openssl");
    key.args(["genrsa", "-out"]).arg(etc.join("accounts.key")).arg("2048");
    run(&mut key, b"").succeeded();
    let config = containerd(folder, release, cni);
    fs::write(etc.join("containerd.toml"), config).expect("write containerd's configuration");
}

/// containerd's, ending with what `deploy/containerd` tells people to append.
fn containerd(folder: &Path, release: &Release, cni: &Path) -> String {
    let deploy = test_folder().parent().expect("test/ lies in the checkout").join("deploy/containerd");
    let (version, runtime, pause, snippet) = if release.is_2() {
        let image = format!("[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = \"{PAUSE}\"\n");
        (3, "plugins.'io.containerd.cri.v1.runtime'", image, "wamr-v3.toml")
    } else {
        let image = format!("sandbox_image = \"{PAUSE}\"\n");
        (2, "plugins.\"io.containerd.grpc.v1.cri\"", image, "wamr-v2.toml")
    };
    let snippet = fs::read_to_string(deploy.join(snippet)).expect("read deploy/containerd");
    let place = folder.display();
    let (cni, etc) = (cni.display(), folder.join("etc/cni"));
    let etc = etc.display();
    // A table of the images' plugin may not come between the runtime's table and its keys.
    let (within, after) = if release.is_2() { (String::new(), pause) } else { (pause, String::new()) };
    format!(
        "version = {version}\nroot = \"{place}/containerd\"\nstate = \"/run/containerd\"\n\
         [{runtime}]\nrestrict_oom_score_adj = true\n{within}\
         [{runtime}.cni]\nbin_dir = \"{cni}\"\nconf_dir = \"{etc}\"\n\
         [{runtime}.containerd]\ndefault_runtime_name = \"runc\"\n\
         [{runtime}.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\
         {after}\n{snippet}"
    )
}
