//! `wamrctl cache`: the cache of compiled code.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aot::{Entry, Key, State, Target, Tier};
use serde::Serialize;
use shim::config::{Config, PATH};

use crate::command_line::{Cache, Place};
use crate::output::{self, Align, Outcome, Table, print_json, shortened};

/// One entry, as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    /// Name of its files without the ending.
    name: String,
    /// Digest of the module; absent if the entry does not say.
    module: Option<String>,
    tier: Option<String>,
    /// Bytes on disk.
    size: u64,
    /// Seconds since it was last used.
    idle_seconds: u64,
    /// `good`; `stale`, made for another processor or release; `failed`, could not be compiled; `damaged`.
    state: &'static str,
    /// Why it could not be compiled.
    reason: Option<String>,
}

/// Does what is asked.
///
/// # Errors
/// When the cache cannot be used.
pub fn run(asked: &Cache, json: bool) -> Outcome {
    match asked {
        Cache::Ls { place, no_trunc } => list(place, *no_trunc, json),
        Cache::Rm { place, which, all, failed } => {
            let wanted = |entry: &Entry| {
                *all || (*failed && matches!(entry.state, State::Failed(_)))
                    || which.iter().any(|start| matches(entry, start))
            };
            remove(place, which, wanted, json)
        }
        Cache::Verify { place } => verify(place, json),
        Cache::Gc { place, size } => collect(place, *size, json),
    }
}

fn list(place: &Place, whole: bool, json: bool) -> Outcome {
    let entries = match open(place, None)? {
        Some(cache) => cache.entries().map_err(|e| e.to_string())?,
        None => Vec::new(),
    };
    let mut entries: Vec<Shown> = entries.iter().map(shown).collect();
    entries.sort_by_key(|entry| entry.idle_seconds);
    if json {
        print_json(&entries)?;
        return Ok(true);
    }
    let left = |name| (name, Align::Left);
    let mut table = Table::new(&[
        left("NAME"),
        left("MODULE"),
        left("TIER"),
        ("SIZE KiB", Align::Right),
        ("LAST USE", Align::Right),
        left("STATE"),
    ]);
    for entry in entries {
        let reason = entry.reason.as_ref().and_then(|reason| reason.lines().next());
        let unknown = || "-".to_owned();
        table.add([
            shortened(&entry.name, whole),
            entry.module.as_ref().map_or_else(unknown, |module| shortened(module, whole)),
            entry.tier.unwrap_or_else(unknown),
            entry.size.div_ceil(1024).to_string(),
            age(entry.idle_seconds),
            reason.map_or_else(|| entry.state.to_owned(), |reason| format!("{}: {reason}", entry.state)),
        ]);
    }
    output::print(&table.lines())?;
    Ok(true)
}

fn remove(place: &Place, which: &[String], wanted: impl Fn(&Entry) -> bool, json: bool) -> Outcome {
    let Some(cache) = open(place, None)? else {
        return tell(json, &[], "removed", which.is_empty());
    };
    let entries = cache.entries().map_err(|e| e.to_string())?;
    let (going, staying): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| wanted(entry));
    for entry in &going {
        cache.remove(&entry.name);
    }
    let mut complete = true;
    for start in which.iter().filter(|start| !going.iter().any(|entry| matches(entry, start))) {
        output::complain(&format!("nothing in the cache begins with {start:?} ({} entries)", staying.len()));
        complete = false;
    }
    tell(json, &going, "removed", complete)
}

fn verify(place: &Place, json: bool) -> Outcome {
    let damaged = match open(place, None)? {
        Some(cache) => cache.verify().map_err(|e| e.to_string())?,
        None => Vec::new(),
    };
    tell(json, &damaged, "damaged and dropped", damaged.is_empty())
}

fn collect(place: &Place, size: Option<u64>, json: bool) -> Outcome {
    let Some(cache) = open(place, size)? else { return tell(json, &[], "removed", true) };
    let before = cache.entries().map_err(|e| e.to_string())?;
    cache.trim().map_err(|e| e.to_string())?;
    let after = cache.entries().map_err(|e| e.to_string())?;
    let gone = |entry: &Entry| !after.iter().any(|left| left.name == entry.name);
    let gone: Vec<Entry> = before.into_iter().filter(gone).collect();
    tell(json, &gone, "removed", true)
}

