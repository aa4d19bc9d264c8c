//! The shim: whether containerd finds it, and whether it is this one.

use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{Access, access};
use shim::cli::PROGRAM;

use super::Check;
use super::daemon::Daemon;
use crate::program;

const NAME: &str = "shim";

/// Looks where containerd looks: along its `PATH`, then beside it.
pub fn examine(daemon: &Daemon) -> Check {
    let path = daemon.variable("PATH").cloned().unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(daemon.program.parent().map(Into::into)).collect();
    let places = folders.iter().map(|folder| daemon.outside(&folder.join(PROGRAM)));
    let runs = |place: &PathBuf| place.is_file() && access(place, Access::EXEC_OK).is_ok();
    let Some(place) = places.into_iter().find(runs) else {
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Check::problem(
            NAME,
            format!("no {PROGRAM} where containerd looks: {}", folders.join(", ")),
            format!("put {PROGRAM} into one of these folders, such as /usr/local/bin, with mode 755"),
        );
    };
    let shown = place.display();
    match program::ask(Command::new(&place).arg("-v")) {
        Err(why) => Check::problem(NAME, why, format!("replace {shown} by one of this release")),
        Ok(said) => judge(&said, &shown.to_string()),
    }
}

/// By the words of `-v`.
fn judge(said: &str, place: &str) -> Check {
    let after = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let Some(engine) = after("Engine:") else {
        return Check::problem(
            NAME,
            format!("{place} is another shim of the same name"),
            "remove it, or put this project's in front of it in containerd's PATH",
        );
    };
    let own = env!("CARGO_PKG_VERSION");
    match after("Version:") {
        Some(version) if version == own => Check::ok(NAME, format!("{place}, version {version}, {engine}")),
        other => Check::warning(
            NAME,
            format!("{place} has version {}, and this is {own}", other.unwrap_or("?")),
            "install shim, wamrctl and wamr-aotc of one release",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn this_shim_is_told_from_others_of_its_name() {
        let own = format!("x:\n  Version:  {}\n  Engine:   WAMR 2.4.3\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(judge(&own, "/a").verdict, Verdict::Ok);
        assert_eq!(judge("x:\n  Version:  9.9.9\n  Engine:   WAMR 2.4.3\n", "/a").verdict, Verdict::Warning);
        assert_eq!(judge("x:\n  Runtime: wamr\n  Version: 0.6.0\n", "/a").verdict, Verdict::Problem);
    }
}
