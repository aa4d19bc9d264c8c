//! A network namespace for one bed: addresses, bridges and ports of its own.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, mounted on a file. Ends with that mount, which `test/bed/end.sh` takes off.
#[derive(Debug)]
pub struct Network {
    file: PathBuf,
}

impl Network {
    /// Makes one that holds its loopback interface and nothing else.
    pub fn new(file: &Path) -> Network {
        fs::write(file, "").expect("make the file of a network namespace");
        let mut command = Command::new("unshare");
        command.arg(format!("--net={}", file.display())).args(["ip", "link", "set", "lo", "up"]);
        crate::run(&mut command, b"").succeeded();
        Network { file: file.to_owned() }
    }

    /// A namespace that somebody else made.
    pub fn at(file: &Path) -> Network {
        Network { file: file.to_owned() }
    }

    /// The file it is mounted on.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A program to be run inside. Not by `ip netns exec`, which mounts another /sys and so hides the cgroups.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.file.display())).arg(program);
        command
    }

    /// Does something on a thread inside. A socket made there stays there, whoever uses it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(&self.file).expect("open a network namespace");
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("enter a network namespace");
                work()
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
