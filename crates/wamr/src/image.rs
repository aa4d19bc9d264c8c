//! An instance as a file: made once per module, mapped copy-on-write by every container of it.
//!
//! All that loading and instantiation leave behind lies in two known places: the range that `glue/window.c`
//! reserves (WAMR's heap, the module's bytes, the linear memory and its guard pages) and the variables of WAMR's
//! library. A file of an instance holds the pages of the range that are not all zeros, and the words of the
//! variables that are not what they were when the engine was initialised. (So do the stack and the registers of a guest that
//! stands at its ready point: see `warm.rs`.) Both are put back at the same
//! addresses, so the pointers in them hold; the processes must be forks of one zygote for that, which a number
//! drawn in [`Engine::init`] proves.
//!
//! Layout, in 64-bit words of this machine: `magic, words of the head in all, zygote, first writable address of
//! the heap, start and bytes of the linear memory, module, instance, execution environment, start and end of the
//! compiled code and its offset in the file, extents, variables`, then for each extent `start, end, offset in the file`,
//! then for each variable `address, value`. The extents' bytes follow, each on a page of its own, and last the code.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use wamr_sys as sys;

use crate::code;
use crate::module::Module;
use crate::pages::{PAGE, Pages, WORD};
use crate::{Engine, Error, Instance, Result, warm};

const MAGIC: u64 = u64::from_ne_bytes(*b"wamrimg2");
const HEAD_WORDS: usize = 14;
/// No head that [`write`] makes is longer: an extent per 80 KiB of 8 GiB.
const LONGEST_HEAD: u64 = 4 << 20;

/// The first words, as they were written by what may be anybody: checked only as far as reading goes on from here.
struct Head {
    words: u64,
    heap: u64,
    linear: Pages,
    module: u64,
    instance: u64,
    exec_env: u64,
    code: Pages,
    code_offset: u64,
    extents: u64,
    variables: u64,
}

/// Compiled code of an image, executable in this process. Empty where the module is interpreted.
#[derive(Debug)]
pub struct Code(Pages);

/// Writes the instance with its compiled code, from the file's first byte to its last and to nowhere else, so that it may go through a pipe. Either
/// no guest code has run, or the guest stands at its ready point ([`Instance::run_until_ready`]): then without the code, as
/// such a process may be anybody's. The process is of no use for running it afterwards: it has no WASI context and has given
/// up its free memory. Returns the file's size in bytes.
///
/// # Errors
/// [`Error::NoImage`] when some of its state is not where an image covers it, such as a very large module: it
/// has to be loaded in each process. [`Error::Image`] when the file cannot be written.
pub fn write(engine: &Engine, instance: &Instance<'_>, mut file: impl Write) -> Result<u64> {
    // SAFETY: the instance exists and runs no guest code now.
    unsafe {
        sys::glue_wasi_drop(instance.raw);
        sys::glue_heap_settle();
    }
    let window = window();
    // SAFETY: the instance exists.
    let linear_bytes = unsafe { sys::glue_memory_bytes(instance.raw) };
    let (heap, linear) = (window.accessible as u64, window.linear as u64);
    let whole_heap = Pages { start: heap, end: linear };
    let source = instance.module.source_place();
    let source_covered =
        instance.module.was_mapped() || source.is_some_and(|(start, _)| (heap..linear).contains(&start));
    let code = code::loaded();
    if linear == 0
        || !source_covered
        || code.is_some_and(|code| !whole_heap.contains(code))
        || window.outside != engine.outside
        || (linear_bytes > 0) != window.linear_taken
    {
        return Err(Error::NoImage);
    }
    let mut left_out = spent_pages(instance);
    // It is mapped in another way.
    left_out.extend(code);
    left_out.push(warm::guard());
    let mut extents = Vec::new();
    // SAFETY: this is the heap's and the linear memory's accessible part; nobody writes to it meanwhile.
    unsafe {
        for part in whole_heap.without(left_out) {
            part.find_used(&mut extents);
        }
        Pages { start: linear, end: linear + linear_bytes }.find_used(&mut extents);
    }
    let variables = engine.changed_variables();

    let words = HEAD_WORDS + 3 * extents.len() + 2 * variables.len();
    let code = code.unwrap_or(Pages { start: heap, end: heap });
    let ran = instance.initialised;
    let first = (words as u64 * WORD).next_multiple_of(PAGE);
    let mut offset = first;
    let mut head = vec![MAGIC, words as u64, engine.zygote, heap, linear, linear_bytes];
    head.extend([instance.module.raw as u64, instance.raw as u64, instance.exec_env as u64]);
    let code_offset = first + extents.iter().map(|pages| pages.bytes()).sum::<u64>();
    head.extend([code.start, code.end, code_offset]);
    head.extend([extents.len() as u64, variables.len() as u64]);
    for pages in &extents {
        head.extend([pages.start, pages.end, offset]);
        offset += pages.bytes();
    }
    head.extend(variables.into_iter().flat_map(|(address, value)| [address, value]));
    let mut head: Vec<u8> = head.into_iter().flat_map(u64::to_ne_bytes).collect();
    head.resize(first as usize, 0);
    file.write_all(&head).map_err(Error::Image)?;
    for pages in extents.iter().chain((!ran).then_some(&code)) {
        // SAFETY: as above; the code's pages can be read like the others.
        let bytes = unsafe { std::slice::from_raw_parts(pages.start as *const u8, pages.bytes() as usize) };
        file.write_all(bytes).map_err(Error::Image)?;
    }
    let offset = if ran { offset } else { offset + code.bytes() };
    Ok(offset)
}

