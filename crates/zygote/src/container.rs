//! The container process: from the fork to the guest's last instruction.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::builder;
use crate::gate::{self, Ready};
use crate::request::{Entry, ForkRequest, Guest, Preopen, Wasm};
use crate::serve::{Handed, Warm};

/// Exit status of a guest that trapped: what a native process that called `abort` reports.
const TRAPPED: i32 = 134;
/// Exit status when the guest could not be run; the reason went to the server through the gate.
const NOT_RUN: i32 = 125;

/// Runs in the forked child and never returns.
///
/// The order is the point: the module's bytes are looked at only once the process is confined, so a bug in
/// the loader is as harmless as one in the interpreter.
pub(crate) fn run(warm: &'static Warm, request: &ForkRequest<'_>, handed: Handed) -> ! {
    let Handed { gate, stdio, module, image, code, output, jail: descriptors, .. } = handed;
    let [image, code, output] = [image, code, output].map(|handed| handed.map(File::from));
    let outcome = name_process(&request.guest)
        .and_then(|()| take_stdio(stdio))
        .and_then(|()| {
            let keep = std::iter::once(&gate).chain(&module).map(AsRawFd::as_raw_fd);
            let images = image.iter().chain(&code).chain(&output).map(AsRawFd::as_raw_fd);
            let keep: Vec<RawFd> = keep.chain(images).collect();
            let proc_dir = warm.zygote_root.proc_dir();
            jail::enter(&request.confinement, descriptors, proc_dir, &keep).map_err(|e| e.to_string())
        })
        .and_then(|entered| {
            // The filter allows no memory that can be executed.
            let code = map_code(warm, &request.guest, code.as_ref().or(image.as_ref()))?;
            if no_sockets(&request.guest) {
                jail::forbid_new_sockets().map_err(|e| e.to_string())?;
            }
            warm.filter.install().map_err(|e| e.to_string())?;
            match &request.guest {
                Guest::Wasm(wasm) => {
                    run_wasm(wasm, instance(warm, wasm, module, image, code)?, &gate, entered)
                }
                Guest::Template(template) => builder::run(warm, template, module, output, &gate),
                Guest::Ready(wasm) => {
                    let instance = instance(warm, wasm, module, image, code)?;
                    builder::run_until_ready(warm, wasm, instance, output, &gate, entered.listeners)
                }
                Guest::Pause => pause(&gate, Ready { warnings: entered.warnings, memory_cap: None }),
            }
        });
    let Err(why) = outcome;
    gate::failed(gate.as_fd(), why);
    exit(NOT_RUN)
}

/// `ps` and `top` show what runs instead of "wamr-zygote" many times.
fn name_process(guest: &Guest<'_>) -> Result<(), String> {
    let name = match guest {
        Guest::Wasm(wasm) => wasm.args.first().and_then(|path| path.rsplit('/').next()).unwrap_or("wasm"),
        Guest::Template(_) | Guest::Ready(_) => "wamr-template",
        Guest::Pause => "pause",
    };
    let short: Vec<u8> = name.bytes().filter(|b| *b != 0).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(short) {
        let _ = rustix::thread::set_name(&name);
    }
    Ok(())
}

fn take_stdio(stdio: [OwnedFd; 3]) -> Result<(), String> {
    for (target, source) in (0..).zip(&stdio) {
        // SAFETY: two descriptor numbers; 0 to 2 are owned by no value of this process.
        if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
            return Err(format!("set descriptor {target}: {}", std::io::Error::last_os_error()));
        }
    }
    // Closed with all the others on entering the jail.
    std::mem::forget(stdio);
    Ok(())
}

/// Whether it may not even open one.
fn no_sockets(guest: &Guest<'_>) -> bool {
    match guest {
        Guest::Wasm(wasm) | Guest::Ready(wasm) => wasm.sockets.iter().any(network::Policy::is_none),
        Guest::Template(_) | Guest::Pause => false,
    }
}

/// The code in an image of a compiled module.
fn map_code(
    warm: &Warm,
    guest: &Guest<'_>,
    image: Option<&File>,
) -> Result<Option<wamr::image::Code>, String> {
    match (guest, image) {
        (Guest::Wasm(wasm) | Guest::Ready(wasm), Some(image)) if wasm.compiled => {
            wamr::image::map_code(&warm.engine, image).map(Some).map_err(|e| e.to_string())
        }
        _ => Ok(None),
    }
}

