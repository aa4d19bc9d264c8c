//! An instance as a file: made once per module, mapped copy-on-write by every container of it.
//!
//! All that loading and instantiation leave behind lies in two known places: the range that `glue/window.c`
//! reserves (WAMR's heap, the module's bytes, the linear memory and its guard pages) and the variables of WAMR's
//! library. A file of an instance holds the pages of the range that are not all zeros, and the words of the
//! variables that are not what they were when the engine was initialised. Both are put back at the same
//! addresses, so the pointers in them hold; the processes must be forks of one zygote for that, which a number
//! drawn in [`Engine::init`] proves.
//!
//! Layout, in 64-bit words of this machine: `magic, words of the head in all, zygote, first writable address of
//! the heap, start and bytes of the linear memory, module, instance, execution environment, extents, variables`,
//! then for each extent `address, bytes, offset in the file`, then for each variable `address, value`. The
//! extents' bytes follow, each on a page of its own.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use wamr_sys as sys;

use crate::module::Module;
use crate::{Engine, Error, Instance, Result};

const MAGIC: u64 = u64::from_ne_bytes(*b"wamrimg1");
const HEAD_WORDS: usize = 11;
const WORD: u64 = 8;
const PAGE: u64 = 4096;
/// Zeros between two extents that are not worth a mapping of their own: as many pages as the kernel maps around
/// one that is touched.
const GAP: u64 = 16 * PAGE;
/// No head that [`write`] makes is longer: an extent per 80 KiB of 8 GiB.
const LONGEST_HEAD: u64 = 4 << 20;

/// Pages to save, as they lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    address: u64,
    bytes: u64,
}

/// Writes the instance to an empty `file`. No guest code may have run. The process is of no use for running it
/// afterwards: it has no WASI context and has given up its free memory. Returns the file's size in bytes.
///
/// # Errors
/// [`Error::NoImage`] when some of its state is not where an image covers it, such as a very large module or AOT
/// code: it has to be loaded in each process. [`Error::Image`] when the file cannot be written.
pub fn write(engine: &Engine, instance: &Instance<'_>, file: &File) -> Result<u64> {
    // SAFETY: the instance exists and runs no guest code now.
    unsafe {
        sys::glue_wasi_drop(instance.raw);
        sys::glue_heap_settle();
    }
    let window = window();
    // SAFETY: the instance exists.
    let linear_bytes = unsafe { sys::glue_memory_bytes(instance.raw) };
    let source = instance.module.source_place();
    let inside = |address: u64| (window.accessible as u64..window.linear as u64).contains(&address);
    if window.linear == 0
        || !source.is_some_and(inside)
        || window.outside != engine.outside
        || (linear_bytes > 0) != window.linear_taken
    {
        return Err(Error::NoImage);
    }
    let spent = spent_pages(instance);
    let (heap, linear) = (window.accessible as u64, window.linear as u64);
    // SAFETY: this is the heap's and the linear memory's accessible part; nobody writes to it meanwhile.
    let extents = unsafe {
        let mut extents = extents(heap, spent.0, &[]);
        extents = self::extents(spent.1.max(heap), linear, &extents);
        self::extents(linear, linear + linear_bytes, &extents)
    };
    let variables = engine.changed_variables();

    let words = HEAD_WORDS + 3 * extents.len() + 2 * variables.len();
    let mut head = Vec::with_capacity(words);
    head.extend([MAGIC, words as u64, engine.zygote, heap, linear, linear_bytes]);
    head.extend([instance.module.raw as u64, instance.raw as u64, instance.exec_env as u64]);
    head.extend([extents.len() as u64, variables.len() as u64]);
    let mut offset = whole_pages(words as u64 * WORD);
    for extent in &extents {
        head.extend([extent.address, extent.bytes, offset]);
        // SAFETY: as above; it was just read.
        let bytes = unsafe { std::slice::from_raw_parts(extent.address as *const u8, extent.bytes as usize) };
        file.write_all_at(bytes, offset).map_err(Error::Image)?;
        offset += extent.bytes;
    }
    head.extend(variables.into_iter().flat_map(|(address, value)| [address, value]));
    let head: Vec<u8> = head.into_iter().flat_map(u64::to_ne_bytes).collect();
    file.write_all_at(&head, 0).map_err(Error::Image)?;
    Ok(offset)
}

