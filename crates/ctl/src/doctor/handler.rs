//! containerd's configuration: whether pods can ask for this runtime.

use std::process::Command;

use toml::{Table, Value};

use super::daemon::Daemon;
use super::{Check, cgroups, networks};
use crate::program;

const NAME: &str = "RuntimeClass handler";
const RUNTIME: &str = "io.containerd.wamr.v1";
/// What to append, by the version of the configuration.
const SNIPPETS: [(i64, &str); 2] = [
    (2, include_str!("../../../../deploy/containerd/wamr-v2.toml")),
    (3, include_str!("../../../../deploy/containerd/wamr-v3.toml")),
];

/// Reads the configuration as containerd itself merges it.
pub fn examine(daemon: &Daemon) -> Vec<Check> {
    let file = daemon.outside(&daemon.configuration());
    let mut command = Command::new(daemon.outside(&daemon.program));
    // Without the file it runs by its defaults.
    if file.exists() {
        command.arg("--config").arg(&file);
    }
    let shown = daemon.configuration().display().to_string();
    let text = match program::ask(command.args(["config", "dump"])) {
        Ok(text) => text,
        Err(why) => return vec![Check::warning(NAME, why, format!("mend {shown}"))],
    };
    match text.parse::<Table>() {
        Ok(config) => {
            let mut checks = vec![judge(&config, &shown)];
            checks.extend(runtimes(&config).and_then(|runtimes| cgroups::agreement(runtimes, &shown)));
            checks.extend(networks::examine(&config, daemon));
            checks
        }
        Err(e) => {
            vec![Check::warning(NAME, format!("containerd's configuration: {e}"), format!("mend {shown}"))]
        }
    }
}

/// Whether a handler of the CRI plugin has our runtime.
fn judge(config: &Table, file: &str) -> Check {
    let Some(runtimes) = runtimes(config) else {
        return Check::ok(NAME, "containerd runs without the CRI plugin: none is needed for ctr and nerdctl");
    };
    let ours = |(_, runtime): &(&String, &Value)| {
        runtime.get("runtime_type").and_then(Value::as_str) == Some(RUNTIME)
    };
    let Some((name, runtime)) = runtimes.iter().find(ours) else {
        let names: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        return Check::problem(
            NAME,
            format!("{file} has no runtime of type {RUNTIME}, only {}", names.join(", ")),
            format!("append this to {file} and restart containerd:\n{}", snippet(config)),
        );
    };
    let annotations = runtime.get("pod_annotations").and_then(Value::as_array);
    let passed = annotations.is_some_and(|list| {
        list.iter()
            .filter_map(Value::as_str)
            .any(|pattern| pattern.starts_with("wamr.containerd.io/") || pattern == "*")
    });
    match passed {
        true => Check::ok(NAME, format!("{name:?} in {file}")),
        false => Check::warning(
            NAME,
            format!("{name:?} in {file} passes no annotation on: pods cannot set anything"),
            "add this to it and restart containerd:\npod_annotations = [\"wamr.containerd.io/*\"]",
        ),
    }
}

/// Those of the CRI plugin, whatever this containerd calls it.
fn runtimes(config: &Table) -> Option<&Table> {
    let plugins = config.get("plugins")?.as_table()?;
    plugins.values().find_map(|plugin| plugin.get("containerd")?.get("runtimes")?.as_table())
}

fn snippet(config: &Table) -> String {
    let version = config.get("version").and_then(Value::as_integer).unwrap_or(2);
    let (_, text) = SNIPPETS.iter().find(|(known, _)| *known == version).unwrap_or(&SNIPPETS[0]);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn check(text: &str) -> Check {
        judge(&text.parse().unwrap(), "/etc/containerd/config.toml")
    }

    #[test]
    fn without_a_handler_the_fix_is_what_has_to_be_appended() {
        for (version, plugin) in [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")] {
            let config = format!(
                "version = {version}\n[plugins.'{plugin}'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n"
            );
            let without = check(&config);
            assert_eq!(without.verdict, Verdict::Problem);
            let fix = without.fix.unwrap();
            let (_, snippet) = fix.split_once('\n').unwrap();
            // The fix, followed, is one.
            assert_eq!(check(&(config + snippet)).verdict, Verdict::Ok, "{snippet}");
        }
    }

    #[test]
    fn a_handler_that_passes_no_annotation_is_told_of() {
        let config = "[plugins.x.containerd.runtimes.w]\nruntime_type = 'io.containerd.wamr.v1'\n";
        assert_eq!(check(config).verdict, Verdict::Warning);
    }

    #[test]
    fn without_the_cri_plugin_no_handler_is_needed() {
        assert_eq!(check("version = 3\n[plugins.'io.containerd.gc.v1.scheduler']\n").verdict, Verdict::Ok);
    }
}
