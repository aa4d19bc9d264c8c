//! The one file kept per container: `<bundle>/wamr.json`, enough for `delete` to clean up without a server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What must be undone for a container, and who answers for it while the server lives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Rendezvous directory of the server.
    pub server: PathBuf,
    /// The container's cgroup, one directory per hierarchy.
    pub cgroup: Vec<PathBuf>,
    /// The cgroup of the guest that is run for the container's warm start, if it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warm: Vec<PathBuf>,
    /// Where a native container's root is mounted on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Another OCI runtime that made a native container, and under which id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<(PathBuf, String)>,
}

const NAME: &str = "wamr.json";

impl Record {
    /// Writes it into a bundle.
    ///
    /// # Errors
    /// Those of writing; a full disk, say. Nothing is left then.
    pub fn write(&self, bundle: &Path) -> io::Result<()> {
        let draft = bundle.join(".wamr.json");
        let written = fs::write(&draft, serde_json::to_vec(self)?);
        written.and_then(|()| fs::rename(&draft, bundle.join(NAME))).inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })
    }

    /// Reads it from a bundle; `None` if there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(bundle: &Path) -> io::Result<Option<Record>> {
        match fs::read(bundle.join(NAME)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Removes it from a bundle, if it is there.
    pub fn remove(bundle: &Path) {
        let _ = fs::remove_file(bundle.join(NAME));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_gives_back_what_was_written_into_it() {
        let bundle = std::env::temp_dir().join(format!("wamr-record-{}", std::process::id()));
        fs::create_dir_all(&bundle).unwrap();
        assert_eq!(Record::read(&bundle).unwrap(), None);
        let record = Record {
            server: "/run/x".into(),
            cgroup: vec!["/sys/fs/cgroup/memory/a".into()],
            ..Record::default()
        };
        record.write(&bundle).unwrap();
        assert_eq!(Record::read(&bundle).unwrap(), Some(record));
        fs::write(bundle.join(NAME), "{").unwrap();
        assert!(Record::read(&bundle).is_err());
        Record::remove(&bundle);
        assert_eq!(Record::read(&bundle).unwrap(), None);
        fs::remove_dir_all(&bundle).unwrap();
    }
}
