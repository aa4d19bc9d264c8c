//! `wamrctl doctor`: what a node needs, whether it has it, and what to do if not.
//!
//! Looks and tries out, and leaves everything as it is.

mod cgroups;
mod compiler;
mod daemon;
mod handler;
mod kernel;
mod networks;
mod settings;
mod shim_program;

use serde::Serialize;

use crate::command_line::Doctor;
use crate::containerd::Containerd;
use crate::output::{self, Outcome, print_json, printable};

use daemon::Daemon;

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it, unless all is well.
    pub fix: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Containers run; something could be better, or cannot be told.
    Warning,
    /// Containers will not run, or not as asked.
    Problem,
}

impl Check {
    /// All is well.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    /// Could be better.
    pub fn warning(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Warning, found: found.into(), fix: Some(fix.into()) }
    }

    /// Has to be mended.
    pub fn problem(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Problem, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything. Not well if there is a problem; warnings are none.
///
/// # Errors
/// When the result cannot be written.
pub fn run(asked: &Doctor, json: bool) -> Outcome {
    let checks = examine(asked);
    if json {
        print_json(&checks)?;
    } else {
        output::print(&lines(&checks))?;
    }
    Ok(checks.iter().all(|check| check.verdict != Verdict::Problem))
}

fn examine(asked: &Doctor) -> Vec<Check> {
    let mut checks = Vec::new();
    if !rustix::process::geteuid().is_root() {
        checks.push(Check::problem(
            "user",
            "this is not root",
            "run wamrctl doctor as root: little can be seen",
        ));
    }
    checks.extend(kernel::examine());
    checks.extend(cgroups::examine());
    let address = asked.containerd.socket();
    let connection = Containerd::connect(&address);
    checks.extend(daemon::examine(connection.as_ref()));
    if connection.is_ok() {
        let daemon = Daemon::find(&address);
        match &daemon {
            Ok(daemon) => {
                checks.push(shim_program::examine(daemon));
                checks.push(daemon.descriptors());
                checks.extend(handler::examine(daemon));
            }
            Err(why) => checks.push(Check::warning(
                "containerd's process",
                why.clone(),
                "run wamrctl where containerd's process can be seen, as root: its PATH and configuration are not checked",
            )),
        }
    }
    checks.extend(settings::examine());
    checks.extend(compiler::examine());
    checks
}

fn lines(checks: &[Check]) -> Vec<String> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for Check { name, verdict, found, fix } in checks {
        let mark = match verdict {
            Verdict::Ok => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
        };
        lines.push(format!("{mark}  {name:width$}  {}", printable(found)));
        for (at, line) in fix.iter().flat_map(|fix| fix.lines()).enumerate() {
            let head = if at == 0 { "fix: " } else { "     " };
            lines.push(format!("{:9}{head}{}", "", printable(line)));
        }
    }
    let count = |verdict, name| {
        let number = checks.iter().filter(|check| check.verdict == verdict).count();
        format!("{number} {name}{}", if number == 1 { "" } else { "s" })
    };
    lines.push(format!("{}, {}", count(Verdict::Problem, "problem"), count(Verdict::Warning, "warning")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_stands_below_what_is_wrong() {
        let checks = [Check::ok("a", "fine"), Check::problem("bcd", "broken", "do this\nand that")];
        let expected = [
            "ok       a    fine",
            "PROBLEM  bcd  broken",
            "         fix: do this",
            "              and that",
            "1 problem, 0 warnings",
        ];
        assert_eq!(lines(&checks), expected);
    }
}
