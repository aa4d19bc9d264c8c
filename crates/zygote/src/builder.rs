//! Builders of images that containers map: of a module, or the code our compiler made of it, and of a guest that stands
//! at its ready point.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use crate::container::{entry, exit, load, world};
use crate::gate;
use crate::request::{Template, Wasm};
use crate::serve::Warm;

/// Runs in the forked child once it is confined as a container is: what it looks at is a stranger's module. Runs
/// no guest code. Ends when the image is written; the server learns through the gate whether it is.
pub(crate) fn run(
    warm: &'static Warm,
    template: &Template,
    module: Option<OwnedFd>,
    output: Option<File>,
    gate: &OwnedFd,
) -> Result<Infallible, String> {
    let options = wamr::InstanceOptions { stack_size: template.stack_size, max_memory_pages: None };
    let instance = load(warm, module, template.compiled, options)?;
    finish(warm, &instance, output, gate)
}

/// Runs a guest until it is ready. The server learns through the gate why it did not come there, or why nothing but this
/// very process could go on with it.
pub(crate) fn run_until_ready(
    warm: &Warm,
    wasm: &Wasm<'_>,
    mut instance: wamr::Instance<'static>,
    output: Option<File>,
    gate: &OwnedFd,
    listeners: Vec<OwnedFd>,
) -> Result<Infallible, String> {
    let ran = instance.set_wasi(world(wasm, listeners)).and_then(|()| instance.run_until_ready(&entry(wasm)));
    ran.map_err(|e| e.to_string())?;
    finish(warm, &instance, output, gate)
}

fn finish(
    warm: &Warm,
    instance: &wamr::Instance<'static>,
    output: Option<File>,
    gate: &OwnedFd,
) -> Result<Infallible, String> {
    let output = output.ok_or("nowhere to write the image to came with the request")?;
    wamr::image::write(&warm.engine, instance, output).map_err(|e| e.to_string())?;
    gate::finished(gate.as_fd());
    exit(0)
}