/// Says what happened to which entries, and returns whether all is well.
fn tell(json: bool, entries: &[Entry], what: &str, well: bool) -> Outcome {
    if json {
        print_json(&entries.iter().map(shown).collect::<Vec<_>>())?;
        return Ok(well);
    }
    let mut lines: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {what} ({} KiB)", shortened(&entry.name, false), entry.size.div_ceil(1024)))
        .collect();
    let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
    let name = if entries.len() == 1 { "entry" } else { "entries" };
    lines.push(format!("{} {name} {what}, {} KiB", entries.len(), bytes.div_ceil(1024)));
    output::print(&lines)?;
    Ok(well)
}

/// `None` if there is no cache yet: looking makes none.
fn open(place: &Place, size: Option<u64>) -> Result<Option<aot::Cache>, String> {
    let (folder, configured) = settings(place)?;
    match folder.symlink_metadata() {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            return Err(format!("{} is for root: run wamrctl as root", folder.display()));
        }
        Err(e) => return Err(format!("look at {}: {e}", folder.display())),
    }
    aot::Cache::open(&folder, size.unwrap_or(configured)).map(Some).map_err(|e| e.to_string())
}

/// Folder and size: what is asked for, else what is configured.
pub fn settings(place: &Place) -> Result<(PathBuf, u64), String> {
    let config = Config::load(Path::new(PATH), None).map_err(|e| e.to_string())?;
    Ok((place.folder.clone().unwrap_or(config.aot_cache), config.aot_cache_size))
}

fn shown(entry: &Entry) -> Shown {
    let (state, reason) = match &entry.state {
        State::Damaged => ("damaged", None),
        State::Failed(reason) => ("failed", Some(reason.clone())),
        State::Good if is_for_this_machine(entry) => ("good", None),
        State::Good => ("stale", None),
    };
    Shown {
        name: entry.name.clone(),
        module: line(entry, "module ").map(str::to_owned),
        tier: line(entry, "tier ").map(str::to_owned),
        size: entry.size,
        idle_seconds: SystemTime::now().duration_since(entry.used).unwrap_or_default().as_secs(),
        state,
        reason,
    }
}

/// What an entry says about itself in the line that begins so.
fn line<'e>(entry: &'e Entry, start: &str) -> Option<&'e str> {
    entry.text.lines().find_map(|line| line.strip_prefix(start))
}

/// Whether a server of this release would find it on this machine.
fn is_for_this_machine(entry: &Entry) -> bool {
    let key = || {
        let digest = digest(line(entry, "module sha256:")?)?;
        let tier: Tier = line(entry, "tier ")?.parse().ok()?;
        Some(Key::new(&digest, zygote::AOT_IDENTITY, &Target::host().ok()?, tier))
    };
    key().is_some_and(|key| key.name() == entry.name)
}

fn digest(hexadecimal: &str) -> Option<[u8; 32]> {
    let bytes: Option<Vec<u8>> = (0..hexadecimal.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hexadecimal.get(at..at + 2)?, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

fn matches(entry: &Entry, start: &str) -> bool {
    let module = line(entry, "module ").unwrap_or_default();
    let begins = |whole: &str| !start.is_empty() && whole.starts_with(start);
    begins(&entry.name) || begins(module) || begins(module.trim_start_matches("sha256:"))
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &Key) -> Entry {
        let text = key.text().to_owned();
        Entry { name: key.name().to_owned(), text, size: 1, used: SystemTime::now(), state: State::Good }
    }

    #[test]
    fn code_for_another_processor_or_release_is_stale() {
        let here = Target::host().unwrap();
        let other = Target::parse("vendor_id: x\nflags: avx\nFeatures: avx\n");
        let state = |runtime, target| shown(&entry(&Key::new(&[7; 32], runtime, target, Tier::Top))).state;
        assert_eq!(state(zygote::AOT_IDENTITY, &here), "good");
        assert_eq!(state(zygote::AOT_IDENTITY, &other), "stale");
        assert_eq!(state("1.0.0", &here), "stale");
    }

    #[test]
    fn entries_are_named_by_their_own_name_or_their_module_s_digest() {
        let key = Key::new(&[0xab; 32], "x", &Target::host().unwrap(), Tier::Quick);
        let entry = entry(&key);
        for start in [key.name(), &key.name()[..6], "sha256:abab", "abab"] {
            assert!(matches(&entry, start), "{start}");
        }
        for start in ["", "sha256:ba", "quick", "bab"] {
            assert!(!matches(&entry, start), "{start}");
        }
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        assert_eq!(digest(&"0f".repeat(32)), Some([15; 32]));
        for wrong in ["", "0f", &"0".repeat(63), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(digest(wrong), None, "{wrong}");
        }
    }
}
