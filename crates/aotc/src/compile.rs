//! From a module to an AOT file.

use std::marker::PhantomData;

use aot::Tier;

use crate::ffi::{self, Code, Module};
use crate::merge::merge;
use crate::parts::parts;
use crate::workers::{self, Failure};

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// LLVM or WAMR did not start.
    #[error("the compiler cannot be started: out of memory")]
    Init,
    /// The compiler's own words.
    #[error("{0}")]
    Refused(String),
    /// A signal ended a process that compiled a part.
    #[error("a part of the compiler was ended by signal {0}")]
    Killed(i32),
    /// The machine's fault.
    #[error("compile in several processes: {0}")]
    Machine(std::io::Error),
}

/// The compiler, started. Belongs to the thread that made it, which must be the only one.
#[derive(Debug)]
pub struct Compiler {
    not_send: PhantomData<*mut ()>,
}

/// What a worker leaves in place of an object.
const TAIL_CALLS: &[u8] = b"tail calls";

impl Compiler {
    /// Starts LLVM and WAMR. To be called once per process, after it is confined.
    ///
    /// # Errors
    /// [`Error::Init`].
    pub fn start() -> Result<Compiler, Error> {
        if ffi::init() { Ok(Compiler { not_send: PhantomData }) } else { Err(Error::Init) }
    }

    /// Compiles a module for the processor this runs on, and passes the code to `take`. With `segue`, the code runs only
    /// where user programs may write the GS base. A module with tail calls gets the top tier's code in any case: only
    /// there do they keep the stack from growing. Parts of a large module are compiled by forks of this process.
    ///
    /// A hostile module may crash or hang it.
    ///
    /// # Errors
    /// All but [`Error::Init`].
    pub fn compile<T>(
        &self,
        wasm: Vec<u8>,
        tier: Tier,
        segue: bool,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Error> {
        let untouched = (tier == Tier::Quick).then(|| wasm.clone());
        match (attempt(wasm, tier, segue)?, untouched) {
            (Some(code), _) => Ok(take(code.bytes())),
            (None, Some(wasm)) => self.compile(wasm, Tier::Top, segue, take),
            (None, None) => Err(Error::Refused("tail calls".to_owned())),
        }
    }
}

/// `None` if this tier is not for the module's tail calls.
fn attempt(mut wasm: Vec<u8>, tier: Tier, segue: bool) -> Result<Option<Code>, Error> {
    let refused = |failure| match failure {
        ffi::Failure::Refused(why) => Err(Error::Refused(why)),
        ffi::Failure::TailCalls => Ok(None),
    };
    let module = match Module::open(&mut wasm, tier, segue) {
        Ok(module) => module,
        Err(failure) => return refused(failure),
    };
    let parts = parts(&module.sizes());
    let objects = match parts.as_slice() {
        [all] => match module.object(all) {
            Ok(object) => vec![object.to_vec()],
            Err(failure) => return refused(failure),
        },
        parts => {
            let work = |part: &_, leave: &mut dyn FnMut(&[u8])| match module.object(part) {
                Ok(object) => {
                    leave(object);
                    Ok(())
                }
                Err(ffi::Failure::Refused(why)) => Err(why.into_bytes()),
                Err(ffi::Failure::TailCalls) => Err(TAIL_CALLS.to_vec()),
            };
            match workers::run(parts, work) {
                Ok(objects) => objects,
                Err(Failure::Work(words)) if words == TAIL_CALLS => return Ok(None),
                Err(Failure::Work(words)) => {
                    return Err(Error::Refused(String::from_utf8_lossy(&words).into_owned()));
                }
                Err(Failure::Killed(signal)) => return Err(Error::Killed(signal)),
                Err(Failure::Machine(e)) => return Err(Error::Machine(e)),
            }
        }
    };
    let merged = merge(objects.iter().map(Vec::as_slice)).map_err(Error::Refused)?;
    drop(objects);
    let code = module.finish(&merged).map(Some).or_else(refused);
    if code.is_ok() {
        // The process ends now. To take LLVM's module apart would take longer than to write the code.
        std::mem::forget(module);
    }
    code
}
