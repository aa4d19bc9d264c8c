//! Where a module's bytes are.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::{Error, Result};

/// The bytes of a module. They are writable memory that lives as long as the [`Module`](crate::Module):
/// WAMR edits names in place and goes on reading data segments from here (for AOT even where it says that
/// the bytes may be freed).
#[derive(Debug)]
pub struct ModuleSource(Bytes);

#[derive(Debug)]
enum Bytes {
    Owned(Vec<u8>),
    Mapped { start: *mut u8, length: usize },
}

impl ModuleSource {
    /// Bytes that are in memory already.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> ModuleSource {
        ModuleSource(Bytes::Owned(bytes))
    }

    /// Maps a regular file, privately: pages that WAMR does not write to stay in the page cache, shared by
    /// all processes. The descriptor is closed. Whoever can write to the file can crash this process. Once the
    /// engine is initialised, the place is one that an [`Image`](crate::Image) covers.
    ///
    /// # Errors
    /// [`Error::Map`], [`Error::Empty`] or [`Error::TooLarge`].
    pub fn from_file(file: impl Into<OwnedFd>) -> Result<ModuleSource> {
        let file = File::from(file.into());
        let size = file.metadata().map_err(Error::Map)?.len();
        if size == 0 {
            return Err(Error::Empty);
        }
        let length = u32::try_from(size).map_err(|_| Error::TooLarge(size))? as usize;
        // SAFETY: always sound.
        let place = unsafe { wamr_sys::glue_place(length) };
        let fixed = if place.is_null() { 0 } else { libc::MAP_FIXED };
        // SAFETY: a new mapping, at an address of the kernel's choice or over pages set aside for it.
        let start = unsafe {
            libc::mmap(
                place,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | fixed,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::Map(std::io::Error::last_os_error()));
        }
        Ok(ModuleSource(Bytes::Mapped { start: start.cast(), length }))
    }

    /// Where the file is mapped, and its size, if the bytes are a file's.
    pub(crate) fn mapped_at(&self) -> Option<(u64, usize)> {
        match &self.0 {
            Bytes::Owned(_) => None,
            Bytes::Mapped { start, length } => Some((*start as u64, *length)),
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Bytes::Owned(bytes) => bytes,
            // SAFETY: the mapping is readable and writable, of this length, and ours alone.
            Bytes::Mapped { start, length } => unsafe { std::slice::from_raw_parts_mut(*start, *length) },
        }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Bytes::Mapped { start, length } = self {
            // The range stays reserved: nobody else may map something within what a later image covers.
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED;
            // SAFETY: mapped by `from_file`; the module that used it is gone.
            unsafe { libc::mmap(start.cast(), *length, libc::PROT_NONE, flags, -1, 0) };
        }
    }
}
