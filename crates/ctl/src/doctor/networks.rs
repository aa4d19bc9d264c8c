//! CNI: what gives pods their network. Only where containerd has the CRI plugin.

use std::path::Path;

use toml::{Table, Value};

use super::Check;
use super::daemon::Daemon;

const NAME: &str = "pod network";

/// Programs and configuration, where containerd looks for them.
pub fn examine(config: &Table, daemon: &Daemon) -> Option<Check> {
    let (programs, configurations) = places(config)?;
    let seen = |path: &str| daemon.outside(Path::new(path));
    Some(match programs.iter().any(|folder| seen(folder).join("loopback").is_file()) {
        false => {
            Check::problem(NAME, format!("no CNI programs in {}", programs.join(", ")), install(&programs))
        }
        true if !has_network(&seen(&configurations)) => Check::warning(
            NAME,
            format!("no network is configured in {configurations}: only pods with hostNetwork run"),
            "install the cluster's network, such as flannel or Calico, or put a .conflist there",
        ),
        true => {
            Check::ok(NAME, format!("CNI programs in {}, networks in {configurations}", programs.join(", ")))
        }
    })
}

/// Debian has its own folder for them.
fn install(programs: &[String]) -> String {
    const DEBIAN: &str = "/usr/lib/cni";
    let package = "install them there (Debian: apt-get install containernetworking-plugins";
    match programs.first() {
        Some(folder) if !programs.iter().any(|known| known == DEBIAN) => {
            format!("{package}; mkdir -p {folder} && ln -s {DEBIAN}/* {folder}/)")
        }
        _ => format!("{package})"),
    }
}

/// Folders of programs, and that of configurations. containerd 2 has a list of the former.
fn places(config: &Table) -> Option<(Vec<String>, String)> {
    let plugins = config.get("plugins")?.as_table()?;
    let cni = plugins.values().find_map(|plugin| {
        plugin.get("containerd")?.get("runtimes")?;
        plugin.get("cni")
    })?;
    let text =
        |key: &str| cni.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    // The single one is older, and wins if it is set.
    let mut programs: Vec<String> = text("bin_dir").into_iter().collect();
    if programs.is_empty() {
        let list = cni.get("bin_dirs").and_then(Value::as_array).into_iter().flatten();
        programs = list.filter_map(|entry| entry.as_str().map(str::to_owned)).collect();
    }
    if programs.is_empty() {
        programs.push("/opt/cni/bin".to_owned());
    }
    Some((programs, text("conf_dir").unwrap_or_else(|| "/etc/cni/net.d".to_owned())))
}

fn has_network(folder: &Path) -> bool {
    let kinds = ["conf", "conflist", "json"];
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| kinds.iter().any(|kind| path.extension().is_some_and(|e| e == *kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_those_of_the_cri_plugin() {
        let config = |cni: &str| {
            format!("[plugins.x.containerd.runtimes.runc]\n[plugins.x.cni]\n{cni}\n")
                .parse::<Table>()
                .unwrap()
        };
        let one = places(&config("bin_dir = '/a'\nconf_dir = '/c'")).unwrap();
        assert_eq!(one, (vec!["/a".to_owned()], "/c".to_owned()));
        let several = places(&config("bin_dir = ''\nbin_dirs = ['/a', '/b']")).unwrap();
        assert_eq!(several.0, ["/a", "/b"]);
        assert_eq!(places(&"[plugins.x.y]".parse().unwrap()), None);
    }
}
