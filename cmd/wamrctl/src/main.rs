//! `wamrctl`, for whoever looks after a node.

fn main() -> std::process::ExitCode {
    ctl::run(std::env::args_os())
}
