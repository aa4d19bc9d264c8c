//! A builder: turns a module, or the code our compiler made of it, into the image that its containers map.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use crate::container::{exit, load};
use crate::gate;
use crate::request::Template;
use crate::serve::Warm;

/// Runs in the forked child once it is confined as a container is: what it looks at is a stranger's module. Runs
/// no guest code. Ends when the image is written; the server learns through the gate whether it is.
pub(crate) fn run(
    warm: &'static Warm,
    template: &Template,
    module: Option<OwnedFd>,
    image: Option<File>,
    gate: &OwnedFd,
) -> Result<Infallible, String> {
    let image = image.ok_or("no file for the image came with the request")?;
    let options = wamr::InstanceOptions { stack_size: template.stack_size, max_memory_pages: None };
    let instance = load(warm, module, template.compiled, options)?;
    wamr::image::write(&warm.engine, &instance, &image).map_err(|e| e.to_string())?;
    gate::finished(gate.as_fd());
    exit(0)
}
