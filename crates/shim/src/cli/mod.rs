//! What the executable does for each way of calling it. `start`, `delete`, `-info` and `-v` are executed by
//! containerd on every container's path and use no async runtime.

mod bootstrap;
mod delete;
mod flags;
mod info;
mod start;

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

pub use flags::Flags;

/// What `ps` shows, instead of `/proc/self/exe`.
pub const PROGRAM: &str = "containerd-shim-wamr-v1";

/// Runs the program with the arguments that follow its name.
pub fn run(args: impl IntoIterator<Item = String>) -> ExitCode {
    let flags = match Flags::parse(args) {
        Ok(flags) => flags,
        Err(why) => return fail(&why),
    };
    if flags.version {
        return print(info::version(PROGRAM).as_bytes());
    }
    if flags.info {
        return finish(info::info());
    }
    match flags.action.as_str() {
        "start" => finish(start::start(&flags)),
        "delete" => finish(delete::delete(&flags)),
        "serve" => finish(crate::server::serve(&flags).map(|()| Vec::new())),
        "zygote" => finish(serve_zygote().map(|()| Vec::new())),
        "native" => finish(native::serve().map(|()| Vec::new())),
        "" => fail("containerd starts this program; it needs an action: start or delete (or -v, -info)"),
        other => fail(&format!("unknown action {other:?}: start and delete are known")),
    }
}

fn serve_zygote() -> Result<(), String> {
    let socket = rustix::io::dup(std::io::stdin()).map_err(|e| format!("take the server's socket: {e}"))?;
    let page = std::io::stdout();
    zygote::serve(socket, page.as_fd())
}

fn finish(outcome: Result<Vec<u8>, String>) -> ExitCode {
    match outcome {
        Ok(bytes) => print(&bytes),
        Err(why) => fail(&why),
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(why: &str) -> ExitCode {
    // Nobody may listen; the exit code says it too.
    let _ = writeln!(std::io::stderr(), "{PROGRAM}: {why}");
    ExitCode::FAILURE
}
