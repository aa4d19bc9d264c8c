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

/// `aotc_outcome`.
const DONE: u32 = 0;
const TAIL_CALLS: u32 = 2;

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
    ) -> u32;
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
    /// where user programs may write the GS base. A module with tail calls gets the top tier's code in any case: only
    /// there do they keep the stack from growing.
    ///
    /// A hostile module may crash or hang it.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Refused`].
    pub fn compile<T>(
        &self,
        mut wasm: Vec<u8>,
        tier: Tier,
        segue: bool,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Error> {
        let untouched = (tier == Tier::Quick).then(|| wasm.clone());
        match (self.attempt(&mut wasm, tier, segue)?, untouched) {
            (Some(code), _) => Ok(take(code.bytes())),
            (None, Some(mut wasm)) => match self.attempt(&mut wasm, Tier::Top, segue)? {
                Some(code) => Ok(take(code.bytes())),
                None => Err(Error::Refused("tail calls".to_owned())),
            },
            (None, None) => Err(Error::Refused("tail calls".to_owned())),
        }
    }

    /// `None` if this tier is not for the module's tail calls. WAMR edits the bytes.
    fn attempt(&self, wasm: &mut [u8], tier: Tier, segue: bool) -> Result<Option<Code>, Error> {
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
        let outcome = unsafe {
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
        match outcome {
            DONE => Ok(Some(Code { start: aot, size: aot_size as usize })),
            TAIL_CALLS => Ok(None),
            _ => {
                // SAFETY: see above.
                let reason = unsafe { CStr::from_ptr(reason.as_ptr()) };
                Err(Error::Refused(reason.to_string_lossy().into_owned()))
            }
        }
    }
}

/// What WAMR has allocated for an AOT file.
struct Code {
    start: *mut u8,
    size: usize,
}

impl Code {
    fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are there, which are ours until they are freed.
        unsafe { std::slice::from_raw_parts(self.start, self.size) }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: allocated by `aotc_compile`, not freed before.
        unsafe { aotc_free(self.start) };
    }
}
