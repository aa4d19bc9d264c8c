//! One module compiled into the cache: what a server's queue does, and `wamrctl compile`.

use std::fs::File;
use std::os::fd::AsRawFd;

use ::aot::{Cache, Code, Key};
use image::Module;

use super::{Compiler, Failure};

/// What came of it.
#[derive(Debug)]
pub enum Made {
    /// New code.
    Code(Code),
    /// Somebody had done it before, or meanwhile.
    There(Code),
    /// It was tried before, and cannot be done; the reason.
    GivenUp(String),
}

/// A module's bytes as the compiler takes them: it reads from the present offset on, so the file is nobody else's.
///
/// # Errors
/// In words.
pub fn contents(module: &Module) -> Result<File, String> {
    let file = module.contents().map_err(|e| e.to_string())?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|e| format!("open again: {e}"))
}

/// Compiles a module for a key, unless that was done or tried. That a module cannot be compiled is remembered. Blocks, also
/// while another process does the same; the calling thread must live as long, because the compiler ends with it.
///
/// # Errors
/// [`Failure`]; the key has no code then.
pub fn make(
    cache: &Cache,
    compiler: &Compiler,
    key: &Key,
    segue: bool,
    contents: &File,
) -> Result<Made, Failure> {
    let machine = |e: ::aot::Error| Failure::Machine(e.to_string());
    let _claim = cache.claim(key).map_err(machine)?;
    if let Some(code) = cache.find(key) {
        return Ok(Made::There(code));
    }
    if let Some(why) = cache.failure(key) {
        return Ok(Made::GivenUp(why));
    }
    let made = cache.draft().map_err(machine).and_then(|draft| {
        compiler.run(key.tier(), segue, contents, draft.file())?;
        cache.keep(key, &draft).map_err(|e| match e {
            ::aot::Error::NotAot(_) => Failure::Module(e.to_string()),
            _ => machine(e),
        })
    });
    if let Err(Failure::Module(why)) = &made {
        cache.remember_failure(key, why).map_err(|e| Failure::Machine(format!("{why}; and {e}")))?;
    }
    made.map(Made::Code)
}
