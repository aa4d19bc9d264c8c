//! containerd: whether it answers, and the process that it is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Check;
use crate::containerd::Containerd;

/// A server holds about ten descriptors per container.
const FEW_DESCRIPTORS: u64 = 4096;

/// Whether it answers, which version it is, and how its parts fare.
pub fn examine(connection: Result<&Containerd, &String>) -> Vec<Check> {
    let name = "containerd";
    let fix = "start it (Debian: apt-get install containerd; systemctl start containerd), or name its socket with --address";
    let connection = match connection {
        Ok(connection) => connection,
        Err(why) => return vec![Check::problem(name, why, fix)],
    };
    let version = match connection.version() {
        Ok(version) => version,
        Err(why) => return vec![Check::problem(name, why, fix)],
    };
    let mut checks = vec![match is_known(&version) {
        true => Check::ok(name, format!("version {version}")),
        false => Check::warning(name, format!("version {version}"), "1.6, 1.7 and 2.x are known to work"),
    }];
    match connection.plugins() {
        Ok(plugins) => {
            let snapshotters =
                plugins.iter().filter(|plugin| plugin.r#type == "io.containerd.snapshotter.v1");
            let works = |plugin: &&containerd_client::services::v1::Plugin| plugin.init_err.is_none();
            let names: Vec<&str> = snapshotters.filter(works).map(|plugin| plugin.id.as_str()).collect();
            checks.push(match names.contains(&"overlayfs") {
                true => Check::ok("snapshotters", names.join(", ")),
                false => Check::warning(
                    "snapshotters",
                    format!("{}: no overlayfs", names.join(", ")),
                    "put containerd's root on a file system with d_type; others work, but copy or share less",
                ),
            });
        }
        Err(why) => checks.push(Check::warning("snapshotters", why, "look into containerd's log")),
    }
    checks
}

fn is_known(version: &str) -> bool {
    let version = version.trim_start_matches('v');
    ["1.6.", "1.7.", "2."].iter().any(|known| version.starts_with(known))
}

/// The process behind the socket.
#[derive(Debug)]
pub struct Daemon {
    pid: i32,
    /// Its executable.
    pub program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, OsString)>,
}

impl Daemon {
    /// Finds it by the socket it listens at.
    ///
    /// # Errors
    /// In words.
    pub fn find(socket: &Path) -> Result<Daemon, String> {
        let unseen = || format!("the process that listens at {} cannot be seen", socket.display());
        let table = fs::read_to_string("/proc/net/unix").map_err(|e| format!("read /proc/net/unix: {e}"))?;
        let real = socket.canonicalize().unwrap_or_else(|_| socket.to_owned());
        let inode = listening(&table, &[socket, &real]).ok_or_else(unseen)?;
        let pid = holder(inode).ok_or_else(unseen)?;
        let words = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).map_err(|e| format!("{}: {e}", unseen()))?;
            let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            Ok::<_, String>(words.map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let arguments = words("cmdline")?.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned());
        let environment = words("environ")?.into_iter().filter_map(|word| {
            let at = word.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (word.get(..at)?, word.get(at + 1..)?);
            Some((String::from_utf8_lossy(name).into_owned(), OsString::from_vec(value.to_vec())))
        });
        let program = fs::read_link(format!("/proc/{pid}/exe")).map_err(|e| format!("{}: {e}", unseen()))?;
        Ok(Daemon { pid, program, arguments: arguments.collect(), environment: environment.collect() })
    }

    /// A variable of its environment.
    pub fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A path as this process sees it: the daemon may have mounts of its own.
    pub fn outside(&self, path: &Path) -> PathBuf {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        match namespace("self") == namespace(&self.pid.to_string()) {
            true => path.to_owned(),
            false => {
                let below = path.strip_prefix("/").unwrap_or(path);
                PathBuf::from(format!("/proc/{}/root", self.pid)).join(below)
            }
        }
    }

    /// The configuration it was started with.
    pub fn configuration(&self) -> PathBuf {
        let mut arguments = self.arguments.iter().skip(1);
        while let Some(argument) = arguments.next() {
            let name = argument.trim_start_matches('-');
            if let Some(path) = name.strip_prefix("config=").or_else(|| name.strip_prefix("c=")) {
                return path.into();
            }
            if argument.starts_with('-') && matches!(name, "config" | "c") {
                return arguments.next().map(PathBuf::from).unwrap_or_default();
            }
        }
        "/etc/containerd/config.toml".into()
    }

    /// Descriptors its shims may have: they inherit its limit.
    pub fn descriptors(&self) -> Check {
        let name = "descriptors";
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.pid)).unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        match line.and_then(|line| line.split_whitespace().next()) {
            Some("unlimited") => Check::ok(name, "servers may have any number"),
            Some(number) => match number.parse::<u64>() {
                Ok(most) if most < FEW_DESCRIPTORS => Check::warning(
                    name,
                    format!("a server may have {most}: enough for {} containers or so", most / 10),
                    "set LimitNOFILE=1048576 in containerd's unit (systemctl edit containerd) and restart it",
                ),
                _ => Check::ok(name, format!("a server may have {number}")),
            },
            None => Check::warning(name, "containerd's limits cannot be read", "run wamrctl as root"),
        }
    }
}

/// Inode of the socket that listens at one of these paths (`/proc/net/unix`, see unix(7)).
fn listening(table: &str, paths: &[&Path]) -> Option<u64> {
    const ACCEPTS: &str = "00010000";
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (flags, inode, path) = (fields.nth(3)?, fields.nth(2)?, fields.next()?);
        (flags == ACCEPTS && paths.contains(&Path::new(path))).then(|| inode.parse().ok())?
    })
}

/// A process that has a socket open; of several the one with the lowest id, which has started the others.
fn holder(inode: u64) -> Option<i32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let holds = |pid: &i32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == wanted))
    };
    pids.filter(holds).min()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_process_behind_a_socket_is_found_with_its_arguments_and_environment() {
        let socket = std::env::temp_dir().join(format!("wamrctl-daemon-{}.sock", std::process::id()));
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = Daemon::find(&socket).unwrap();
        drop(listener);
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(daemon.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(daemon.program, std::env::current_exe().unwrap());
        assert_eq!(daemon.variable("PATH"), std::env::var_os("PATH").as_ref());
        assert_eq!(daemon.outside(Path::new("/a")), Path::new("/a"));
        assert!(Daemon::find(Path::new("/nonexistent.sock")).unwrap_err().contains("/nonexistent.sock"));
    }

    #[test]
    fn its_configuration_is_what_its_arguments_say() {
        let configuration = |arguments: &[&str]| {
            let arguments = ["containerd"].iter().chain(arguments).map(|s| (*s).to_owned()).collect();
            Daemon { pid: 1, program: "/".into(), arguments, environment: Vec::new() }.configuration()
        };
        assert_eq!(configuration(&[]), Path::new("/etc/containerd/config.toml"));
        assert_eq!(configuration(&["-l", "debug", "--config", "/a"]), Path::new("/a"));
        assert_eq!(configuration(&["--config=/a"]), Path::new("/a"));
        assert_eq!(configuration(&["-c", "/a"]), Path::new("/a"));
    }

    #[test]
    fn versions_are_told_apart() {
        assert!(["1.6.20~ds1", "v1.7.24", "2.1.9"].iter().all(|version| is_known(version)));
        assert!(!is_known("1.5.0") && !is_known("12.0"));
    }
}
