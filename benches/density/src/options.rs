//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// Which of containerd's interfaces containers are asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// The Task API, as ctr does: a container is a record, a snapshot and a task.
    Ctr,
    /// The Container Runtime Interface, as a kubelet does: a container is a pod of one container.
    Cri,
}

/// On which network containers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The one of containerd.
    Host,
    /// A namespace per container, without an interface.
    Own,
    /// A namespace per pod, on the bridge that CNI's plugins make.
    Bridge,
}

/// What containers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Say a line and sleep.
    Hello,
    /// The same in Python.
    Python,
    /// Answer each line of stdin.
    Server,
}

/// What to measure, with what.
#[derive(Debug)]
pub struct Options {
    /// How many containers are alive at once.
    pub containers: usize,
    /// How many are started at a time; memory is measured after the first.
    pub parallel: Vec<usize>,
    /// Who is asked.
    pub through: Through,
    /// Where they are.
    pub network: Network,
    /// What they do.
    pub workload: Workload,
    /// Mounts on the host, in a second run of each stack. 0: no second run.
    pub mounts: usize,
    /// Folder of containerd, ctr, containerd-shim-runc-v2 and runc.
    pub containerd: PathBuf,
    /// `containerd-shim-wamr-v1`.
    pub shim: PathBuf,
    /// Folder of the guests built here.
    pub guests: PathBuf,
    /// A static busybox.
    pub busybox: PathBuf,
    /// Folder of CNI's plugins.
    pub cni: Option<PathBuf>,
    /// CPython as a module.
    pub python_module: Option<PathBuf>,
    /// A root file system with a native Python.
    pub python_root: Option<PathBuf>,
    /// `wamr-aotc`, for stacks that run compiled.
    pub compiler: Option<PathBuf>,
    /// Where the JSON goes.
    pub results: Option<PathBuf>,
    /// Compare with what is promised.
    pub check: bool,
    /// The stacks to measure, by their short names; none: ours and runc.
    pub stacks: Vec<String>,
}

impl Options {
    /// Reads the arguments.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            containers: 20,
            parallel: vec![1, 8],
            through: Through::Ctr,
            network: Network::Host,
            workload: Workload::Hello,
            mounts: 0,
            containerd: PathBuf::new(),
            shim: PathBuf::new(),
            guests: PathBuf::new(),
            busybox: PathBuf::new(),
            cni: None,
            python_module: None,
            python_root: None,
            compiler: None,
            results: None,
            check: false,
            stacks: Vec::new(),
        };
        while let Some(name) = args.next() {
            let mut value = || args.next().with_context(|| format!("{name} needs a value"));
            match name.as_str() {
                "--containers" => options.containers = number(&name, &value()?)?,
                "--parallel" => {
                    options.parallel =
                        value()?.split(',').map(|text| number(&name, text)).collect::<Result<_>>()?;
                }
                "--through" => options.through = Through::parse(&value()?)?,
                "--network" => options.network = Network::parse(&value()?)?,
                "--workload" => options.workload = Workload::parse(&value()?)?,
                "--mounts" => options.mounts = number(&name, &value()?)?,
                "--containerd" => options.containerd = value()?.into(),
                "--shim" => options.shim = value()?.into(),
                "--guests" => options.guests = value()?.into(),
                "--busybox" => options.busybox = value()?.into(),
                "--cni" => options.cni = Some(value()?.into()),
                "--python-module" => options.python_module = Some(value()?.into()),
                "--python-root" => options.python_root = Some(value()?.into()),
                "--compiler" => options.compiler = Some(value()?.into()),
                "--results" => options.results = Some(value()?.into()),
                "--check" => options.check = true,
                "--stack" => options.stacks.push(value()?),
                _ => bail!("{name:?} is not known; benches/README.md lists what is"),
            }
        }
        let files = [
            ("--containerd", &options.containerd),
            ("--shim", &options.shim),
            ("--guests", &options.guests),
            ("--busybox", &options.busybox),
        ];
        for (name, path) in files {
            ensure!(!path.as_os_str().is_empty(), "{name} is missing: benches/run.sh gives it");
        }
        match (options.through, options.network) {
            (Through::Ctr, Network::Bridge) => {
                bail!("--network bridge is made by CNI, which CRI asks: --through cri")
            }
            (Through::Cri, Network::Own) => {
                bail!("--network own is for --through ctr; a pod is on the host's network or on a bridge")
            }
            _ => {}
        }
        Ok(options)
    }

    /// The form of this run, for people.
    pub fn title(&self) -> String {
        let network = match self.network {
            Network::Host => "host network",
            Network::Own => "own network namespaces",
            Network::Bridge => "CNI bridge",
        };
        let through = match self.through {
            Through::Ctr => "the Task API",
            Through::Cri => "CRI",
        };
        format!(
            "{} {}s through {through}, {network}, {}",
            self.containers,
            self.through.unit(),
            self.workload.name()
        )
    }

    /// What to ask `benches/run.sh` for, to have the same again.
    pub fn asked(&self) -> String {
        let parallel: Vec<_> = self.parallel.iter().map(usize::to_string).collect();
        let mut asked = format!(
            "{} --through {} --network {} --workload {} --parallel {}",
            self.containers,
            self.through.name(),
            self.network.name(),
            self.workload.name(),
            parallel.join(",")
        );
        for stack in &self.stacks {
            asked += &format!(" --stack {stack}");
        }
        if self.mounts > 0 {
            asked += &format!(" --mounts {}", self.mounts);
        }
        asked
    }

    /// Names the form of this run in file names: `cri-bridge-hello-100`.
    pub fn form(&self) -> String {
        let mounts = if self.mounts > 0 { "-mounts" } else { "" };
        format!(
            "{}-{}-{}-{}{mounts}",
            self.through.name(),
            self.network.name(),
            self.workload.name(),
            self.containers
        )
    }
}

impl Through {
    fn parse(text: &str) -> Result<Through> {
        Ok(match text {
            "ctr" => Through::Ctr,
            "cri" => Through::Cri,
            _ => bail!("--through: {text:?} is neither ctr nor cri"),
        })
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Through::Ctr => "ctr",
            Through::Cri => "cri",
        }
    }

    /// What one of them is called.
    pub fn unit(self) -> &'static str {
        match self {
            Through::Ctr => "container",
            Through::Cri => "pod",
        }
    }
}

impl Network {
    fn parse(text: &str) -> Result<Network> {
        Ok(match text {
            "host" => Network::Host,
            "own" => Network::Own,
            "bridge" => Network::Bridge,
            _ => bail!("--network: {text:?} is none of host, own and bridge"),
        })
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Network::Host => "host",
            Network::Own => "own",
            Network::Bridge => "bridge",
        }
    }
}

impl Workload {
    fn parse(text: &str) -> Result<Workload> {
        Ok(match text {
            "hello" => Workload::Hello,
            "python" => Workload::Python,
            "server" => Workload::Server,
            _ => bail!("--workload: {text:?} is none of hello, python and server"),
        })
    }

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Hello => "hello",
            Workload::Python => "python",
            Workload::Server => "server",
        }
    }
}

fn number(name: &str, text: &str) -> Result<usize> {
    let number = text.parse().with_context(|| format!("{name}: {text:?} is no number"))?;
    ensure!((1..=10_000).contains(&number), "{name}: {number} is not between 1 and 10000");
    Ok(number)
}