/// Maps the compiled code of an image of a guest that has not run, where it can be read and executed and never be written to. [`map`] follows.
///
/// For a process that is confined but, unlike when it calls [`map`], not yet kept from making memory executable. So
/// nothing of the image is believed here but where its code lies, and that only within the range where nothing is
/// that this process uses before [`map`].
///
/// # Errors
/// As [`map`]; [`Error::Code`] when the kernel does not allow it.
pub fn map_code(engine: &Engine, file: &File) -> Result<Code> {
    let head = Head::read(engine, file)?;
    let window = window();
    let range = Pages { start: window.bottom as u64, end: window.linear as u64 };
    let aligned = [head.code.start, head.code.end, head.code_offset].iter().all(|number| number % PAGE == 0);
    if !aligned || !range.contains(head.code) {
        return Err(Error::ForeignImage);
    }
    if head.code.bytes() > 0 {
        let access = libc::PROT_READ | libc::PROT_EXEC;
        map_over(head.code, access, Some((file, head.code_offset))).map_err(Error::Code)?;
    }
    Ok(Code(head.code))
}

/// Maps an instance that [`write`] wrote in another fork of this process's zygote. The file must not change any
/// more (a sealed memfd). The process may not have loaded anything before, and can have only this one instance. That of a
/// compiled module needs its `code`.
///
/// What is in the file decides what is mapped where and what is run later: only call it where the module itself
/// could be loaded, in the process that is confined for it. That of a guest at its ready point goes with the code of the image
/// which that guest was started from.
///
/// # Errors
/// [`Error::ForeignImage`] for another zygote's, or with other code than what is given; [`Error::Image`] when the file
/// cannot be read or mapped; the process then has to end.
pub fn map(engine: &Engine, file: &File, code: Option<Code>) -> Result<Instance<'static>> {
    let head = Head::read(engine, file)?;
    let code = code.map_or(Pages { start: head.code.start, end: head.code.start }, |Code(pages)| pages);
    if code != head.code {
        return Err(Error::ForeignImage);
    }
    let mut rest = vec![0; (head.words as usize - HEAD_WORDS) * WORD as usize];
    file.read_exact_at(&mut rest, HEAD_WORDS as u64 * WORD).map_err(Error::Image)?;
    let rest = words(&rest);
    let (extents, variables) = rest
        .split_at_checked(3 * head.extents as usize)
        .filter(|(_, rest)| rest.len() as u64 == head.variables.saturating_mul(2))
        .ok_or(Error::ForeignImage)?;

    let access = libc::PROT_READ | libc::PROT_WRITE;
    // Fresh pages, also where the zygote had something.
    let heap = Pages { start: head.heap, end: head.linear.start };
    for pages in heap.without(vec![code]).into_iter().chain([head.linear]).filter(|pages| pages.bytes() > 0) {
        map_over(pages, access, None).map_err(Error::Image)?;
    }
    for extent in extents.chunks_exact(3) {
        if let &[start, end, offset] = extent {
            map_over(Pages { start, end }, access, Some((file, offset))).map_err(Error::Image)?;
        }
    }
    for variable in variables.chunks_exact(2) {
        if let &[address, value] = variable {
            // SAFETY: a word among WAMR's variables, as another fork of the same zygote had it; this process
            // uses none of them yet.
            unsafe { (address as *mut u64).write(value) };
        }
    }
    let module = Box::leak(Box::new(Module::from_image(head.module as sys::wasm_module_t)));
    Ok(Instance {
        raw: head.instance as sys::wasm_module_inst_t,
        exec_env: head.exec_env as sys::wasm_exec_env_t,
        initialised: false,
        stdio: None,
        module,
    })
}

