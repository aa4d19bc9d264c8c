//! What the cache promises, on a real directory: root's, and where the disk has to be full, a real full one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aot::{Cache, Error, Key, State, Target, Tier};

const CODE: &[u8] = b"\0aot\x06\0\0\0 some native code";
const PLENTY: u64 = 1 << 30;

fn target(features: &str) -> Target {
    Target::parse(&format!("vendor_id: test\nflags: {features}\nFeatures: {features}\n"))
}

fn key(module: u8) -> Key {
    Key::new(&[module; 32], "2.4.3 build", &target("sse2"), Tier::Quick)
}

fn put(cache: &Cache, key: &Key, code: &[u8]) -> aot::Result<()> {
    let draft = cache.draft()?;
    draft.file().write_all(code).unwrap();
    cache.keep(key, &draft).map(drop)
}

fn get(cache: &Cache, key: &Key) -> Option<Vec<u8>> {
    let code = cache.find(key)?;
    let mut bytes = vec![0; code.size as usize];
    code.file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// A directory that goes away with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("aot-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn cache(&self) -> Cache {
        Cache::open(&self.0.join("aot"), PLENTY).unwrap()
    }

    fn file(&self, key: &Key, ending: &str) -> PathBuf {
        self.0.join("aot").join(format!("{}.{ending}", key.name()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_put_in_comes_out_also_for_another_server() {
    let scratch = Scratch::new();
    put(&scratch.cache(), &key(1), CODE).unwrap();
    assert_eq!(get(&scratch.cache(), &key(1)).unwrap(), CODE);
    assert_eq!(get(&scratch.cache(), &key(2)), None);
    let modes =
        ["aot", "key"].map(|ending| fs::metadata(scratch.file(&key(1), ending)).unwrap().mode() & 0o777);
    assert_eq!(modes, [0o600; 2], "nobody else reads it");
}

#[test]
fn another_version_tier_or_processor_does_not_see_it() {
    let scratch = Scratch::new();
    let cache = scratch.cache();
    put(&cache, &key(1), CODE).unwrap();
    for other in [
        Key::new(&[1; 32], "2.4.4 build", &target("sse2"), Tier::Quick),
        Key::new(&[1; 32], "2.4.3 other", &target("sse2"), Tier::Quick),
        Key::new(&[1; 32], "2.4.3 build", &target("sse2 avx2"), Tier::Quick),
        Key::new(&[1; 32], "2.4.3 build", &target("sse2"), Tier::Top),
    ] {
        assert!(cache.find(&other).is_none(), "{}", other.text());
        // Not even under its name: the sidecar says what the code is.
        for ending in ["aot", "key"] {
            fs::copy(scratch.file(&key(1), ending), scratch.file(&other, ending)).unwrap();
        }
        assert!(cache.find(&other).is_none(), "{}", other.text());
        assert!(!scratch.file(&other, "aot").exists(), "it is removed");
    }
    assert!(cache.find(&key(1)).is_some());
}

#[test]
fn a_changed_byte_anywhere_is_found_out_and_the_code_is_made_again() {
    let scratch = Scratch::new();
    for ending in ["aot", "key"] {
        let length = {
            put(&scratch.cache(), &key(1), CODE).unwrap();
            fs::metadata(scratch.file(&key(1), ending)).unwrap().len()
        };
        for at in 0..length {
            let cache = scratch.cache();
            put(&cache, &key(1), CODE).unwrap();
            assert!(cache.find(&key(1)).is_some());
            let path = scratch.file(&key(1), ending);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at as usize] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(cache.find(&key(1)).is_none(), "byte {at} of {ending}, in a server that knew it");
            assert!(!path.exists());
        }
    }
    put(&scratch.cache(), &key(1), CODE).unwrap();
    assert_eq!(get(&scratch.cache(), &key(1)).unwrap(), CODE);
}

#[test]
fn a_crash_at_any_byte_leaves_no_code_or_all_of_it() {
    let scratch = Scratch::new();
    for ending in ["aot", "key"] {
        put(&scratch.cache(), &key(1), CODE).unwrap();
        let whole = fs::metadata(scratch.file(&key(1), ending)).unwrap().len();
        for length in 0..whole {
            put(&scratch.cache(), &key(1), CODE).unwrap();
            fs::File::options()
                .write(true)
                .open(scratch.file(&key(1), ending))
                .unwrap()
                .set_len(length)
                .unwrap();
            assert!(scratch.cache().find(&key(1)).is_none(), "{ending} cut to {length} bytes");
        }
        put(&scratch.cache(), &key(1), CODE).unwrap();
        fs::remove_file(scratch.file(&key(1), ending)).unwrap();
        assert!(scratch.cache().find(&key(1)).is_none(), "without {ending}");
    }
}

#[test]
fn what_a_crash_left_half_written_goes_and_what_is_being_written_stays() {
    let scratch = Scratch::new();
    let cache = scratch.cache();
    let written = cache.draft().unwrap();
    let abandoned = scratch.0.join("aot/draft.1.99");
    fs::write(&abandoned, "half").unwrap();
    let names = |_: ()| fs::read_dir(scratch.0.join("aot")).unwrap().count();
    cache.trim().unwrap();
    assert_eq!(names(()), 2, "too new to tell");
    let long_ago = SystemTime::now() - Duration::from_secs(120);
    for file in [written.file(), &fs::File::open(&abandoned).unwrap()] {
        file.set_modified(long_ago).unwrap();
    }
    cache.trim().unwrap();
    assert!(!abandoned.exists());
    assert_eq!(names(()), 1, "the one that is held");
    drop(written);
    assert_eq!(names(()), 0);
}

#[test]
fn links_foreign_and_writable_files_are_removed_and_never_read() {
    type Spoil = fn(&Path, &Path);
    let spoils: [(&str, Spoil); 7] = [
        ("symbolic link", |path, elsewhere| {
            fs::rename(path, elsewhere).unwrap();
            symlink(elsewhere, path).unwrap();
        }),
        ("second name", |path, elsewhere| fs::hard_link(path, elsewhere).unwrap()),
        ("foreign owner", |path, _| chown(path, Some(12345), None).unwrap()),
        ("writable for the group", |path, _| mode(path, 0o620)),
        ("writable for all", |path, _| mode(path, 0o602)),
        ("fifo", |path, _| {
            fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }),
        ("directory", |path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (what, spoil) in spoils {
        for ending in ["aot", "key"] {
            let scratch = Scratch::new();
            let cache = scratch.cache();
            put(&cache, &key(1), CODE).unwrap();
            assert!(cache.find(&key(1)).is_some());
            spoil(&scratch.file(&key(1), ending), &scratch.0.join("elsewhere"));
            assert!(cache.find(&key(1)).is_none(), "{what} for {ending}");
            if what != "directory" {
                put(&cache, &key(1), CODE).unwrap();
                assert_eq!(get(&cache, &key(1)).unwrap(), CODE, "after {what} for {ending}");
            }
        }
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_others_could_change_is_refused_by_name() {
    let scratch = Scratch::new();
    let refused = |path: &Path, words: &str| {
        let error = Cache::open(path, PLENTY).unwrap_err();
        assert!(matches!(error, Error::Untrusted { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let (above, cache) = (scratch.0.join("above"), scratch.0.join("above/aot"));
    drop(Cache::open(&cache, PLENTY).unwrap());
    for directory in [&above, &cache] {
        for bits in [0o770, 0o707] {
            mode(directory, bits);
            refused(&cache, "others may write");
            mode(directory, 0o700);
        }
        chown(directory, Some(12345), None).unwrap();
        refused(&cache, "user 12345 owns it");
        chown(directory, Some(0), None).unwrap();
    }
    mode(&above, 0o1777);
    drop(Cache::open(&cache, PLENTY).unwrap());
    mode(&cache, 0o1777);
    refused(&cache, "others may write");
    symlink(&above, scratch.0.join("link")).unwrap();
    refused(&scratch.0.join("link/aot"), "symbolic link");
    symlink(&above, scratch.0.join("above/link")).unwrap();
    refused(&scratch.0.join("above/link"), "symbolic link");
    refused(Path::new("aot"), "absolute");
    refused(&scratch.0.join("above/../aot"), "absolute");
}

#[test]
fn the_least_recently_used_goes_first() {
    let scratch = Scratch::new();
    let size = {
        let cache = scratch.cache();
        put(&cache, &key(1), CODE).unwrap();
        cache.entries().unwrap().iter().map(|entry| entry.size).sum::<u64>()
    };
    let three = Cache::open(&scratch.0.join("aot"), 3 * size + size / 2).unwrap();
    for module in 2..=3 {
        put(&three, &key(module), CODE).unwrap();
    }
    for (module, age) in [(1, 300), (2, 400), (3, 200)] {
        let used = SystemTime::now() - Duration::from_secs(age);
        for ending in ["aot", "key"] {
            fs::File::open(scratch.file(&key(module), ending)).unwrap().set_modified(used).unwrap();
        }
    }
    // Used now, so no longer the oldest.
    assert!(three.find(&key(2)).is_some());
    put(&three, &key(4), CODE).unwrap();
    let there = [1, 2, 3, 4].map(|module| three.find(&key(module)).is_some());
    assert_eq!(there, [false, true, true, true]);
    let none = Cache::open(&scratch.0.join("aot"), 0).unwrap();
    put(&none, &key(5), CODE).unwrap();
    assert!(none.find(&key(5)).is_some(), "what was just made is there for its container");
    assert_eq!(none.trim().unwrap(), 1);
}

#[test]
fn a_full_disk_costs_the_code_and_nothing_else() {
    let disk = FullDisk::new();
    let cache = Cache::open(&disk.0.join("aot"), PLENTY).unwrap();
    put(&cache, &key(1), CODE).unwrap();
    // Every amount of room there can be, in pages, until the second key fits.
    let ballast = disk.0.join("ballast");
    let mut failures = 0;
    for pages in (0..8).rev() {
        let _ = fs::remove_file(&ballast);
        cache.remove(key(2).name());
        fs::File::create(&ballast).unwrap().write_all(&vec![1; pages * 4096]).unwrap_or_default();
        let draft = cache.draft();
        let outcome = draft.map(|draft| {
            let big = [CODE, &[7; 6000]].concat();
            draft.file().write_all(&big).map(|()| cache.keep(&key(2), &draft).is_ok())
        });
        let stored = matches!(outcome, Ok(Ok(true)));
        failures += u32::from(!stored);
        assert_eq!(cache.find(&key(2)).is_some(), stored, "{pages} pages of ballast");
        assert_eq!(get(&cache, &key(1)).unwrap(), CODE, "the other one is as it was");
    }
    assert!((1..8).contains(&failures), "{failures} of 8: the disk was full at times");
}

/// A file system of eight pages.
struct FullDisk(PathBuf);

impl FullDisk {
    fn new() -> FullDisk {
        let path = std::env::temp_dir().join(format!("aot-test-disk-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32k,mode=700", "aot-test"]).arg(&path);
        assert!(mount.status().unwrap().success(), "as root");
        FullDisk(path)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn several_servers_compile_one_module_once() {
    let scratch = Scratch::new();
    let compiled = AtomicU32::new(0);
    std::thread::scope(|servers| {
        for _ in 0..8 {
            servers.spawn(|| {
                let cache = scratch.cache();
                let _claim = cache.claim(&key(1)).unwrap();
                if cache.find(&key(1)).is_none() {
                    compiled.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    put(&cache, &key(1), CODE).unwrap();
                }
            });
        }
    });
    assert_eq!(compiled.into_inner(), 1);
    assert!(!scratch.file(&key(1), "lock").exists());
}

#[test]
fn a_module_that_cannot_be_compiled_is_remembered_until_it_is_removed() {
    let scratch = Scratch::new();
    scratch.cache().remember_failure(&key(1), "killed: it took\n\nmore than 1 GiB").unwrap();
    let cache = scratch.cache();
    assert_eq!(cache.failure(&key(1)).unwrap(), "killed: it took\n\nmore than 1 GiB");
    assert_eq!(cache.failure(&key(2)), None);
    assert!(matches!(&cache.entries().unwrap()[..], [entry] if matches!(entry.state, State::Failed(_))));
    cache.remove(key(1).name());
    assert_eq!(cache.failure(&key(1)), None);
}

#[test]
fn what_is_no_aot_file_is_not_kept() {
    let scratch = Scratch::new();
    let cache = scratch.cache();
    for bytes in [&b""[..], b"\0ao", b"\0asm\x01\0\0\0"] {
        assert!(matches!(put(&cache, &key(1), bytes), Err(Error::NotAot(_))));
    }
    assert!(cache.find(&key(1)).is_none());
}

#[test]
fn tools_see_what_is_good_and_what_is_damaged() {
    let scratch = Scratch::new();
    let cache = scratch.cache();
    for module in 1..=2 {
        put(&cache, &key(module), CODE).unwrap();
    }
    fs::write(scratch.file(&key(2), "aot"), "damaged").unwrap();
    let mut states: Vec<_> = cache.entries().unwrap().into_iter().map(|e| (e.name, e.state)).collect();
    states.sort_by_key(|(name, _)| name != key(1).name());
    let expected = [(key(1).name().to_owned(), State::Good), (key(2).name().to_owned(), State::Damaged)];
    assert_eq!(states, expected);
}

#[test]
fn damage_is_found_and_dropped_but_not_what_somebody_puts_in_now() {
    let scratch = Scratch::new();
    let cache = scratch.cache();
    for number in 1..=3 {
        put(&cache, &key(number), CODE).unwrap();
    }
    for number in 2..=3 {
        fs::write(scratch.file(&key(number), "aot"), b"\0aot\x06\0\0\0 SOME native code").unwrap();
    }
    let claim = cache.claim(&key(3)).unwrap();
    let dropped = cache.verify().unwrap();
    assert_eq!(dropped.len(), 1);
    assert_eq!((dropped[0].name.as_str(), &dropped[0].state), (key(2).name(), &State::Damaged));
    assert!(!scratch.file(&key(2), "aot").exists() && scratch.file(&key(3), "aot").exists());
    drop(claim);
    assert_eq!(cache.verify().unwrap().len(), 1);
    assert_eq!(get(&cache, &key(1)).unwrap(), CODE);
    assert!(cache.verify().unwrap().is_empty());
}
