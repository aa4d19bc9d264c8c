//! The controllers this crate has a use for.

use std::fmt;

/// A cgroup controller, by its kernel name. v1's `blkio` is v2's `io`; `cpuacct` and `freezer` exist in v1
/// only, where v2 has them built into every group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Controller {
    /// `freezer`: stops and resumes all processes. In front for a reason, see [`Controller::ALL`].
    Freezer,
    /// `memory`.
    Memory,
    /// `cpu`: weight and bandwidth.
    Cpu,
    /// `cpuacct`: processor time used.
    Cpuacct,
    /// `cpuset`: placement on processors and memory nodes.
    Cpuset,
    /// `pids`: number of processes and threads.
    Pids,
    /// `blkio` (v1) or `io` (v2).
    BlockIo,
    /// `hugetlb`: huge pages.
    Hugetlb,
}

impl Controller {
    /// Every controller, in the order in which a process enters v1 hierarchies. The freezer's comes first:
    /// whatever has entered any hierarchy is then in that one too, so that counting, freezing and killing can
    /// go by it alone.
    pub const ALL: [Self; 8] = [
        Self::Freezer,
        Self::Memory,
        Self::Cpu,
        Self::Cpuacct,
        Self::Cpuset,
        Self::Pids,
        Self::BlockIo,
        Self::Hugetlb,
    ];

    /// From the name in a v1 mount's options or a v2 `cgroup.controllers`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == "io" {
            return Some(Self::BlockIo);
        }
        Self::ALL.into_iter().find(|controller| controller.v1_name() == name)
    }

    /// The name in v1 mount options.
    #[must_use]
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Freezer => "freezer",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Pids => "pids",
            Self::BlockIo => "blkio",
            Self::Hugetlb => "hugetlb",
        }
    }

    /// The name in `cgroup.controllers` and `cgroup.subtree_control`.
    #[must_use]
    pub fn v2_name(self) -> &'static str {
        match self {
            Self::BlockIo => "io",
            other => other.v1_name(),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.v1_name())
    }
}

/// A set of controllers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Controllers(u8);

impl Controllers {
    /// The set of those named; others are left out. Names are separated by commas or white space.
    #[must_use]
    pub fn listed(names: &str) -> Self {
        names.split(|c: char| c == ',' || c.is_whitespace()).filter_map(Controller::named).collect()
    }

    /// Whether the controller is in the set.
    #[must_use]
    pub fn has(self, controller: Controller) -> bool {
        self.0 & Self::bit(controller) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in this set but not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members, in the order of [`Controller::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL.into_iter().filter(move |controller| self.has(*controller))
    }

    const fn bit(controller: Controller) -> u8 {
        1 << controller as u8
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<I: IntoIterator<Item = Controller>>(controllers: I) -> Self {
        Self(controllers.into_iter().fold(0, |set, controller| set | Self::bit(controller)))
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
