//! The calls into C: `glue/aotc.h`.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::ops::Range;

use aot::Tier;

/// `aotc_options` of glue/aotc.h.
#[repr(C)]
struct Options {
    level: u32,
    passes: *const c_char,
    flags: *const c_char,
    segue: bool,
}

#[repr(C)]
struct RawModule {
    opaque: [u8; 0],
}

/// `aotc_outcome`.
const DONE: u32 = 0;
const TAIL_CALLS: u32 = 2;

// SAFETY: as glue/aotc.h declares them.
unsafe extern "C" {
    fn aotc_init() -> bool;
    fn aotc_open(
        wasm: *mut u8,
        wasm_size: u32,
        options: *const Options,
        error: *mut c_char,
        error_size: u32,
    ) -> *mut RawModule;
    fn aotc_function_count(module: *const RawModule) -> u32;
    fn aotc_function_size(module: *const RawModule, function: u32) -> u32;
    fn aotc_object(
        module: *mut RawModule,
        from: u32,
        to: u32,
        object: *mut *const u8,
        object_size: *mut u64,
        error: *mut c_char,
        error_size: u32,
    ) -> u32;
    fn aotc_finish(
        module: *mut RawModule,
        object: *const u8,
        object_size: u64,
        aot: *mut *mut u8,
        aot_size: *mut u32,
        error: *mut c_char,
        error_size: u32,
    ) -> u32;
    fn aotc_free(aot: *mut u8);
    fn aotc_close(module: *mut RawModule);
}

/// Starts LLVM and WAMR; once per process. False if that fails.
pub fn init() -> bool {
    // SAFETY: takes nothing; the one caller is `Compiler::start`.
    unsafe { aotc_init() }
}

/// Why a step failed.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The compiler's own words.
    Refused(String),
    /// The tier is not for a module with tail calls.
    TailCalls,
}

/// A module that is being compiled.
pub struct Module<'wasm> {
    raw: *mut RawModule,
    // What C has pointers to.
    _options: Box<(Options, [CString; 2])>,
    wasm: PhantomData<&'wasm mut [u8]>,
}

impl<'wasm> Module<'wasm> {
    /// Loads a module, whose bytes WAMR edits.
    pub fn open(wasm: &'wasm mut [u8], tier: Tier, segue: bool) -> Result<Module<'wasm>, Failure> {
        let size = u32::try_from(wasm.len()).map_err(|_| {
            Failure::Refused(format!("the module has {} bytes; 4 GiB is the most", wasm.len()))
        })?;
        let text = |text: Option<&str>| CString::new(text.unwrap_or_default()).unwrap_or_default();
        let strings = [text(tier.passes()), text(tier.flags())];
        let [passes, flags] = strings.each_ref().map(|text| text.as_ptr());
        let options = Box::new((Options { level: tier.level(), passes, flags, segue }, strings));
        let mut words = Words::new();
        // SAFETY: the bytes are writable, of this size, and outlive the module, as do the options; there is room for words.
        let raw = unsafe { aotc_open(wasm.as_mut_ptr(), size, &options.0, words.start(), Words::ROOM) };
        match raw.is_null() {
            true => Err(Failure::Refused(words.text())),
            false => Ok(Module { raw, _options: options, wasm: PhantomData }),
        }
    }

    /// Sizes of its functions in bytes of wasm, in order.
    pub fn sizes(&self) -> Vec<u32> {
        // SAFETY: the module is open.
        let count = unsafe { aotc_function_count(self.raw) };
        // SAFETY: likewise, and the number is below the count.
        (0..count).map(|function| unsafe { aotc_function_size(self.raw, function) }).collect()
    }

    /// Compiles these functions. Once, in this process: afterwards the module has no others. (So it takes it by shared
    /// reference only to be called in a fork.)
    pub fn object(&self, functions: &Range<u32>) -> Result<&[u8], Failure> {
        let (mut object, mut size) = (std::ptr::null(), 0);
        let mut words = Words::new();
        // SAFETY: the module is open; all results have room.
        let outcome = unsafe {
            aotc_object(
                self.raw,
                functions.start,
                functions.end,
                &mut object,
                &mut size,
                words.start(),
                Words::ROOM,
            )
        };
        match outcome {
            // SAFETY: so many bytes are there, as long as the module is.
            DONE => Ok(unsafe { std::slice::from_raw_parts(object, size as usize) }),
            TAIL_CALLS => Err(Failure::TailCalls),
            _ => Err(Failure::Refused(words.text())),
        }
    }

    /// The AOT file of an object with all functions.
    pub fn finish(&self, object: &[u8]) -> Result<Code, Failure> {
        let (mut start, mut size) = (std::ptr::null_mut(), 0);
        let mut words = Words::new();
        // SAFETY: the module is open, the object is only read, all results have room.
        let outcome = unsafe {
            aotc_finish(
                self.raw,
                object.as_ptr(),
                object.len() as u64,
                &mut start,
                &mut size,
                words.start(),
                Words::ROOM,
            )
        };
        match outcome {
            DONE => Ok(Code { start, size: size as usize }),
            _ => Err(Failure::Refused(words.text())),
        }
    }
}

impl Drop for Module<'_> {
    fn drop(&mut self) {
        // SAFETY: open until now.
        unsafe { aotc_close(self.raw) };
    }
}

/// Room for C's words.
struct Words([c_char; 512]);

impl Words {
    /// One less than there is: the last byte stays zero.
    const ROOM: u32 = 511;

    fn new() -> Words {
        Words([0; 512])
    }

    fn start(&mut self) -> *mut c_char {
        self.0.as_mut_ptr()
    }

    fn text(&self) -> String {
        // SAFETY: ends with zero, see above.
        unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_string_lossy().into_owned()
    }
}

/// What WAMR has allocated for an AOT file.
pub struct Code {
    start: *mut u8,
    size: usize,
}

impl Code {
    /// The file.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are there, which are ours until they are freed.
        unsafe { std::slice::from_raw_parts(self.start, self.size) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: allocated by `aotc_finish`, not freed before.
        unsafe { aotc_free(self.start) };
    }
}
