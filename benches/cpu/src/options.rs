//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// What to measure, with what.
#[derive(Debug)]
pub struct Options {
    /// Folder with `NAME.wasm`, `NAME.native` and `NAME.march` for each kernel. Code goes there too.
    pub guests: PathBuf,
    /// `wamr-aotc`.
    pub aotc: PathBuf,
    /// A python that has the package `wasmtime`.
    pub python: PathBuf,
    /// `wasmtime_guest.py`.
    pub script: PathBuf,
    /// CPython as a module; left out without it.
    pub cpython: Option<PathBuf>,
    /// Where the reports go.
    pub results: Option<PathBuf>,
    /// The only guests to run; all if empty.
    pub only: Vec<String>,
    /// How often each is run; the least time counts.
    pub repeat: usize,
    /// CPython at the top tier too, which takes minutes to compile.
    pub full: bool,
    /// Compare with what is promised.
    pub check: bool,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
        let (mut guests, mut aotc, mut python, mut script) = (None, None, None, None);
        let (mut cpython, mut results, mut only, mut repeat) = (None, None, Vec::new(), 5);
        let (mut full, mut check) = (false, false);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--guests" => guests = Some(value()?.into()),
                "--aotc" => aotc = Some(value()?.into()),
                "--python" => python = Some(value()?.into()),
                "--script" => script = Some(value()?.into()),
                "--cpython" => cpython = Some(value()?.into()),
                "--results" => results = Some(value()?.into()),
                "--only" => only.push(value()?),
                "--repeat" => repeat = value()?.parse().context("--repeat: a number")?,
                "--full" => full = true,
                "--check" => check = true,
                _ => bail!(
                    "{name:?} is not known; there are --only GUEST, --repeat N, --full (CPython at the top tier), --check (compare with what is \
                     promised) and what benches/cpu/run.sh adds"
                ),
            }
        }
        let missing = |name| move || format!("{name} is missing: benches/cpu/run.sh gives it");
        Ok(Options {
            guests: guests.with_context(missing("--guests"))?,
            aotc: aotc.with_context(missing("--aotc"))?,
            python: python.with_context(missing("--python"))?,
            script: script.with_context(missing("--script"))?,
            cpython,
            results,
            only,
            repeat: repeat.max(1),
            full,
            check,
        })
    }
}
