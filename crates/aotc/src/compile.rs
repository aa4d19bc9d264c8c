//! The call into C.

use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;

use aot::Tier;

/// `aotc_options` of glue/aotc.h.
#[repr(C)]
struct Options {
    level: u32,
    passes: *const c_char,
    segue: bool,
}

unsafe extern "C" {
    fn aotc_init() -> bool;
    fn aotc_compile(
        wasm: *mut u8,
        wasm_size: u32,
        options: *const Options,
        aot: *mut *mut u8,
        aot_size: *mut u32,
        error: *mut c_char,
        error_size: u32,
    ) -> bool;
    fn aotc_free(aot: *mut u8);
}

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LLVM or WAMR did not start.
    #[error("the compiler cannot be started: out of memory")]
    Init,
    /// More than WAMR can address.
    #[error("the module has {0} bytes; 4 GiB is the most")]
    TooLarge(usize),
    /// The compiler's own words.
    #[error("{0}")]
    Refused(String),
}

/// The compiler, started. Belongs to the thread that made it.
#[derive(Debug)]
pub struct Compiler {
    not_send: PhantomData<*mut ()>,
}

impl Compiler {
    /// Starts LLVM and WAMR. To be called once per process, before it is confined.
    ///
    /// # Errors
    /// [`Error::Init`].
    pub fn start() -> Result<Compiler, Error> {
        // SAFETY: takes nothing; the one caller is `main`.
        if unsafe { aotc_init() } { Ok(Compiler { not_send: PhantomData }) } else { Err(Error::Init) }
    }

    /// Compiles a module for the processor this runs on, and passes the code to `take`. With `segue`, the code runs only
    /// where user programs may write the GS base.
    ///
    /// A hostile module may crash or hang it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Refused`].
    pub fn compile<T>(
        &self,
        wasm: &mut [u8],
        tier: Tier,
        segue: bool,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Error> {
        let size = u32::try_from(wasm.len()).map_err(|_| Error::TooLarge(wasm.len()))?;
        let passes = tier.passes().and_then(|passes| CString::new(passes).ok());
        let options = Options {
            level: tier.level(),
            passes: passes.as_ref().map_or(std::ptr::null(), |passes| passes.as_ptr()),
            segue,
        };
        let (mut aot, mut aot_size) = (std::ptr::null_mut(), 0);
        let mut reason: [c_char; 512] = [0; 512];
        // SAFETY: the bytes are writable and of this size; `passes` lives beyond the call; all results have room,
        // and the reason ends with NUL because the array is zero and the size given is one less.
        let done = unsafe {
            aotc_compile(
                wasm.as_mut_ptr(),
                size,
                &options,
                &mut aot,
                &mut aot_size,
                reason.as_mut_ptr(),
                reason.len() as u32 - 1,
            )
        };
        if !done {
            // SAFETY: see above.
            let reason = unsafe { CStr::from_ptr(reason.as_ptr()) };
            return Err(Error::Refused(reason.to_string_lossy().into_owned()));
        }
        // SAFETY: on success there are so many bytes, which are ours until they are freed.
        let result = take(unsafe { std::slice::from_raw_parts(aot, aot_size as usize) });
        // SAFETY: not freed before, and the slice is gone.
        unsafe { aotc_free(aot) };
        Ok(result)
    }
}
