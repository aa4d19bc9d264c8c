//! Stacks that run compiled: their server has settings of its own, and the clock waits for the compiler.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long one compile may take; what takes longer is left at the tier below.
const LONGEST: u64 = 120;

/// What a shell does in the mount namespace that containerd and its shims then have for themselves: our settings are in
/// /etc there. Code is kept in `folder`.
pub fn settings(folder: &Path, compiler: &Path) -> Result<String> {
    let (etc, at) = (folder.join("etc"), folder.display());
    for directory in [&etc.join("containerd-shim-wamr"), &folder.join("etc-work")] {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    let compiler = fs::canonicalize(compiler).with_context(|| format!("find {}", compiler.display()))?;
    let text = format!("aot_compiler = {compiler:?}\naot_cache = \"{at}/aot\"\naot_time = {LONGEST}\n");
    fs::write(etc.join("containerd-shim-wamr/config.toml"), text)?;
    Ok(format!(
        "mount -t overlay -o lowerdir=/etc,upperdir={at}/etc,workdir={at}/etc-work bench /etc && exec \"$0\" \"$@\""
    ))
}

/// Waits until there is code of both tiers in `folder`, or the server has given one up, which is said.
pub async fn wait(folder: &Path) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(3 * LONGEST);
    loop {
        let entries = fs::read_dir(folder.join("aot")).into_iter().flatten().flatten();
        let files: Vec<_> = entries.map(|entry| entry.path()).collect();
        let ends = |end: &str| files.iter().filter(|path| path.extension() == Some(OsStr::new(end))).count();
        let (made, failed) = (ends("key"), ends("failed"));
        if failed > 0 {
            eprintln!("   NOTE: code of {made} of 2 tiers, the compiler gave up on the next");
        }
        // After a failure the server orders nothing further.
        if made >= 2 || failed > 0 {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the compiler made code of {made} of 2 tiers, and does not end");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