/// Maps an instance that [`write`] wrote in another fork of this process's zygote. The file must not change any
/// more (a sealed memfd). The process may not have loaded anything before, and can have only this one instance.
///
/// What is in the file decides what is mapped where and what is run later: only call it where the module itself
/// could be loaded, in the process that is confined for it.
///
/// # Errors
/// [`Error::ForeignImage`] for another zygote's, [`Error::Image`] when the file cannot be read or mapped; the
/// process then has to end.
pub fn map(engine: &Engine, file: &File) -> Result<Instance<'static>> {
    let mut first = [0; HEAD_WORDS * WORD as usize];
    file.read_exact_at(&mut first, 0).map_err(Error::Image)?;
    let first = words(&first);
    let &[MAGIC, length, zygote, heap, linear, linear_bytes, module, raw, exec_env, extents, variables] =
        first.as_slice()
    else {
        return Err(Error::ForeignImage);
    };
    let head_words = HEAD_WORDS as u64..=LONGEST_HEAD / WORD;
    if zygote != engine.zygote || !head_words.contains(&length) || extents > length || linear < heap {
        return Err(Error::ForeignImage);
    }
    let mut rest = vec![0; (length * WORD) as usize - first.len() * WORD as usize];
    file.read_exact_at(&mut rest, first.len() as u64 * WORD).map_err(Error::Image)?;
    let rest = words(&rest);
    let (extents, variables) = rest
        .split_at_checked(3 * extents as usize)
        .filter(|(_, rest)| rest.len() as u64 == variables.saturating_mul(2))
        .ok_or(Error::ForeignImage)?;

    // Fresh pages, also where the zygote had something.
    map_over(heap, linear - heap, libc::MAP_ANONYMOUS, -1, 0)?;
    if linear_bytes > 0 {
        map_over(linear, linear_bytes, libc::MAP_ANONYMOUS, -1, 0)?;
    }
    for extent in extents.chunks_exact(3) {
        if let &[address, bytes, offset] = extent {
            map_over(address, bytes, 0, file.as_raw_fd(), offset)?;
        }
    }
    for variable in variables.chunks_exact(2) {
        if let &[address, value] = variable {
            // SAFETY: a word among WAMR's variables, as another fork of the same zygote had it; this process
            // uses none of them yet.
            unsafe { (address as *mut u64).write(value) };
        }
    }
    let module = Box::leak(Box::new(Module::from_image(module as sys::wasm_module_t)));
    Ok(Instance {
        raw: raw as sys::wasm_module_inst_t,
        exec_env: exec_env as sys::wasm_exec_env_t,
        initialised: false,
        stdio: None,
        module,
    })
}

fn map_over(address: u64, bytes: u64, flags: i32, file: i32, offset: u64) -> Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | flags;
    // SAFETY: the addresses are within the range reserved for this. (A subverted builder may have written others:
    // then this process is its equal, and as confined as it was.)
    let mapped =
        unsafe { libc::mmap(address as *mut _, bytes as usize, access, flags, file, offset as libc::off_t) };
    if mapped == libc::MAP_FAILED { Err(Error::Image(io::Error::last_os_error())) } else { Ok(()) }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(8).filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?))).collect()
}

fn window() -> sys::glue_window_state {
    let mut state =
        sys::glue_window_state { bottom: 0, accessible: 0, linear: 0, linear_taken: false, outside: 0 };
    // SAFETY: one valid pointer.
    unsafe { sys::glue_window(&mut state) };
    state
}

/// Mappings of WAMR's outside the range, as the engine has after its initialisation.
pub(crate) fn mappings_outside() -> u32 {
    window().outside
}

fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

/// The pages that hold nothing but function bodies, as addresses of begin and end: loading has turned them into
/// code of the interpreter's own. Empty where the module's bytes are not in the range.
fn spent_pages(instance: &Instance<'_>) -> (u64, u64) {
    // SAFETY: the module is loaded.
    let code = unsafe { sys::glue_spent_code(instance.module.raw) };
    let window = window();
    let (start, end) = (whole_pages(code.start as u64), code.end as u64 / PAGE * PAGE);
    if start >= end || start < window.accessible as u64 || end > window.linear as u64 {
        return (window.accessible as u64, window.accessible as u64);
    }
    (start, end)
}

/// Adds the runs of pages in `start..end` that are not all zeros to `found`.
///
/// # Safety
/// The pages must be readable, and nobody may write to them.
unsafe fn extents(start: u64, end: u64, found: &[Extent]) -> Vec<Extent> {
    let mut extents: Vec<Extent> = found.to_vec();
    let own = extents.len();
    let mut address = start;
    while address < end {
        // SAFETY: the caller vouches for it; addresses are those of pages.
        let page = unsafe { std::slice::from_raw_parts(address as *const u64, (PAGE / WORD) as usize) };
        if page.iter().any(|word| *word != 0) {
            let near = extents.get_mut(own..).and_then(|own| own.last_mut());
            match near.filter(|last| address - (last.address + last.bytes) < GAP) {
                Some(last) => last.bytes = address + PAGE - last.address,
                None => extents.push(Extent { address, bytes: PAGE }),
            }
        }
        address += PAGE;
    }
    extents
}

impl Engine {
    /// The words of WAMR's variables that are not what they were once the engine was initialised.
    fn changed_variables(&self) -> Vec<(u64, u64)> {
        let now = variables();
        now.iter().zip(&self.variables).filter(|(now, then)| now != then).map(|(now, _)| *now).collect()
    }
}

/// All of WAMR's variables, as words: address and value.
pub(crate) fn variables() -> Vec<(u64, u64)> {
    let none = sys::glue_range { start: std::ptr::null_mut(), end: std::ptr::null_mut() };
    let mut ranges = [none; 2];
    // SAFETY: room for two.
    unsafe { sys::glue_variables(ranges.as_mut_ptr()) };
    let mut all = Vec::new();
    for range in ranges {
        // What lies in the same word before or after is no variable of anybody else: the sections' alignment is
        // more than a word's, and a last word that is not whole is padded by the linker.
        let (start, end) = (range.start as u64 / WORD * WORD, (range.end as u64).next_multiple_of(WORD));
        for address in (start..end).step_by(WORD as usize) {
            // SAFETY: within the program's own data, which is mapped in whole pages; aligned.
            all.push((address, unsafe { (address as *const u64).read() }));
        }
    }
    all
}
