//! Letting go of the executable's own code and constants, which its file brings back when they are needed.

/// Unmaps the pages of the executable that nobody writes to, though not their addresses: what is needed again is mapped
/// again from its file, 64 KiB at a time, at about a microsecond each.
///
/// A container gets through its start with code all over the executable and lives on little of it. Linux 6.14 and later give
/// back the page tables with the pages (`CONFIG_PT_RECLAIM`): 4 KiB for each 2 MiB of addresses, which every process pays
/// for itself. The pages themselves are the page cache's either way; what is mapped nowhere is reclaimed more easily.
pub(crate) fn let_go() {
    for segment in read_only_segments() {
        // SAFETY: read-only private mappings of a file: what is dropped comes back the same.
        unsafe { libc::madvise(segment.start as *mut libc::c_void, segment.len(), libc::MADV_DONTNEED) };
    }
}

const PAGE: usize = 4096;

/// Addresses of the executable's segments that are not writable, in whole pages.
fn read_only_segments() -> impl Iterator<Item = std::ops::Range<usize>> {
    // SAFETY: reads the auxiliary vector, which the kernel wrote (getauxval(3)).
    let (at, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    let headers: &[libc::Elf64_Phdr] = if at == 0 {
        &[]
    } else {
        // SAFETY: the kernel says that so many program headers are there. They are part of the executable, mapped for the
        // life of the process and never written.
        unsafe { std::slice::from_raw_parts(at as *const libc::Elf64_Phdr, count as usize) }
    };
    // An executable that is not at the addresses its headers say is where they are themselves.
    let itself = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    let bias = itself.map_or(0, |header| (at as usize).wrapping_sub(header.p_vaddr as usize));
    let constant =
        |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
    headers.iter().filter(constant).map(move |header| {
        let start = bias.wrapping_add(header.p_vaddr as usize);
        start.next_multiple_of(PAGE)..(start + header.p_memsz as usize) / PAGE * PAGE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_function_is_let_go_of_and_still_runs() {
        let here = this_very_function_is_let_go_of_and_still_runs as fn() as usize;
        assert!(read_only_segments().any(|segment| segment.contains(&here)));
        let writable = &raw const WRITABLE as usize;
        assert!(!read_only_segments().any(|segment| segment.contains(&writable)));
        let_go();
        assert_eq!(read_only_segments().map(|segment| segment.len() % PAGE).sum::<usize>(), 0);
    }

    static WRITABLE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
}
