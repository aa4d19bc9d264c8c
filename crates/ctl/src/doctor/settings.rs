//! The shim's own settings, and the servers that run.

use std::path::Path;

use shim::config::{Config, PATH};

use super::Check;
use crate::servers;

/// One line each.
pub fn examine() -> Vec<Check> {
    let file = Path::new(PATH);
    let mut checks = vec![match Config::load(file, None) {
        Ok(_) if file.exists() => Check::ok("settings", PATH),
        Ok(_) => Check::ok("settings", format!("no {PATH}: the defaults hold")),
        Err(e) => Check::problem(
            "settings",
            e.to_string(),
            format!("mend {PATH}: no container is created until then"),
        ),
    }];
    checks.extend(running());
    checks
}

fn running() -> Vec<Check> {
    let name = "servers";
    let heard = match servers::ask_all() {
        Ok(heard) => heard,
        Err(why) => return vec![Check::warning(name, why, "run wamrctl as root")],
    };
    let containers: usize = heard.reports.iter().map(|report| report.containers.len()).sum();
    let mut found = format!("{} with {containers} containers", heard.reports.len());
    if !heard.dead.is_empty() {
        found += &format!(
            "; of {} that ended, the directory is left for the next start to remove",
            heard.dead.len()
        );
    }
    let mut checks = vec![Check::ok(name, found)];
    checks.extend(heard.faults.into_iter().map(|fault| {
        Check::warning(name, fault, "end its containers, or kill that server: containerd then cleans up")
    }));
    checks
}
