//! A cgroup for one short piece of work.

use cgroup::Cgroup;

/// Its processes are killed and it is removed when dropped.
#[derive(Debug)]
pub struct Emptied {
    pub cgroup: Cgroup,
    /// Whose it is, for the log.
    pub of: &'static str,
}

impl Drop for Emptied {
    fn drop(&mut self) {
        if let Err(e) = self.cgroup.kill().and_then(|()| self.cgroup.remove()) {
            log::warn!("remove the cgroup of {}: {e}", self.of);
        }
    }
}