/// The module ready to run: from its image if there is one, else loaded here.
fn instance(
    warm: &'static Warm,
    wasm: &Wasm<'_>,
    module: Option<OwnedFd>,
    image: Option<File>,
    code: Option<wamr::image::Code>,
) -> Result<wamr::Instance<'static>, String> {
    let Some(image) = image else {
        let Wasm { stack_size, max_memory_pages, .. } = *wasm;
        return load(warm, module, false, wamr::InstanceOptions { stack_size, max_memory_pages });
    };
    let mut instance = wamr::image::map(&warm.engine, &image, code).map_err(|e| e.to_string())?;
    if let Some(limit) = wasm.max_memory_pages {
        instance.set_max_memory_pages(limit).map_err(|e| e.to_string())?;
    }
    Ok(instance)
}

/// Loads and instantiates; code of a `compiled` module stays without leave to run. The module stays for the life of this
/// process.
pub(crate) fn load(
    warm: &'static Warm,
    module: Option<OwnedFd>,
    compiled: bool,
    options: wamr::InstanceOptions,
) -> Result<wamr::Instance<'static>, String> {
    let file = module.ok_or("no module came with the request")?;
    let source = wamr::ModuleSource::from_file(file).map_err(|e| e.to_string())?;
    let load = if compiled { wamr::Module::load_aot } else { wamr::Module::load };
    let module = load(&warm.engine, source).map_err(|e| e.to_string())?;
    wamr::Instance::new(Box::leak(Box::new(module)), options).map_err(|e| e.to_string())
}

/// Where a guest is entered.
pub(crate) fn entry<'a>(wasm: &Wasm<'a>) -> wamr::Entry<'a> {
    match wasm.entry {
        Entry::Start => wamr::Entry::Start,
        Entry::Export(name) => wamr::Entry::Export(name),
    }
}

/// What a guest sees, with sockets to serve on.
pub(crate) fn world<'a>(wasm: &'a Wasm<'_>, listeners: Vec<OwnedFd>) -> wamr::Wasi<'a> {
    let preopen = |p: &Preopen<'a>| wamr::Preopen { guest: p.guest, host: p.host, read_only: p.read_only };
    wamr::Wasi {
        args: &wasm.args,
        env: &wasm.env,
        preopens: wasm.preopens.iter().map(preopen).collect(),
        stdio: [0, 1, 2],
        listeners,
        sockets: wasm.sockets.clone(),
    }
}

fn run_wasm(
    wasm: &Wasm<'_>,
    mut instance: wamr::Instance<'static>,
    gate: &OwnedFd,
    entered: jail::Entered,
) -> Result<Infallible, String> {
    let entry = entry(wasm);
    instance.check_entry(&entry).map_err(|e| e.to_string())?;
    instance.set_wasi(world(wasm, entered.listeners)).map_err(|e| e.to_string())?;

    let ready = Ready { warnings: entered.warnings, memory_cap: instance.memory_cap().map(Into::into) };
    if !gate::ready_and_wait(gate.as_fd(), ready) {
        exit(NOT_RUN);
    }
    // From here on the descriptor belongs to the guest's process, which has no business with it.
    // SAFETY: nothing uses the gate after this line, and this function does not return.
    unsafe { libc::close(gate.as_raw_fd()) };

    let ran = if wasm.warm { instance.resume(&entry) } else { instance.run(&entry) };
    match ran {
        Ok(wamr::Outcome::Exited(code)) => exit((code & 0xff) as i32),
        Ok(wamr::Outcome::Trapped(trap)) => {
            // The container's stderr may be closed or full; the exit status says "trapped" all the same.
            let _ = writeln!(std::io::stderr(), "{trap}");
            exit(TRAPPED)
        }
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "containerd-shim-wamr: {e}");
            exit(NOT_RUN)
        }
    }
}

/// Holds namespaces until a signal ends it.
fn pause(gate: &OwnedFd, ready: Ready) -> Result<Infallible, String> {
    // As process 1 of a pod's shared pid namespace it inherits orphans. With SIGCHLD ignored the kernel reaps
    // them, those that were dead before they were inherited included (wait(2), NOTES).
    // SAFETY: ignoring a signal installs no handler.
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(format!("ignore SIGCHLD: {}", std::io::Error::last_os_error()));
    }
    if !gate::ready_and_wait(gate.as_fd(), ready) {
        exit(NOT_RUN);
    }
    loop {
        // Returns only for a signal that has a handler, and those handlers end the process.
        rustix::event::pause();
    }
}

/// Ends the process without running anything the zygote registered to run at its own end.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: always safe; never returns.
    unsafe { libc::_exit(code) }
}
