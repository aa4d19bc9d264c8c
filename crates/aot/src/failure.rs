//! Modules that cannot be compiled: tried once, then left alone until somebody removes the record.

use std::io::Write;

use rustix::fs::renameat;

use crate::directory::Directory;
use crate::entry::{FAILED, file_name};
use crate::{Cache, Error, Key, Result};

impl Cache {
    /// Why there is no code for this key, if that was tried.
    #[must_use]
    pub fn failure(&self, key: &Key) -> Option<String> {
        let text = self.directory().text(&file_name(key.name(), FAILED))?;
        let (said, reason) = text.split_once("\n\n")?;
        (said == key.text().trim_end()).then(|| reason.trim_end().to_owned())
    }

    /// Remembers that a module cannot be compiled, and why.
    ///
    /// # Errors
    /// [`Error::Io`]; it is then tried again.
    pub fn remember_failure(&self, key: &Key, reason: &str) -> Result<()> {
        let directory: &Directory = self.directory();
        let name = file_name(key.name(), FAILED);
        let reason: String = reason.chars().take(2000).collect();
        let draft = self.draft()?;
        let failed = |e: std::io::Error| Error::io("write", &directory.path.join(&name), e);
        let text = format!("{}\n{}\n", key.text(), reason.trim());
        draft.file().write_all(text.as_bytes()).map_err(failed)?;
        renameat(directory, draft.name(), directory, name.as_str()).map_err(|e| failed(e.into()))
    }
}
