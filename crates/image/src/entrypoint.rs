//! From the first argument of a container's process to the file it names.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::{Error, Kind, Origin, Result, Tree};

/// Most `#` in a command that are tried as the border between file and export.
const BORDERS: usize = 8;

/// A container's command: the paths it may mean, in the order they are looked at.
///
/// `path#export` enters the module at that export instead of `_start`. A name with a `/` means one path; a bare
/// name is looked for in the working directory, then along `PATH`, then in `/`, so that an image of one file
/// needs no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrypoint {
    name: String,
    candidates: Vec<(PathBuf, Option<String>)>,
}

/// The file a command names.
#[derive(Debug)]
pub struct Found {
    /// Open for reading.
    pub file: File,
    /// Where it is inside the container.
    pub path: PathBuf,
    /// The export to enter at, if the command names one.
    pub export: Option<String>,
    /// Where its bytes live.
    pub origin: Origin,
}

impl Found {
    /// Whether it is a Linux program, by its first bytes. One that cannot be read is not.
    pub fn is_native(&self) -> bool {
        matches!(Kind::of(&self.file), Ok(Kind::Elf | Kind::Script))
    }
}

impl Entrypoint {
    /// Reads a command. `args0` is the first argument, `cwd` the absolute working directory, and `path` the value
    /// of the container's `PATH`.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub fn parse(args0: &str, cwd: &str, path: Option<&str>) -> Result<Entrypoint> {
        let bad = |why| Error::BadName { name: args0.to_owned(), why };
        if args0.is_empty() {
            return Err(bad("it is empty; set the image's ENTRYPOINT or the pod's command"));
        }
        if args0.contains('\0') || cwd.contains('\0') || path.is_some_and(|path| path.contains('\0')) {
            return Err(bad("it or its directory holds a NUL byte"));
        }
        let cwd = Path::new("/").join(cwd);
        // A file whose own name holds `#` wins over an export, the longest such name first.
        let whole = std::iter::once((args0, None));
        let split = args0.rmatch_indices('#').take(BORDERS).filter_map(|(at, _)| {
            let (file, export) = (args0.get(..at)?, args0.get(at + 1..)?);
            (!file.is_empty() && !export.is_empty()).then_some((file, Some(export)))
        });
        let mut candidates: Vec<(PathBuf, Option<String>)> = Vec::new();
        for (file, export) in whole.chain(split) {
            let mut add = |directory: &Path| {
                let candidate = (directory.join(file), export.map(str::to_owned));
                if !candidates.contains(&candidate) {
                    candidates.push(candidate);
                }
            };
            add(&cwd);
            if !file.contains('/') {
                // An empty entry means the working directory (POSIX 8.3), which `join` makes of it.
                path.unwrap_or_default().split(':').for_each(|directory| add(&cwd.join(directory)));
                add(Path::new("/"));
            }
        }
        Ok(Entrypoint { name: args0.to_owned(), candidates })
    }

    /// Opens the first path that is a regular file. What it holds is not looked at.
    ///
    /// # Errors
    /// [`Error::NoModule`] with the reason for each path that was looked at; [`Error::Io`] when this process is out of
    /// descriptors or memory.
    pub fn find(&self, tree: &Tree<'_>) -> Result<Found> {
        let mut tried = Vec::new();
        for (path, export) in &self.candidates {
            match tree.open(path) {
                Ok((file, origin)) => {
                    return Ok(Found { file, path: path.clone(), export: export.clone(), origin });
                }
                // That says nothing about the path.
                Err(why) if why.is_shortage() => return Err(why),
                Err(why) => tried.push(why),
            }
        }
        Err(Error::NoModule { name: self.name.clone(), tried })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    fn paths(args0: &str, cwd: &str, path: Option<&str>) -> Vec<(String, Option<String>)> {
        let entrypoint = Entrypoint::parse(args0, cwd, path).unwrap();
        entrypoint.candidates.into_iter().map(|(p, e)| (p.to_str().unwrap().to_owned(), e)).collect()
    }

    #[test]
    fn a_bare_name_is_looked_for_in_cwd_then_path_then_root() {
        let names: Vec<_> =
            paths("app", "/work", Some("/bin:/work::sub")).into_iter().map(|(p, _)| p).collect();
        assert_eq!(names, ["/work/app", "/bin/app", "/work/sub/app", "/app"]);
        assert_eq!(paths("app", "/", None), [("/app".to_owned(), None)]);
    }

    #[test]
    fn a_name_with_a_slash_means_one_path() {
        assert_eq!(paths("/x/app", "/work", Some("/bin")), [("/x/app".to_owned(), None)]);
        assert_eq!(paths("./app", "/work", Some("/bin")), [("/work/./app".to_owned(), None)]);
    }

    #[test]
    fn an_export_follows_a_hash_and_the_longest_file_name_is_tried_first() {
        let run = |s: &str| Some(s.to_owned());
        let expected =
            [("/a#b#run".to_owned(), None), ("/a#b".to_owned(), run("run")), ("/a".to_owned(), run("b#run"))];
        assert_eq!(paths("/a#b#run", "/", None), expected);
        assert_eq!(paths("/a#", "/", None), [("/a#".to_owned(), None)]);
    }

    #[test]
    fn a_command_that_cannot_name_a_file_is_refused() {
        assert!(matches!(Entrypoint::parse("", "/", None), Err(Error::BadName { .. })));
        assert!(matches!(Entrypoint::parse("a\0b", "/", None), Err(Error::BadName { .. })));
        assert!(Entrypoint::parse(&"#".repeat(100_000), "/", None).unwrap().candidates.len() <= BORDERS + 1);
    }

    #[test]
    fn the_file_found_comes_with_its_path_and_export() {
        let scratch = Scratch::new();
        scratch.file("bin/app.wasm", b"1").file("odd#name", b"2").directory("work/app.wasm");
        let root = scratch.detached();
        let tree = Tree::new(std::os::fd::AsFd::as_fd(&root), None, &[]).unwrap();
        let find = |name: &str| Entrypoint::parse(name, "/work", Some("/bin")).unwrap().find(&tree);

        let found = find("app.wasm#run").unwrap();
        assert_eq!(
            found.path,
            Path::new("/bin/app.wasm"),
            "a directory of that name does not end the search"
        );
        assert_eq!(found.export.as_deref(), Some("run"));
        let found = find("/odd#name").unwrap();
        assert_eq!((found.path.to_str(), found.export), (Some("/odd#name"), None));

        let words = find("nothing.wasm").unwrap_err().to_string();
        for path in ["/work/nothing.wasm", "/bin/nothing.wasm", "\"/nothing.wasm\""] {
            assert!(words.contains(path), "{words}");
        }
    }
}
