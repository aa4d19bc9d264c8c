//! What is measured: a runtime with a workload that says one line and waits.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use e2e::{Image, Layer};

use crate::options::{Network, Options, Through, Workload};

/// A runtime with its workload.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Short name: on the command line, in file names, as CRI's handler.
    pub name: String,
    /// For people.
    pub label: String,
    /// containerd's name of the runtime.
    pub runtime: String,
    /// What runc's shim starts, if it is not runc.
    pub program: Option<PathBuf>,
    /// Annotations that the runtime needs to know what to do.
    pub annotations: Vec<(String, String)>,
    /// Pods are made through the Sandbox API.
    pub sandbox_api: bool,
    /// What its promises are about: the others are there for comparison.
    pub ours: bool,
    /// Arguments of the container process.
    pub args: Vec<String>,
    /// Containers have a stdin that stays open.
    pub stdin: bool,
    /// So many mounts are on the host.
    pub mounts: usize,
    files: Files,
}

/// What is in the image.
#[derive(Debug, Clone)]
enum Files {
    One(PathBuf, &'static str),
    Tree(PathBuf),
}

/// Why a stack is not measured.
#[derive(Debug)]
pub struct Missing {
    /// Its short name.
    pub name: String,
    /// In words.
    pub why: String,
}

/// The stacks to measure, the yardstick last, and those that this machine does not have.
pub fn stacks(options: &Options) -> Result<(Vec<Stack>, Vec<Missing>)> {
    let default = ["wamr".to_owned(), "runc".to_owned()];
    let names = if options.stacks.is_empty() { &default[..] } else { &options.stacks };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match Stack::named(name, options)? {
            Ok(stack) if options.mounts > 0 => {
                let label = format!("{} +mounts", stack.name);
                let more =
                    Stack { name: format!("{name}-mounts"), label, mounts: options.mounts, ..stack.clone() };
                found.extend([stack, more]);
            }
            Ok(stack) => found.push(stack),
            Err(why) => missing.push(Missing { name: name.clone(), why }),
        }
    }
    Ok((found, missing))
}

