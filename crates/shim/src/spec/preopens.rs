//! Which directories a guest gets under which names.

use super::Plan;

/// Preopened directories of a container, in order: (name the guest sees, path in the container).
///
/// WASI preview 1 knows neither a root nor a working directory, only names of preopened directories. wasi-libc drops
/// leading `/` from paths, and `/` and `./` from those names, so that it can not tell `/x` from `x`; it takes the longest
/// name that is a leading part of the path, and among equals the one preopened last
/// (`__wasilibc_find_abspath` in `libc-bottom-half/sources/preopens.c`).
///
/// With the working directory `/` one directory is right for all paths. With any other one, `.` is preopened last, so
/// that what is found nowhere else is relative to it, and each directory below `/` gets a preopen, so that absolute
/// paths are found. What remains: a relative path that starts with the name of a top-level directory means that
/// directory (`./etc` means the other one, except in guests that link `chdir`), and a *file* directly in `/` can not be
/// named.
///
/// Go's library, unlike wasi-libc, keeps `/` and takes its working directory from the variable `PWD`.
pub fn preopens(plan: &Plan, top_level_directories: &[String]) -> Vec<(String, String)> {
    let root = ("/".to_owned(), "/".to_owned());
    let cwd = plan.process.cwd.as_str();
    if cwd.split('/').all(|part| part.is_empty() || part == ".") {
        return vec![root];
    }
    let below = top_level_directories.iter().map(|directory| (directory.clone(), directory.clone()));
    std::iter::once(root).chain(below).chain([(".".to_owned(), cwd.to_owned())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cwd: &str, top: &[&str]) -> Vec<(String, String)> {
        let mut plan = Plan::default();
        plan.process.cwd = cwd.into();
        preopens(&plan, &top.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    /// wasi-libc's lookup, told from its description.
    fn guest_opens(preopens: &[(String, String)], path: &str) -> String {
        let path = path.trim_start_matches('/');
        let mut best: Option<(&str, &str)> = None;
        for (guest, host) in preopens.iter().rev() {
            let name = guest.trim_start_matches(['/', '.']);
            let matches = name.is_empty() || path == name || path.starts_with(&format!("{name}/"));
            if matches && best.is_none_or(|(longest, _)| name.len() > longest.len()) {
                best = Some((name, host));
            }
        }
        let (name, host) = best.unwrap();
        format!("{}/{}", host, path[name.len()..].trim_start_matches('/'))
    }

    #[test]
    fn the_root_as_working_directory_needs_one_preopen() {
        for cwd in ["/", "//", "/."] {
            assert_eq!(of(cwd, &["/etc"]), [("/".into(), "/".into())]);
        }
    }

    #[test]
    fn with_another_working_directory_relative_and_absolute_paths_are_both_found() {
        let all = of("/work/dir", &["/data", "/etc", "/work"]);
        assert_eq!(all.first().unwrap().0, "/");
        assert_eq!(all.last().unwrap(), &(".".to_owned(), "/work/dir".to_owned()));
        for (path, opened) in [
            ("file", "/work/dir/file"),
            ("./file", "/work/dir/./file"),
            ("sub/file", "/work/dir/sub/file"),
            ("/etc/hosts", "/etc/hosts"),
            ("/work/dir/file", "/work/dir/file"),
            ("/data", "/data/"),
            ("database", "/work/dir/database"),
            // The documented gap, and the way around it.
            ("etc/x", "/etc/x"),
            ("./etc/x", "/work/dir/./etc/x"),
        ] {
            assert_eq!(guest_opens(&all, path), opened, "{path}");
        }
    }
}
