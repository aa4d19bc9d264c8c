//! Logging programs (`binary://`): containerd's protocol for handing a container's output to one.
//!
//! The program gets the container's stdout as descriptor 3, its stderr as 4, and a pipe as 5 which it closes
//! once it is ready; `CONTAINER_ID` and `CONTAINER_NAMESPACE` in its environment; and the query's keys and
//! values as arguments.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use super::scheme;
use crate::error::{Error, Result};

/// How long a program may take to become ready; containerd's own shim waits as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the program of a `binary://` URI. Returns the writing ends for the guest's stdout and stderr.
pub fn start(uri: &str, id: &str, namespace: &str) -> Result<(OwnedFd, OwnedFd)> {
    let (path, query) = match scheme(uri).1.split_once('?') {
        Some((path, query)) => (path, query),
        None => (scheme(uri).1, ""),
    };
    let failed = |e: &std::io::Error| Error::io(format!("start the logging program {path:?}"), e);
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(&e.into()));
    let ((stdout_read, stdout), (stderr_read, stderr), (ready_read, ready)) = (pipe()?, pipe()?, pipe()?);
    let mut command = Command::new(path);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        command.arg(&*key);
        if !value.is_empty() {
            command.arg(&*value);
        }
    }
    let child = command
        .env_clear()
        .env("CONTAINER_ID", id)
        .env("CONTAINER_NAMESPACE", namespace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .fd_mappings(vec![
            FdMapping { parent_fd: stdout_read, child_fd: 3 },
            FdMapping { parent_fd: stderr_read, child_fd: 4 },
            FdMapping { parent_fd: ready, child_fd: 5 },
        ])
        .map_err(|e| Error::Internal(format!("start the logging program {path:?}: {e}")))?
        .spawn();
    // The command still holds the program's ends of the pipes, which must close here for ends of file to come.
    drop(command);
    let mut child = child.map_err(|e| failed(&e))?;
    let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ready = rustix::io::retry_on_intr(|| {
        poll(&mut [PollFd::new(&ready_read.as_fd(), PollFlags::IN)], Some(&timeout))
    });
    if !matches!(ready, Ok(1..)) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::Internal(format!(
            "the logging program {path:?} was not ready after {PATIENCE:?}"
        )));
    }
    // It ends by itself when both pipes end; somebody has to reap it then.
    std::thread::Builder::new()
        .name("log-program".into())
        .stack_size(32 * 1024)
        .spawn(move || drop(child.wait()))
        .map_err(|e| failed(&e))?;
    Ok((stdout, stderr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_program_gets_both_streams_its_arguments_and_the_container_s_name() {
        let out = std::env::temp_dir().join(format!("wamr-binary-{}", std::process::id()));
        std::fs::create_dir_all(&out).unwrap();
        let program = out.join("logger.sh");
        let script = "#!/bin/sh\nexec 5>&-\n{ echo \"$CONTAINER_NAMESPACE/$CONTAINER_ID $1 $2\"; cat <&3; cat <&4; } > \"$2\"\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let log = out.join("log");
        let uri = format!("binary://{}?t%6f={}", program.display(), log.display());
        let (stdout, stderr) = start(&uri, "id1", "ns1").unwrap();
        std::fs::File::from(stdout).write_all(b"out\n").unwrap();
        std::fs::File::from(stderr).write_all(b"err\n").unwrap();
        let expected = format!("ns1/id1 to {}\nout\nerr\n", log.display());
        for _ in 0..500 {
            if std::fs::read_to_string(&log).is_ok_and(|text| text == expected) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
        std::fs::remove_dir_all(&out).unwrap();
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = start("binary:///does/not/exist", "i", "n").unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }
}
