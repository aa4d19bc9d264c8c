//! The command line. Help, manual pages and shell completion are made of this.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Look at wasm containers, the server behind them, the cache of compiled code, and the node
#[derive(Debug, Parser)]
#[command(name = "wamrctl", version, disable_help_subcommand = true)]
pub struct CommandLine {
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List containers: sandbox, state, module, tier, memory, processor time
    Ps(Ps),
    /// The same again and again, the busiest first
    Top(Top),
    /// Compile a module before its first container starts: tiers quick and top, into the cache
    Compile(Compile),
    /// Look at the cache of compiled code, or clear it
    #[command(subcommand)]
    Cache(Cache),
    /// Check the node: kernel, cgroups, containerd, settings, programs; with the fix for what is wrong
    Doctor(Doctor),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages and completion scripts into a folder
    #[command(hide = true)]
    Generate {
        /// An existing folder
        folder: PathBuf,
    },
}

/// `wamrctl ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Only containers of this containerd namespace
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Do not shorten ids and digests
    #[arg(long)]
    pub no_trunc: bool,
}

/// `wamrctl top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Which containers
    #[command(flatten)]
    pub which: Ps,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 2.0, value_parser = interval)]
    pub interval: f64,
    /// End after so many looks instead of never
    #[arg(short, long, value_name = "NUMBER")]
    pub count: Option<u64>,
    /// What comes first
    #[arg(short, long, value_enum, default_value_t = Order::Cpu)]
    pub sort: Order,
}

/// What containers are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Processor time since the last look, most first
    Cpu,
    /// Private memory, most first
    Memory,
    /// Namespace and id
    Id,
}

/// `wamrctl compile`.
#[derive(Debug, Args)]
pub struct Compile {
    /// A module's file, or an image that containerd has
    #[arg(value_name = "IMAGE|FILE")]
    pub what: String,
    /// How much is spent on the code
    #[arg(short, long, value_enum, default_value_t = Tiers::All)]
    pub tier: Tiers,
    /// The module in the image, instead of its entry point: a path, or a name that is looked for as Create does
    #[arg(long, value_name = "NAME")]
    pub command: Option<String>,
    /// Where containerd is
    #[command(flatten)]
    pub containerd: Containerd,
    /// The image's namespace in containerd
    #[arg(short, long, value_name = "NAME", env = "CONTAINERD_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Where the image is unpacked
    #[arg(long, value_name = "NAME", env = "CONTAINERD_SNAPSHOTTER", default_value = "overlayfs")]
    pub snapshotter: String,
    /// Where the code goes
    #[command(flatten)]
    pub place: Place,
}

/// Which code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tiers {
    /// Compiled fast
    Quick,
    /// Compiled for speed
    Top,
    /// One after the other
    All,
}

/// `wamrctl cache`.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// List what is there: module, tier, size, last use, state
    Ls {
        /// Where it is
        #[command(flatten)]
        place: Place,
        /// Do not shorten names and digests
        #[arg(long)]
        no_trunc: bool,
    },
    /// Forget code, or that a module could not be compiled
    Rm {
        /// Where it is
        #[command(flatten)]
        place: Place,
        /// Beginning of an entry's name, or of its module's digest
        #[arg(required_unless_present_any = ["all", "failed"], conflicts_with_all = ["all", "failed"])]
        which: Vec<String>,
        /// Everything
        #[arg(long)]
        all: bool,
        /// All modules that could not be compiled: they are tried again
        #[arg(long, conflicts_with = "all")]
        failed: bool,
    },
    /// Compare every file with its digest and drop what is damaged; exit status 1 if anything was
    Verify {
        /// Where it is
        #[command(flatten)]
        place: Place,
    },
    /// Remove what crashes left, and what was used longest ago beyond the size
    Gc {
        /// Where it is
        #[command(flatten)]
        place: Place,
        /// Most bytes to keep, like 64MiB, instead of what is configured
        #[arg(long, value_name = "SIZE", value_parser = shim::config::parse_size)]
        size: Option<u64>,
    },
}

/// Which cache.
#[derive(Debug, Args)]
pub struct Place {
    /// The cache's folder, instead of the configured one
    #[arg(long = "cache", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// `wamrctl doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Where containerd is
    #[command(flatten)]
    pub containerd: Containerd,
}

/// Which containerd.
#[derive(Debug, Args)]
pub struct Containerd {
    /// containerd's socket, instead of the first that is there: containerd's own, that of k3s, of microk8s
    #[arg(long, value_name = "SOCKET", env = "CONTAINERD_ADDRESS")]
    pub address: Option<PathBuf>,
}

/// containerd's own place.
const OWN: &str = "/run/containerd/containerd.sock";
/// That, and those of distributions that bring a containerd of their own.
const SOCKETS: [&str; 3] =
    [OWN, "/run/k3s/containerd/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock"];

impl Containerd {
    /// The socket that is asked for, or found.
    pub fn socket(&self) -> PathBuf {
        let found = || SOCKETS.into_iter().find(|socket| Path::new(socket).exists()).unwrap_or(OWN);
        self.address.clone().unwrap_or_else(|| found().into())
    }
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give 0.1 to 86400 seconds".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_description_is_without_contradictions() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "wamrctl",
            "wamrctl frobnicate",
            "wamrctl cache",
            "wamrctl cache rm",
            "wamrctl cache rm --all aa",
            "wamrctl cache rm --all --failed",
            "wamrctl cache gc --size many",
            "wamrctl top --interval 0",
            "wamrctl top --interval NaN",
        ] {
            let refusal = CommandLine::try_parse_from(line.split(' ')).unwrap_err();
            assert!(refusal.use_stderr(), "{line}");
        }
    }

    #[test]
    fn json_can_be_asked_for_before_and_after_the_command() {
        for line in ["wamrctl --json ps", "wamrctl ps --json", "wamrctl cache ls --json"] {
            assert!(CommandLine::try_parse_from(line.split(' ')).unwrap().json, "{line}");
        }
    }
}