impl Head {
    fn read(engine: &Engine, file: &File) -> Result<Head> {
        let mut first = [0; HEAD_WORDS * WORD as usize];
        file.read_exact_at(&mut first, 0).map_err(Error::Image)?;
        let first = words(&first);
        let &[MAGIC, words, zygote, heap, linear, linear_bytes, module, instance, exec_env, ref rest @ ..] =
            first.as_slice()
        else {
            return Err(Error::ForeignImage);
        };
        let &[start, end, code_offset, extents, variables] = rest else { return Err(Error::ForeignImage) };
        let possible = (HEAD_WORDS as u64..=LONGEST_HEAD / WORD).contains(&words) && extents <= words;
        if zygote != engine.zygote || !possible || linear < heap || end < start {
            return Err(Error::ForeignImage);
        }
        let linear = Pages { start: linear, end: linear.saturating_add(linear_bytes) };
        let code = Pages { start, end };
        Ok(Head { words, heap, linear, module, instance, exec_env, code, code_offset, extents, variables })
    }
}

/// Privately; fresh pages without a file, else those from an offset of it on.
fn map_over(pages: Pages, access: i32, from: Option<(&File, u64)>) -> io::Result<()> {
    let (file, offset, flags) = match from {
        Some((file, offset)) => (file.as_raw_fd(), offset, 0),
        None => (-1, 0, libc::MAP_ANONYMOUS),
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | flags;
    let (start, bytes) = (pages.start as *mut _, pages.bytes() as usize);
    // SAFETY: the addresses are within the range reserved for this. (A subverted builder may have written others:
    // then this process is its equal, and as confined as it was.)
    let mapped = unsafe { libc::mmap(start, bytes, access, flags, file, offset as libc::off_t) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
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

/// The pages that hold nothing but what loading has turned into something of its own: function bodies, compiled code,
/// relocations. Only those of the range.
fn spent_pages(instance: &Instance<'_>) -> Vec<Pages> {
    // SAFETY: the module is loaded.
    let bodies = unsafe { sys::glue_spent_code(instance.module.raw) };
    let window = window();
    let range = Pages { start: window.accessible as u64, end: window.linear as u64 };
    let mut spent = instance.module.spent_sections();
    spent.push(Pages::within(bodies.start as u64, bodies.end as u64));
    spent.retain(|pages| range.contains(*pages));
    spent
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
