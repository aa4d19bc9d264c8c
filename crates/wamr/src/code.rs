//! Compiled code: where it lies once it is loaded, and how it becomes executable.
//!
//! Loading leaves it as data. It becomes executable in one of two ways, and is never writable again: in the process that
//! loaded it, by [`Module::allow_to_run`], or in a container, as a file's mapping ([`map_code`](crate::image::map_code)).

use std::io;
use std::slice;

use wamr_sys as sys;

use crate::pages::Pages;
use crate::{Error, Module, Result};

/// Sections of an AOT file by their numbers: machine code, which WAMR copies, and relocations, which it applies.
const SPENT: [u32; 2] = [2, 5];
/// Magic number and version.
const FILE_HEAD: usize = 8;

/// The code of the module that this process has loaded; `None` without any.
pub(crate) fn loaded() -> Option<Pages> {
    // SAFETY: always sound.
    let code = unsafe { sys::glue_code() };
    (!code.start.is_null()).then_some(Pages { start: code.start as u64, end: code.end as u64 })
}

impl Module<'_> {
    /// Lets the code of a module from [`Module::load_aot`] be run by this process; nothing for one from [`Module::load`].
    /// A process that only makes an image of it need not, and may be forbidden to.
    ///
    /// # Errors
    /// [`Error::Code`] with the kernel's reason.
    pub fn allow_to_run(&self) -> Result<()> {
        let Some(code) = loaded() else { return Ok(()) };
        let access = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: pages that hold nothing but the module's code.
        match unsafe { libc::mprotect(code.start as *mut _, code.bytes() as usize, access) } {
            0 => Ok(()),
            _ => Err(Error::Code(io::Error::last_os_error())),
        }
    }

    /// Parts of an AOT file that WAMR does not look at once the module is loaded.
    pub(crate) fn spent_sections(&self) -> Vec<Pages> {
        let Some((start, length)) = self.source_place() else { return Vec::new() };
        // SAFETY: mapped for as long as the module lives; nobody writes to it now.
        let file = unsafe { slice::from_raw_parts(start as *const u8, length) };
        spent(file)
            .into_iter()
            .map(|(from, to)| Pages::within(start + from as u64, start + to as u64))
            .collect()
    }
}

/// Offsets of begin and end. Empty for what is no AOT file.
fn spent(file: &[u8]) -> Vec<(usize, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let mut found = Vec::new();
    let mut at = FILE_HEAD;
    if !file.starts_with(b"\0aot") {
        return found;
    }
    while let (Some(kind), Some(size)) = (word(at), word(at + 4)) {
        let (from, to) = (at + 8, at + 8 + size as usize);
        if SPENT.contains(&kind) && to <= file.len() {
            found.push((from, to));
        }
        at = to.next_multiple_of(4);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_relocations_of_an_aot_file_are_found() {
        let mut file = b"\0aot\x05\0\0\0".to_vec();
        for (kind, size) in [(0u32, 6usize), (2, 5), (100, 8), (5, 3), (1, 4)] {
            file.resize(file.len().next_multiple_of(4), 0);
            file.extend(kind.to_le_bytes());
            file.extend((size as u32).to_le_bytes());
            file.resize(file.len() + size, kind as u8);
        }
        let bodies: Vec<&[u8]> = spent(&file).into_iter().map(|(from, to)| &file[from..to]).collect();
        assert_eq!(bodies, [&[2; 5][..], &[5; 3]]);
        for cut in 0..file.len() {
            assert!(spent(&file[..cut]).iter().all(|(from, to)| from <= to && *to <= cut));
        }
        assert!(spent(b"\0asm\x01\0\0\0\x02\0\0\0\x01\0\0\0x").is_empty());
    }
}
