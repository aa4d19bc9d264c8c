//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// What to measure, with what.
#[derive(Debug)]
pub struct Options {
    /// How many containers are alive at once.
    pub containers: usize,
    /// Folder of containerd, ctr, containerd-shim-runc-v2 and runc.
    pub containerd: PathBuf,
    /// `containerd-shim-wamr-v1`.
    pub shim: PathBuf,
    /// The wasm module.
    pub guest: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// Where the JSON goes.
    pub results: Option<PathBuf>,
    /// Compare with what is promised.
    pub check: bool,
    /// Each container has a network namespace of its own.
    pub own_network: bool,
    /// The one stack to measure, by its short name.
    pub only: Option<String>,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let (mut containers, mut results, mut check, mut own_network) = (20, None, false, false);
        let mut only = None;
        let (mut containerd, mut shim, mut guest, mut busybox) = (None, None, None, None);
        while let Some(name) = args.next() {
            let mut value = || args.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--containers" => containers = value()?.parse().context("--containers: a number")?,
                "--containerd" => containerd = Some(value()?.into()),
                "--shim" => shim = Some(value()?.into()),
                "--guest" => guest = Some(value()?.into()),
                "--busybox" => busybox = Some(value()?.into()),
                "--results" => results = Some(value()?.into()),
                "--check" => check = true,
                "--own-network" => own_network = true,
                "--only" => only = Some(value()?),
                _ => bail!(
                    "{name:?} is not known; there are --containers N, --check (compare with what is promised), \
                     --own-network (a network namespace per container), --only STACK and what benches/run.sh adds"
                ),
            }
        }
        if !(1..=10_000).contains(&containers) {
            bail!("--containers: {containers} is not between 1 and 10000");
        }
        let missing = |name| move || format!("{name} is missing: benches/run.sh gives it");
        Ok(Options {
            containers,
            containerd: containerd.with_context(missing("--containerd"))?,
            shim: shim.with_context(missing("--shim"))?,
            guest: guest.with_context(missing("--guest"))?,
            busybox: busybox.with_context(missing("--busybox"))?,
            results,
            check,
            own_network,
            only,
        })
    }
}
