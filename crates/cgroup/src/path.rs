//! `cgroupsPath`: where a container's cgroup is to be.

use std::path::PathBuf;

use crate::systemd::Unit;
use crate::{Error, Host, Result};

/// A validated `cgroupsPath`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// A path from the root of each hierarchy, without a leading slash.
    ///
    /// A relative `cgroupsPath` is taken from the root as well. The specification leaves the place to the
    /// runtime; one relative to the server would depend on who happened to start the server.
    Cgroupfs(PathBuf),
    /// A unit of systemd: `slice:prefix:name`.
    Systemd(Unit),
}

impl Path {
    /// Parses `cgroupsPath`. Three parts with colons and no slash are systemd's form, as containerd writes
    /// it.
    ///
    /// # Errors
    /// [`Error::Path`] if it is empty or the root, or has a `..`, a control character or an impossible name.
    pub fn parse(cgroups_path: &str) -> Result<Self> {
        let wrong = |reason| Error::Path { path: cgroups_path.to_owned(), reason };
        if cgroups_path.chars().any(char::is_control) {
            return Err(wrong("it must not contain control characters"));
        }
        if let [slice, prefix, name] = cgroups_path.split(':').collect::<Vec<_>>().as_slice()
            && !cgroups_path.contains('/')
        {
            return Unit::new(slice, prefix, name).map(Self::Systemd).map_err(wrong);
        }
        let mut relative = PathBuf::new();
        for name in cgroups_path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            if name == ".." {
                return Err(wrong("it must not contain `..`"));
            }
            relative.push(name);
        }
        if relative.as_os_str().is_empty() {
            return Err(wrong("it must name a cgroup below the root"));
        }
        Ok(Self::Cgroupfs(relative))
    }

    /// Parses the cgroup that is to be the parent of a pod's, as Kubernetes names it: a path, or the name of a slice
    /// of systemd, which stands for the path of all slices it is in.
    ///
    /// # Errors
    /// As [`Path::parse`].
    pub fn parent(cgroup_parent: &str) -> Result<Self> {
        if !cgroup_parent.ends_with(".slice") || cgroup_parent.contains('/') {
            return Self::parse(cgroup_parent);
        }
        let wrong = |reason| Error::Path { path: cgroup_parent.to_owned(), reason };
        let unit = Unit::new(cgroup_parent, "pod", "any").map_err(wrong)?;
        Ok(Self::Cgroupfs(unit.slice_directory()))
    }

    /// The unit that systemd is to make of the cgroup. Where systemd does not run the host, nobody else makes
    /// units, and plain directories of their names are right.
    pub(crate) fn unit(&self, host: &Host) -> Option<&Unit> {
        match self {
            Self::Systemd(unit) if host.has_systemd() => Some(unit),
            _ => None,
        }
    }

    /// The directory below each hierarchy's root.
    pub(crate) fn relative(&self) -> PathBuf {
        match self {
            Self::Cgroupfs(relative) => relative.clone(),
            Self::Systemd(unit) => unit.directory(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_of_a_pod_may_be_a_slice_in_slices() {
        let slice = Path::parent("kubepods-burstable-pod1.slice").unwrap();
        let expected = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
        assert_eq!(slice, Path::Cgroupfs(expected.into()));
        assert_eq!(Path::parent("/kubepods/pod1").unwrap(), Path::Cgroupfs("kubepods/pod1".into()));
        assert!(Path::parent("").is_err());
    }

    #[test]
    fn paths_are_taken_from_the_root_of_the_hierarchy() {
        for text in
            ["/kubepods/burstable/pod1/c1", "kubepods/burstable/pod1/c1", "//kubepods/./burstable/pod1//c1/"]
        {
            assert_eq!(
                Path::parse(text).unwrap(),
                Path::Cgroupfs("kubepods/burstable/pod1/c1".into()),
                "{text}"
            );
        }
        assert_eq!(Path::parse("/a/b:c:d").unwrap(), Path::Cgroupfs("a/b:c:d".into()));
    }

    #[test]
    fn systemd_paths_are_recognised_by_their_form() {
        let path = Path::parse("kubepods-burstable-pod1.slice:cri-containerd:c1").unwrap();
        assert!(matches!(path, Path::Systemd(_)));
        let expected =
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-c1.scope";
        assert_eq!(path.relative(), PathBuf::from(expected));
    }

    #[test]
    fn what_could_leave_the_hierarchy_or_names_nothing_is_refused() {
        for text in
            ["", "/", ".", "//", "/a/../b", "..", "a\0b", "/a\nb", "a.slice:p:", "a:p:c", "a--b.slice:p:c"]
        {
            let error = Path::parse(text).unwrap_err();
            assert!(matches!(error, Error::Path { .. }), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_path_is_a_unit_only_where_systemd_runs_the_host() {
        let path = Path::parse("a.slice:cri-containerd:c1").unwrap();
        assert!(path.unit(&Host::at([], Some("/nonexistent".into())).unwrap()).is_none());
        let host = Host::new(Vec::new(), Some("/nonexistent".into()), true).unwrap();
        assert!(path.unit(&host).is_some());
        assert!(Path::parse("/a/c1").unwrap().unit(&host).is_none());
    }
}
