//! systemd's names for cgroups (`systemd.slice(5)`, `systemd.scope(5)`), and below them its driver: containers
//! whose `cgroupsPath` is a unit get a transient scope, asked for over D-Bus.

mod bus;
mod message;
mod scope;

use std::fmt;
use std::path::{Path, PathBuf};

/// A scope in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    slice: String,
    prefix: String,
    name: String,
}

impl Unit {
    /// An empty slice is `system.slice`; an empty prefix adds none.
    pub(crate) fn new(slice: &str, prefix: &str, name: &str) -> Result<Self, &'static str> {
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let Some(stem) = slice.strip_suffix(".slice") else {
            return Err("the part before the first colon must be a slice, like `kubepods.slice`");
        };
        // Of the root slice `-.slice` alone a dash may be the first character.
        if stem != "-" && stem.split('-').any(str::is_empty) {
            return Err("a slice's name must not have an empty part between dashes");
        }
        if name.is_empty() {
            return Err("the part after the last colon must be the container's name");
        }
        Ok(Self { slice: slice.to_owned(), prefix: prefix.to_owned(), name: name.to_owned() })
    }

    /// The unit whose directory this is, if it is one's: a scope in a slice that lies where its name says.
    pub(crate) fn of_directory(relative: &Path) -> Option<Self> {
        let name = relative.file_name()?.to_str()?.strip_suffix(".scope")?;
        let slice = match relative.parent()?.file_name() {
            Some(slice) => slice.to_str()?,
            None => "-.slice",
        };
        Self::new(slice, "", name).ok().filter(|unit| unit.directory() == relative)
    }

    /// The slice, like `kubepods-burstable.slice`.
    #[must_use]
    pub fn slice(&self) -> &str {
        &self.slice
    }

    /// The scope, like `cri-containerd-c1.scope`.
    #[must_use]
    pub fn scope(&self) -> String {
        if self.prefix.is_empty() {
            format!("{}.scope", self.name)
        } else {
            format!("{}-{}.scope", self.prefix, self.name)
        }
    }

    /// The directory of the slice: each dash is a level, `a-b.slice` lies in `a.slice`. Empty for the root
    /// slice.
    #[must_use]
    pub fn slice_directory(&self) -> PathBuf {
        let stem = self.slice.strip_suffix(".slice").unwrap_or(&self.slice);
        if stem == "-" {
            return PathBuf::new();
        }
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        ends.filter_map(|end| stem.get(..end)).map(|part| format!("{part}.slice")).collect()
    }

    /// The directory of the scope.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.slice_directory().join(self.scope())
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.slice, self.prefix, self.name)
    }
}

/// Whether systemd is this host's init, `sd_booted(3)`.
pub(crate) fn runs_host() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_in_a_slice_are_levels() {
        let directory = |slice| Unit::new(slice, "p", "c").unwrap().slice_directory();
        assert_eq!(directory("a.slice"), PathBuf::from("a.slice"));
        assert_eq!(directory("a-b-c.slice"), PathBuf::from("a.slice/a-b.slice/a-b-c.slice"));
        assert_eq!(directory("-.slice"), PathBuf::new());
        assert_eq!(directory(""), PathBuf::from("system.slice"));
    }

    #[test]
    fn a_directory_is_a_units_only_where_the_unit_would_have_it() {
        for unit in [Unit::new("a-b.slice", "p", "c"), Unit::new("-.slice", "", "c")] {
            let unit = unit.unwrap();
            let found = Unit::of_directory(&unit.directory()).unwrap();
            assert_eq!((found.scope(), found.slice()), (unit.scope(), unit.slice()));
        }
        for other in ["a-b.slice/c.scope", "a.slice/c", "pod/c.scope", "a.slice/a-b.slice/x/c.scope"] {
            assert_eq!(Unit::of_directory(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_scope_has_its_prefix_only_if_there_is_one() {
        assert_eq!(Unit::new("a.slice", "docker", "c").unwrap().scope(), "docker-c.scope");
        assert_eq!(Unit::new("a.slice", "", "c").unwrap().scope(), "c.scope");
    }
}
