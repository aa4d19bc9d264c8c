//! Promise: of a zygote that is killed no child is left, at whatever moment it was killed, also between the fork and the
//! answer. Real are the zygote, its forks and their jails; this process is the server, and the program of the zygote.
//!
//! Without a harness, which would take the zygote's arguments for its own.

#![expect(clippy::unwrap_used, reason = "a test, which clippy does not see without a harness")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use jail::{Confinement, Namespaces};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, pidfd_send_signal, waitid};
use zygote::{Error, ForkDescriptors, ForkRequest, Forked, Guest, Zygote};

const ROUNDS: u64 = 150;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("zygote") {
        let socket = io::stdin().as_fd().try_clone_to_owned().unwrap();
        return zygote::serve(socket, io::stdout().as_fd()).unwrap();
    }
    let mut forks = 0;
    for round in 0..ROUNDS {
        let zygote = Zygote::spawn(Path::new("/proc/self/exe")).unwrap();
        // Warm, so that the moment of its death falls into its work.
        end(&fork(&zygote).unwrap());
        std::thread::scope(|scope| {
            let killer = scope.spawn(|| {
                // Every moment of several forks, 7 microseconds apart.
                std::thread::sleep(Duration::from_micros(round * 7));
                kill_process(Pid::from_raw(zygote.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
            });
            let why = loop {
                match fork(&zygote) {
                    Ok(forked) => end(&forked),
                    Err(why) => break why,
                }
                forks += 1;
            };
            assert!(matches!(why, Error::Gone(_)), "{why}");
            killer.join().unwrap();
        });
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let left = waitid(WaitId::All, look);
        assert_eq!(
            left.err(),
            Some(rustix::io::Errno::CHILD),
            "round {round}: a child is left: {}",
            children()
        );
    }
    println!("{ROUNDS} zygotes killed after {forks} forks: no child was left");
}

fn fork(zygote: &Zygote) -> zygote::Result<Forked> {
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let descriptors = ForkDescriptors::new([null.as_fd(); 3]);
    let fresh = Namespaces { ipc: true, ..Namespaces::default() };
    let confinement = Confinement { fresh, cwd: "/", ..Confinement::default() };
    zygote.fork(&ForkRequest { confinement, guest: Guest::Pause }, &descriptors)
}

fn end(forked: &Forked) {
    forked.gate.wait_ready(Duration::from_secs(60)).unwrap();
    pidfd_send_signal(&forked.pidfd, Signal::KILL).unwrap();
    waitid(WaitId::PidFd(forked.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
}

/// For the message.
fn children() -> String {
    let pid = std::process::id();
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}
