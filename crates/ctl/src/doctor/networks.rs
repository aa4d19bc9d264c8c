//! CNI: what gives pods their network. Only where containerd has the CRI plugin.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Check;
use super::daemon::Daemon;

const NAME: &str = "pod network";

/// These make rules of the host's firewall, by its own program.
const WANT_IPTABLES: [&str; 2] = ["portmap", "firewall"];

/// Programs and configuration, where containerd looks for them.
pub fn examine(config: &Table, daemon: &Daemon) -> Option<Check> {
    let (programs, configurations) = places(config)?;
    let seen = |path: &str| daemon.outside(Path::new(path));
    let has = |program: &str| programs.iter().any(|folder| seen(folder).join(program).is_file());
    let places = programs.join(", ");
    if !has("loopback") {
        return Some(Check::problem(NAME, format!("no CNI programs in {places}"), install(&programs)));
    }
    let Some(file) = first_network(&seen(&configurations)) else {
        return Some(Check::warning(
            NAME,
            format!("no network is configured in {configurations}: only pods with hostNetwork run"),
            "install the cluster's network, such as flannel or Calico, or put a .conflist there",
        ));
    };
    let shown = file.display();
    let wanted = match std::fs::read(&file).map_err(|e| e.to_string()).and_then(|text| programs_of(&text)) {
        Ok(wanted) => wanted,
        Err(why) => {
            return Some(Check::problem(
                NAME,
                format!("{shown}: {why}"),
                "mend it, or install the network anew",
            ));
        }
    };
    let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|program| !has(program)).collect();
    if !missing.is_empty() {
        let found = format!("{shown} needs {}, which {places} has not", missing.join(", "));
        return Some(Check::problem(NAME, found, install(&programs)));
    }
    let path = daemon.variable("PATH").cloned().unwrap_or_default();
    let rules = wanted.iter().any(|program| WANT_IPTABLES.contains(&program.as_str()));
    if rules && !std::env::split_paths(&path).any(|folder| daemon.outside(&folder.join("iptables")).exists())
    {
        let found = format!("{shown} needs iptables, which is not in containerd's PATH");
        return Some(Check::problem(NAME, found, "install it (Debian: apt-get install iptables)"));
    }
    Some(Check::ok(NAME, format!("{shown}, with {} in {places}", wanted.join(", "))))
}

/// The configuration that counts: the first by name.
fn first_network(folder: &Path) -> Option<PathBuf> {
    let kinds = ["conf", "conflist", "json"];
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.filter(|path| kinds.iter().any(|kind| path.extension().is_some_and(|own| own == *kind))).min()
}

/// Programs that a network configuration names (CNI specification 1.0, section 1): one, or a list; each may name another for
/// its addresses.
fn programs_of(text: &[u8]) -> Result<Vec<String>, String> {
    let network: serde_json::Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let list = network.get("plugins").and_then(serde_json::Value::as_array);
    let plugins: Vec<&serde_json::Value> = list.map_or_else(|| vec![&network], |list| list.iter().collect());
    let kind = |value: &serde_json::Value| value.get("type")?.as_str().map(str::to_owned);
    let mut names: Vec<String> = plugins
        .iter()
        .flat_map(|plugin| [kind(plugin), plugin.get("ipam").and_then(kind)])
        .flatten()
        .collect();
    names.dedup();
    match names.is_empty() {
        true => Err("it names no CNI program".to_owned()),
        false => Ok(names),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_s_programs_are_all_it_names() {
        let list = br#"{"plugins":[{"type":"bridge","ipam":{"type":"host-local"}},{"type":"portmap"}]}"#;
        assert_eq!(programs_of(list).unwrap(), ["bridge", "host-local", "portmap"]);
        assert_eq!(programs_of(br#"{"type":"flannel"}"#).unwrap(), ["flannel"]);
        for wrong in ["", "{}", "[]", "{\"plugins\":[]}", "{\"plugins\":[7]}"] {
            assert!(programs_of(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

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
