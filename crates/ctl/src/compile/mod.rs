//! `wamrctl compile`: code for a module before its first container, into the cache where the servers look.
//!
//! The same compiler in the same confinement, the same key and the same lock as a server's own compile.

mod image_module;
mod interrupt;
mod progress;

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use aot::{Cache, Code, Key, Target, Tier};
use image::{Found, Module, Modules, Origin};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use shim::aot::{Compiler, Failure, Made, contents, make};
use shim::config::{Config, PATH};

use crate::cache;
use crate::command_line::{Compile, Tiers};
use crate::output::{self, Outcome, print_json, printable, shortened};

use self::progress::Progress;

/// What came of one tier.
#[derive(Debug, Serialize)]
struct Done {
    /// Digest of the module.
    module: String,
    /// Where the module is: in its container, or the file.
    path: String,
    tier: &'static str,
    /// `compiled`; `present`, it was there before; `failed`.
    outcome: &'static str,
    /// Size of the code.
    bytes: Option<u64>,
    /// How long it took.
    seconds: f64,
    /// Why there is no code.
    reason: Option<String>,
}

/// Compiles. Not well if the module cannot be compiled.
///
/// # Errors
/// In words, when this machine cannot do it now.
pub fn run(asked: &Compile, json: bool) -> Outcome {
    let config = Config::load(Path::new(PATH), None).map_err(|e| e.to_string())?;
    let host = cgroup::Host::detect().map_err(|e| e.to_string())?;
    let compiler = Compiler::find(&config, &host)
        .map_err(|why| format!("{why}: put wamr-aotc beside this program, or set aot_compiler in {PATH}"))?;
    compiler.check()?;
    let compiler = compiler.until(interrupt::pipe()?);
    let modules = Modules::new(config.max_module_size);
    let module = match file(asked)? {
        Some(found) => modules.identify(found).map_err(|e| e.to_string())?,
        None => image_module::open(asked, &modules)?,
    };
    let (folder, size) = cache::settings(&asked.place)?;
    let cache = Cache::open(&folder, size).map_err(|e| e.to_string())?;
    let target = Target::host().map_err(|e| format!("read /proc/cpuinfo: {e}"))?;
    let mut all = Vec::new();
    for tier in tiers(asked.tier) {
        let done = one(&cache, &compiler, &module, &target, tier)?;
        if !json {
            output::print(&[line(&done)])?;
        }
        all.push(done);
    }
    if json {
        print_json(&all)?;
    }
    Ok(all.iter().all(|done| done.reason.is_none()))
}

/// Cheap code first: containers that start meanwhile have that.
fn tiers(asked: Tiers) -> Vec<Tier> {
    match asked {
        Tiers::Quick => vec![Tier::Quick],
        Tiers::Top => vec![Tier::Top],
        Tiers::All => Tier::ALL.to_vec(),
    }
}

fn one(
    cache: &Cache,
    compiler: &Compiler,
    module: &Module,
    target: &Target,
    tier: Tier,
) -> Result<Done, String> {
    let key = Key::new(module.digest.as_bytes(), zygote::AOT_IDENTITY, target, tier);
    if cache.failure(&key).is_some() {
        // This is the asking for which it waits.
        cache.remove(key.name());
    }
    let bytes = contents(module)?;
    let start = Instant::now();
    let made = {
        let _progress = Progress::show(&module.path, module.size, tier);
        make(cache, compiler, &key, tier.segue(target), &bytes)
    };
    let (outcome, size, reason) = match made {
        Ok(Made::Code(Code { size, .. })) => ("compiled", Some(size), None),
        Ok(Made::There(Code { size, .. })) => ("present", Some(size), None),
        Ok(Made::GivenUp(why)) | Err(Failure::Module(why)) => ("failed", None, Some(why)),
        Err(Failure::Machine(why)) => {
            return Err(format!("{} is not compiled: {why}", module.path.display()));
        }
    };
    Ok(Done {
        module: format!("sha256:{}", module.digest),
        path: module.path.display().to_string(),
        tier: tier.name(),
        outcome,
        bytes: size,
        seconds: start.elapsed().as_secs_f64(),
        reason,
    })
}

fn line(done: &Done) -> String {
    let Done { module, path, tier, outcome, bytes, seconds, reason } = done;
    let what = match (bytes, reason) {
        (_, Some(why)) => format!("{outcome}: {why}"),
        (Some(bytes), None) => format!("{outcome}, {} KiB, {seconds:.1} s", bytes.div_ceil(1024)),
        (None, None) => (*outcome).to_owned(),
    };
    printable(&format!("{path} ({}): tier {tier}: {what}", shortened(module, false)))
}

/// A file of that name; `None` if an image is meant.
fn file(asked: &Compile) -> Result<Option<Found>, String> {
    let path = Path::new(&asked.what);
    let certain = asked.what.starts_with(['/', '.']);
    if !certain && !path.is_file() {
        return Ok(None);
    }
    let failed = |e: std::io::Error| format!("open {}: {e}", path.display());
    // Opening a FIFO for reading would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(|e| failed(e.into()))?;
    let stat = file.metadata().map_err(failed)?;
    if !stat.is_file() {
        return Err(format!("{} is no file", path.display()));
    }
    let origin = Origin::Device(std::os::unix::fs::MetadataExt::dev(&stat));
    Ok(Some(Found { file, path: path.to_owned(), export: None, origin }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command_line::{Action, CommandLine};

    fn asked(what: &str) -> Compile {
        match CommandLine::try_parse_from(["wamrctl", "compile", what]).unwrap().action {
            Action::Compile(asked) => asked,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_means_a_file_and_another_name_an_image() {
        assert!(file(&asked("/proc/self/exe")).unwrap().is_some());
        for path in ["/nonexistent.wasm", "./nonexistent.wasm", "/tmp"] {
            assert!(file(&asked(path)).unwrap_err().contains(path), "{path}");
        }
        assert!(file(&asked("docker.io/library/hello:1")).unwrap().is_none());
    }

    #[test]
    fn the_cheap_tier_comes_first() {
        assert_eq!(tiers(asked("a").tier), [Tier::Quick, Tier::Top]);
    }
}
