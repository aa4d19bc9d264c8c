//! The executable that helpers run, where no container can write to it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// This executable, seen through a read-only mount that is attached nowhere.
///
/// For a moment a container holds a process that still is the helper: `/proc/<pid>/exe`, or an image whose program
/// is `#!/proc/self/exe`, would let its root overwrite the host's file (CVE-2019-5736). Through this mount that
/// fails with `EROFS`, whatever capabilities there are, and nobody can remount what is in no mount table.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// The running executable, also when its file has been replaced meanwhile.
    ///
    /// # Errors
    /// [`Error::Helper`].
    pub fn of_this_process() -> Result<Program> {
        Program::at(Path::new("/proc/self/exe"))
    }

    /// The executable at `path`.
    ///
    /// # Errors
    /// [`Error::Helper`].
    pub fn at(path: &Path) -> Result<Program> {
        let doing = "protect the shim's executable from containers";
        let options = jail::parse_options(&["bind".to_owned(), "ro".to_owned()]);
        let mount = options.and_then(|options| jail::bind(path, &options));
        let mount = mount.map_err(|e| Error::Helper { doing, source: std::io::Error::other(e) })?;
        Ok(Program(mount.fd))
    }

    /// Its path while this process lives; a child resolves it too.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}
