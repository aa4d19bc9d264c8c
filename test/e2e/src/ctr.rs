//! containerd's own command line tool, as a person uses it.

use std::process::Command;

use crate::{Bed, Image, Namespace, Output, RUNTIME, run};

/// ctr of the bed's release, in one namespace.
#[derive(Debug)]
pub struct Ctr<'n> {
    namespace: &'n Namespace,
    runtime: &'n str,
}

impl<'n> Ctr<'n> {
    pub(crate) fn new(namespace: &'n Namespace) -> Ctr<'n> {
        Ctr { namespace, runtime: RUNTIME }
    }

    /// Another runtime than ours for [`Ctr::container`].
    #[must_use]
    pub fn runtime(mut self, name: &'n str) -> Ctr<'n> {
        self.runtime = name;
        self
    }

    /// Any command.
    pub fn run(&self, args: &[&str]) -> Output {
        run(self.command().args(args), b"")
    }

    /// `ctr run OPTIONS IMAGE ID ARGS`, in a cgroup of the namespace.
    pub fn container(&self, options: &[&str], image: &Image, id: &str, args: &[&str]) -> Output {
        let bed = &self.namespace.bed;
        let cgroup = format!("{}/{id}", bed.cgroups.add(&self.namespace.name));
        let mut command = self.command();
        command.args(["run", "--runtime", self.runtime, "--cgroup", &cgroup, "--fifo-dir"]);
        command.arg(bed.fifos().join(&self.namespace.name));
        command.args(options).args([image.name(), id]).args(args);
        run(&mut command, b"")
    }

    fn command(&self) -> Command {
        self.namespace.bed.ctr(&self.namespace.name)
    }
}

impl Bed {
    /// Has containerd remove what nothing refers to any more, such as snapshots of containers that are gone. It does so
    /// on its own too, at some later time.
    pub fn collect_garbage(&self, namespace: &str) {
        for arguments in [["create", "--id", "now"], ["delete", "--sync", "now"]] {
            run(self.ctr(namespace).arg("leases").args(arguments), b"").succeeded();
        }
    }

    fn ctr(&self, namespace: &str) -> Command {
        let mut command = Command::new(self.release.program("ctr"));
        command.arg("--address").arg(self.socket()).args(["--namespace", namespace]);
        command
    }
}