impl Stack {
    /// A stack by name, and settings of ours for its pods after it: `wamr:aot=eager`.
    ///
    /// The inner error: this machine does not have it, and why.
    fn named(name: &str, options: &Options) -> Result<Result<Stack, String>> {
        let Some((name, settings)) = name.split_once(':') else { return Stack::plain(name, options) };
        let mut stack = match Stack::plain(name, options)? {
            Ok(stack) => stack,
            missing => return Ok(missing),
        };
        for setting in settings.split(',') {
            let (key, value) =
                setting.split_once('=').with_context(|| format!("{setting:?} is not KEY=VALUE"))?;
            let key = format!("{SETTINGS}{key}");
            stack.annotations.retain(|(other, _)| *other != key);
            stack.annotations.push((key, value.to_owned()));
        }
        if stack.is_compiled() && options.compiler.is_none() {
            return Ok(Err("it needs the compiler: WAMR_AOTC=FILE; deploy/build-aotc.sh builds it".into()));
        }
        // As the name of a handler and of a file.
        stack.name += &format!("-{}", settings.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        stack.label = stack.label.replacen(':', &format!(", {settings}:"), 1);
        Ok(Ok(stack))
    }

    fn plain(name: &str, options: &Options) -> Result<Result<Stack, String>> {
        let native =
            |label: &str| native(options, label).map(|stack| Stack { name: name.to_owned(), ..stack });
        let wasm =
            |runtime: &str| wasm(options, runtime).map(|stack| Stack { name: name.to_owned(), ..stack });
        // The same on every machine, whether it has the compiler or not.
        let interpreted = vec![(format!("{SETTINGS}aot"), "off".to_owned())];
        Ok(Ok(match name {
            "wamr" => Stack { ours: true, annotations: interpreted, ..wasm("wamr")? },
            "wamr-sandbox" => {
                if (options.through, options.network) == (Through::Cri, Network::Host) {
                    return Ok(Err("containerd 2.1 ends when a pod on the host's network is made through the Sandbox API".into()));
                }
                if options.through == Through::Ctr {
                    return Ok(Err("the Sandbox API is about pods: --through cri".into()));
                }
                let stack = wasm("wamr")?;
                let label = stack.label.replace("wamr", "wamr, Sandbox API");
                Stack { ours: true, sandbox_api: true, annotations: interpreted, label, ..stack }
            }
            "floor" => {
                let stack = wasm("floor")?;
                Stack { label: "floor: a shim that does nothing".into(), ..stack }
            }
            "runc" => native("runc")?,
            "crun" => match program("crun") {
                Some(crun) => Stack { program: Some(crun), ..native("crun")? },
                None => return Ok(Err("there is no crun on PATH".into())),
            },
            "crun-wasmedge" => match crun_with_wasmedge() {
                Ok(crun) => Stack {
                    program: Some(crun),
                    runtime: "io.containerd.runc.v2".into(),
                    annotations: vec![("run.oci.handler".into(), "wasm".into())],
                    ..wasm("crun+WasmEdge")?
                },
                Err(why) => return Ok(Err(why)),
            },
            other => {
                let shim = format!("containerd-shim-{other}-v1");
                if program(&shim).is_none() {
                    return Ok(Err(format!("there is no {shim} on PATH")));
                }
                wasm(other)?
            }
        }))
    }

    /// Whether its guests are started once and copied.
    pub fn is_warm(&self) -> bool {
        self.ours && self.annotations.contains(&(format!("{SETTINGS}warm_start"), "true".to_owned()))
    }

    /// Whether it runs compiled.
    pub fn is_compiled(&self) -> bool {
        let on =
            |(key, value): &(String, String)| key.strip_prefix(SETTINGS) == Some("aot") && value != "off";
        self.ours && self.annotations.iter().any(on)
    }

    /// The image, without anything the workload does not need.
    pub fn image(&self) -> Result<Image> {
        // The mount points of the spec, so that no overlay has to be written to.
        let mut layer = ["/bin", "/proc", "/dev", "/sys", "/tmp", "/etc"]
            .iter()
            .fold(Layer::new(), |layer, directory| layer.directory(directory));
        layer = match &self.files {
            Files::One(file, place) => layer.file(place, read(file)?),
            Files::Tree(folder) => tree(layer, folder, folder)?,
        };
        Ok(Image::new(&format!("bench.local/{}:1", self.name)).layer(layer))
    }
}

/// A Linux program in a container.
fn native(options: &Options, runtime: &str) -> Result<Stack> {
    let busybox = |script: &str| {
        let args = ["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
        (Files::One(options.busybox.clone(), "/bin/busybox"), args, "busybox sh")
    };
    let (files, args, what) = match options.workload {
        Workload::Hello => busybox("echo hello; exec /bin/busybox sleep 86400"),
        Workload::Server => busybox("echo hello; while read -r line; do echo \"$line\"; done"),
        Workload::Python => {
            let root =
                options.python_root.clone().context("--python-root is missing: benches/run.sh gives it")?;
            let args = ["/usr/bin/python3", "-c", PYTHON].map(str::to_owned).to_vec();
            (Files::Tree(root), args, "Debian's python3")
        }
    };
    Ok(Stack { files, args, ..stack(options, "io.containerd.runc.v2", format!("{runtime}: {what}")) })
}

/// A module in a container.
fn wasm(options: &Options, runtime: &str) -> Result<Stack> {
    let (file, place, args, what) = match options.workload {
        Workload::Hello => {
            (options.guests.join("hello.wasm"), "/hello.wasm", vec!["/hello.wasm"], "hello in C")
        }
        Workload::Server => {
            (options.guests.join("server.wasm"), "/server.wasm", vec!["/server.wasm"], "server in C")
        }
        Workload::Python => {
            let module = options
                .python_module
                .clone()
                .context("--python-module is missing: benches/run.sh gives it")?;
            (module, "/python.wasm", vec!["/python.wasm", "-c", PYTHON], "CPython")
        }
    };
    Ok(Stack {
        files: Files::One(file, place),
        args: args.into_iter().map(str::to_owned).collect(),
        ..stack(options, &format!("io.containerd.{runtime}.v1"), format!("{runtime}: {what}"))
    })
}

/// Without files.
fn stack(options: &Options, runtime: &str, label: String) -> Stack {
    Stack {
        name: String::new(),
        label,
        runtime: runtime.to_owned(),
        program: None,
        annotations: Vec::new(),
        sandbox_api: false,
        ours: false,
        args: Vec::new(),
        stdin: options.workload == Workload::Server,
        mounts: 0,
        files: Files::Tree(PathBuf::new()),
    }
}

/// What our annotations begin with.
const SETTINGS: &str = "wamr.containerd.io/";

/// An empty script, as far as a first line can be told from one. It says when it is ready, for who asks (docs/warm-start.md).
const PYTHON: &str =
    "import os, time; os.path.exists('/.warm-start'); print('hello', flush=True); time.sleep(86400)";

fn crun_with_wasmedge() -> Result<PathBuf, String> {
    let crun = program("crun").ok_or("there is no crun on PATH")?;
    let output = Command::new(&crun).arg("--version").output().map_err(|e| format!("run crun: {e}"))?;
    if String::from_utf8_lossy(&output.stdout).contains("+WASM:wasmedge") {
        return Ok(crun);
    }
    Err("this machine's crun is built without WasmEdge".into())
}

/// A program on PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// All that is below `folder`, in the order of names, so that the same files make the same digest.
fn tree(mut layer: Layer, root: &Path, folder: &Path) -> Result<Layer> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("read {}", folder.display()))?
        .collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let place = Path::new("/").join(path.strip_prefix(root)?);
        let Some(place) = place.to_str() else { bail!("{} is no text", path.display()) };
        let kind = entry.file_type()?;
        layer = if kind.is_dir() {
            tree(layer.directory(place), root, &path)?
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path)?;
            layer.symlink(place, target.to_str().with_context(|| format!("{place} leads to no text"))?)
        } else {
            layer.file(place, read(&path)?)
        };
    }
    Ok(layer)
}
