//! The process-wide runtime.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::{Error, Result, image, signals};

/// More guest threads than a container's pids limit is likely to allow; WAMR's own default is 4.
const MAX_GUEST_THREADS: u32 = 4096;

static INITIALISED: AtomicBool = AtomicBool::new(false);
/// Where the C library keeps the id of the thread that called [`Engine::init`].
static CACHED_THREAD_ID: AtomicPtr<libc::pid_t> = AtomicPtr::new(std::ptr::null_mut());

/// WAMR, initialised. Lives as long as the process; dropping it does nothing.
///
/// Owned by the thread that initialised it and by that thread's copies in forked children.
#[derive(Debug)]
pub struct Engine {
    /// Drawn once: forks of one process have the same.
    pub(crate) zygote: u64,
    /// WAMR's variables right after initialisation, as words: address and value.
    pub(crate) variables: Vec<(u64, u64)>,
    /// WAMR's mappings, right after initialisation, that no image covers.
    pub(crate) outside: u32,
    not_send: PhantomData<*mut ()>,
}

impl Engine {
    /// Initialises WAMR on the calling thread: allocator, WASI functions, and the handlers of SIGSEGV and
    /// SIGBUS that turn an access out of bounds into a trap.
    ///
    /// WAMR extends this thread's stack to its limit (8 MiB at most) and puts guard pages at its end; no
    /// memory stays behind. Call it before the first fork. Needs `/proc`.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialised`], or [`Error::Init`] when WAMR refuses.
    pub fn init() -> Result<Engine> {
        if INITIALISED.swap(true, Ordering::Relaxed) {
            return Err(Error::AlreadyInitialised);
        }
        // SAFETY: called once per process, on the thread that is to run guests.
        if !unsafe { wamr_sys::glue_engine_init(signals::wakeup(), MAX_GUEST_THREADS) } {
            return Err(Error::Init);
        }
        remember_thread_id_address();
        Ok(Engine {
            zygote: number_of_this_zygote(),
            variables: image::variables(),
            outside: image::mappings_outside(),
            not_send: PhantomData,
        })
    }

    /// Version of the WAMR that is built in, as `major.minor.patch`.
    #[must_use]
    pub fn version() -> String {
        let (mut major, mut minor, mut patch) = (0, 0, 0);
        // SAFETY: three valid pointers.
        unsafe { wamr_sys::wasm_runtime_get_version(&mut major, &mut minor, &mut patch) };
        format!("{major}.{minor}.{patch}")
    }
}

/// Names the very build of WAMR that AOT files have to be made for: version, AOT format, and a digest of its source and
/// settings.
pub const AOT_IDENTITY: &str = wamr_sys::IDENTITY;

/// Different in every process that initialises the engine, whatever its process id.
fn number_of_this_zygote() -> u64 {
    let mut number = 0u64;
    // SAFETY: a valid buffer of eight bytes. Without entropy yet, early in a boot, the clock has to do.
    let got = unsafe { libc::getrandom((&raw mut number).cast(), 8, libc::GRND_NONBLOCK) };
    if got == 8 {
        return number;
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64) ^ (u64::from(std::process::id()) << 48)
}

/// The address that the C library registered with the kernel is that of its cached thread id. The kernel
/// forgets it in a child of a plain `clone3`, so it is read before.
fn remember_thread_id_address() {
    let mut address: *mut libc::pid_t = std::ptr::null_mut();
    // SAFETY: the kernel writes one pointer to `address`.
    if unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) } == 0 {
        CACHED_THREAD_ID.store(address, Ordering::Relaxed);
    }
}

/// In a child of `clone3` the C library still takes the main thread for the parent's. `pthread_kill`, with
/// which WAMR interrupts a blocked main thread, would then miss it or hit another one.
pub(crate) fn repair_cached_thread_id() {
    let cached = CACHED_THREAD_ID.load(Ordering::Relaxed);
    // SAFETY: the address belongs to the calling thread's control block, which the C library never frees
    // while the thread lives; only this thread writes to it (CLONE_CHILD_SETTID would do the same).
    unsafe {
        if !cached.is_null() {
            // Not `libc::gettid`: the standard library refers to it weakly, and a static link-time optimised
            // binary is then left without it.
            cached.write_volatile(libc::syscall(libc::SYS_gettid) as libc::pid_t);
        }
    }
}
