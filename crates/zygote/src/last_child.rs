//! The zygote's last child, written down where the server finds it after the zygote's death.
//!
//! A zygote that is killed between `clone3` and its answer leaves a child of the server's that the server was never
//! told of. The kernel itself writes the child's process id into memory that both share, before the child runs its first
//! instruction (`CLONE_PARENT_SETTID`, clone(2)). The memory is one page of a memfd: `u32` number of the request, `i32`
//! process id or 0, in native byte order.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap};

const PAGE: usize = 4096;

/// The server's end.
#[derive(Debug)]
pub(crate) struct LastChild(File);

/// The zygote's end. Children do not inherit it.
pub(crate) struct Notebook(&'static Page);

#[repr(C)]
struct Page {
    request: AtomicU32,
    child: AtomicI32,
}

impl LastChild {
    pub(crate) fn new() -> io::Result<LastChild> {
        let file = File::from(memfd_create("wamr-last-child", MemfdFlags::CLOEXEC)?);
        file.set_len(PAGE as u64)?;
        Ok(LastChild(file))
    }

    /// What the zygote is to map.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// The child that was forked for that request, if one was. Final once the zygote has been reaped.
    pub(crate) fn of(&self, request: u32) -> Option<i32> {
        let mut words = [[0; 4]; 2];
        self.0.read_exact_at(words.as_flattened_mut(), 0).ok()?;
        let [found, child] = words;
        (u32::from_ne_bytes(found) == request).then(|| i32::from_ne_bytes(child)).filter(|child| *child > 0)
    }
}

impl Notebook {
    /// Maps what the server made, for the life of the process.
    pub(crate) fn open(file: BorrowedFd<'_>) -> io::Result<Notebook> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at a place that the kernel chooses.
        let page = unsafe { mmap(ptr::null_mut(), PAGE, access, flags, file.as_fd(), 0) }?;
        // SAFETY: it is the mapping just made. The child of a fork lacks it, and does not touch it: `fork_sibling`
        // reads nothing there on the child's side, and nothing else keeps the reference.
        unsafe { madvise(page, PAGE, Advice::LinuxDontFork) }?;
        // SAFETY: the page is zeroed, aligned and never unmapped; the server only reads it, through the file.
        Ok(Notebook(unsafe { &*page.cast::<Page>() }))
    }

    /// A line for the child to be forked for `request`. The kernel writes there.
    pub(crate) fn line(&self, request: u32) -> &AtomicI32 {
        self.0.child.store(0, Ordering::Relaxed);
        self.0.request.store(request, Ordering::Release);
        &self.0.child
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_under_the_number_of_its_request_only() {
        let server = LastChild::new().unwrap();
        let zygote = Notebook::open(server.file().as_fd()).unwrap();
        assert_eq!(server.of(0), None);
        let line = zygote.line(7);
        assert_eq!(server.of(7), None, "no child yet");
        line.store(4711, Ordering::Relaxed);
        assert_eq!(server.of(7), Some(4711));
        assert_eq!(server.of(6), None);
        zygote.line(8);
        assert_eq!(server.of(8), None, "the child of another request");
    }
}
