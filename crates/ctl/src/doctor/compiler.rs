//! The compiler and its cache: without them containers run, slower.

use std::path::Path;

use aot::Cache;
use shim::aot::Compiler;
use shim::config::{AotMode, Config, PATH};

use super::Check;

/// One line each.
pub fn examine() -> Vec<Check> {
    // What is wrong with the settings is told elsewhere.
    let config = Config::load(Path::new(PATH), None).unwrap_or_default();
    if config.aot == AotMode::Off {
        return vec![Check::ok("compiler", "aot is off: modules run interpreted")];
    }
    vec![compiler(&config), cache(&config)]
}

fn compiler(config: &Config) -> Check {
    let name = "compiler";
    let found = cgroup::Host::detect()
        .map_err(|e| e.to_string())
        .and_then(|host| Compiler::find(config, &host))
        .and_then(|compiler| compiler.check().map(|()| compiler.program().display().to_string()));
    match found {
        Ok(program) => Check::ok(name, program),
        Err(why) => Check::warning(
            name,
            format!("modules run interpreted: {why}"),
            "put wamr-aotc of this release beside the shim (make build-aotc builds it), or set aot_compiler",
        ),
    }
}

fn cache(config: &Config) -> Check {
    let name = "cache";
    let place = &config.aot_cache;
    if place.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Check::ok(name, format!("{} is not made yet", place.display()));
    }
    match Cache::open(place, config.aot_cache_size) {
        Ok(_) => Check::ok(name, place.display().to_string()),
        Err(e) => Check::warning(
            name,
            format!("modules run interpreted: {e}"),
            format!(
                "chown -R root {0} && chmod -R go-w {0}, and likewise for the folders above it",
                place.display()
            ),
        ),
    }
}
