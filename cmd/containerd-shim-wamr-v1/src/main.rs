//! containerd shim v2 that runs WebAssembly containers on a shared WAMR engine.

fn main() -> std::process::ExitCode {
    shim::cli::run(std::env::args().skip(1))
}
