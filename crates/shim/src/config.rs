//! Settings: defaults, then `/etc/containerd-shim-wamr/config.toml`, then the runtime options of a container.
//!
//! All three hold the same keys. Unknown keys are errors: a setting that is misspelt must not seem to work.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use log::LevelFilter;
use network::Policy;
use serde::{Deserialize, Deserializer, de};

/// Where the node's settings are; a missing file means defaults.
pub const PATH: &str = "/etc/containerd-shim-wamr/config.toml";

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `sharing`: which containers are served by one process. Default `"node"`.
    pub sharing: Sharing,
    /// `SystemdCgroup`: accepted because containerd's documentation tells to set it, and ignored: the form of a
    /// container's cgroup path tells the driver.
    pub systemd_cgroup: Option<bool>,
    /// `log_level`: `"off"`, `"error"`, `"warn"`, `"info"`, `"debug"` or `"trace"`. Default `"info"`.
    pub log_level: LevelFilter,
    /// `log_file`: absolute path of the server's log. By default it is `log` in the server's directory below
    /// `/run/containerd-shim-wamr`. One file may serve several servers.
    pub log_file: Option<PathBuf>,
    /// `linger`: seconds a server without containers waits for the next one before it ends. Default 10.
    pub linger: u64,
    /// `max_module_size`: largest module that is loaded, in bytes or like `"64MiB"`. Default 512 MiB.
    pub max_module_size: u64,
    /// `wasm_stack_size`: operand stack of the interpreter, in bytes or like `"64KiB"`, 16 KiB to 64 MiB. Only what a guest
    /// uses of it takes memory. Default 256 KiB.
    pub wasm_stack_size: u32,
    /// `templates_memory`: most memory for templates that no container uses, and most that one template may have, in
    /// bytes or like `"64MiB"`. 0: no templates, each container loads its module itself. Default 256 MiB.
    pub templates_memory: u64,
    /// `template_idle`: seconds that a template is kept which no container uses. Default 300.
    pub template_idle: u64,
    /// `quick_cgroup_moves`: whether cgroup v1 is made to favour entering cgroups while containers are being started
    /// ([`cgroup::QuickMoves`]). Default true.
    pub quick_cgroup_moves: bool,
    /// `sockets`: which addresses guests may connect to and bind, as [`Policy::parse`] has it. A pod's own annotation can
    /// only narrow it. Default `"all"`: what the pod's network namespace can reach.
    pub sockets: Policy,
    /// `warm_start`: whether guests are started once, up to where they say that they are ready, and containers go on from
    /// there. Default false.
    pub warm_start: bool,
    /// `warm_start_without`: environment variables that guests do not get before they are ready, as they differ from
    /// container to container. Default `HOSTNAME` alone.
    pub warm_start_without: Vec<String>,
    /// `aot`: whether containers get compiled code. Default `"background"`.
    pub aot: AotMode,
    /// `aot_cache`: absolute path of the directory with compiled code, root's alone. It may serve several servers. Default
    /// `/var/lib/containerd-shim-wamr/aot`.
    pub aot_cache: PathBuf,
    /// `aot_cache_size`: most bytes of compiled code that are kept, or like `"64MiB"`. Default 2 GiB.
    pub aot_cache_size: u64,
    /// `aot_compiler`: absolute path of `wamr-aotc`. By default it is looked for beside the shim, then in `/usr/local/bin`,
    /// `/usr/bin` and `/opt/containerd/bin`.
    pub aot_compiler: Option<PathBuf>,
    /// `aot_memory`: most memory for one compile, in bytes or like `"64MiB"`. Default 1 GiB.
    pub aot_memory: u64,
    /// `aot_time`: most seconds for one compile. Default 600.
    pub aot_time: Duration,
    /// `native_runtime`: the program of the OCI runtime that makes native containers, as `"/usr/bin/runc"`. By default
    /// they are made by this program itself.
    pub native_runtime: Option<PathBuf>,
    /// `native_pause`: whether a pod's pause container is what its image holds, as any container, instead of a holder of
    /// the pod's namespaces. Default false.
    pub native_pause: bool,
    /// `pod_settings`: the keys that annotations `wamr.containerd.io/<key>` may set for a pod.
    /// Default: all of [`PodSetting::ALL`].
    pub pod_settings: Vec<PodSetting>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sharing: Sharing::Node,
            systemd_cgroup: None,
            log_level: LevelFilter::Info,
            log_file: None,
            linger: 10,
            max_module_size: 512 << 20,
            wasm_stack_size: 256 << 10,
            templates_memory: 256 << 20,
            template_idle: 300,
            quick_cgroup_moves: true,
            sockets: Policy::All,
            warm_start: false,
            warm_start_without: vec!["HOSTNAME".to_owned()],
            aot: AotMode::Background,
            aot_cache: "/var/lib/containerd-shim-wamr/aot".into(),
            aot_cache_size: 2 << 30,
            aot_compiler: None,
            aot_memory: 1 << 30,
            aot_time: Duration::from_secs(600),
            native_runtime: None,
            native_pause: false,
            pod_settings: PodSetting::ALL.to_vec(),
        }
    }
}

/// Which containers share a server, and so a fate if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// All of one containerd namespace on the node.
    Node,
    /// Those of one Kubernetes namespace.
    KubernetesNamespace,
    /// Those of one pod.
    Pod,
}

/// Whether a container gets compiled code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AotMode {
    /// Where there is some; else it is compiled for later containers, while this one runs interpreted.
    #[default]
    Background,
    /// Where there is none, the container waits until it is compiled.
    Eager,
    /// Never.
    Off,
}

impl FromStr for AotMode {
    type Err = String;

    fn from_str(text: &str) -> Result<AotMode, String> {
        match text {
            "background" => Ok(AotMode::Background),
            "eager" => Ok(AotMode::Eager),
            "off" => Ok(AotMode::Off),
            _ => Err("it must be background, eager or off".to_owned()),
        }
    }
}

/// Keys that a pod may set by annotation, where [`Config::pod_settings`] lets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodSetting {
    /// [`Config::wasm_stack_size`].
    WasmStackSize,
    /// Where the guest serves; by annotation only.
    Listen,
    /// Narrows [`Config::sockets`].
    Sockets,
    /// [`Config::aot`].
    Aot,
    /// [`Config::warm_start`].
    WarmStart,
    /// [`Config::warm_start_without`].
    WarmStartWithout,
}

impl PodSetting {
    /// All of them.
    pub const ALL: [PodSetting; 6] = [
        PodSetting::WasmStackSize,
        PodSetting::Listen,
        PodSetting::Sockets,
        PodSetting::Aot,
        PodSetting::WarmStart,
        PodSetting::WarmStartWithout,
    ];

    /// The key, in the configuration and after the prefix of an annotation.
    pub fn name(&self) -> &'static str {
        match self {
            PodSetting::WasmStackSize => "wasm_stack_size",
            PodSetting::Listen => "listen",
            PodSetting::Sockets => "sockets",
            PodSetting::Aot => "aot",
            PodSetting::WarmStart => "warm_start",
            PodSetting::WarmStartWithout => "warm_start_without",
        }
    }
}

/// Settings that can not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but can not be read.
    #[error("cannot read the configuration {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No TOML, an unknown key, or a value that makes no sense; names the key and its line.
    #[error("configuration {origin}: {source}")]
    Parse {
        /// File, or where else the text came from.
        origin: String,
        /// Line, text and reason.
        source: toml::de::Error,
    },
}

impl Config {
    /// Settings of the node (a missing file at `path` means defaults), overridden by TOML text with the same keys:
    /// the runtime options of a container (`ConfigBody`, or what is in the file at `ConfigPath`).
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path, overrides: Option<&str>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        match std::fs::read_to_string(path) {
            Ok(text) => config.apply(&text, path.display().to_string())?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
        }
        if let Some(text) = overrides {
            config.apply(text, "in the runtime options".to_owned())?;
        }
        Ok(config)
    }

    fn apply(&mut self, text: &str, origin: String) -> Result<(), ConfigError> {
        let keys: Keys = toml::from_str(text).map_err(|source| ConfigError::Parse { origin, source })?;
        fn set<T>(to: &mut T, from: Option<T>) {
            if let Some(value) = from {
                *to = value;
            }
        }
        set(&mut self.sharing, keys.sharing);
        set(&mut self.log_level, keys.log_level);
        set(&mut self.linger, keys.linger);
        set(&mut self.max_module_size, keys.max_module_size);
        set(&mut self.wasm_stack_size, keys.wasm_stack_size);
        set(&mut self.templates_memory, keys.templates_memory);
        set(&mut self.template_idle, keys.template_idle);
        set(&mut self.quick_cgroup_moves, keys.quick_cgroup_moves);
        set(&mut self.sockets, keys.sockets);
        set(&mut self.warm_start, keys.warm_start);
        set(&mut self.warm_start_without, keys.warm_start_without);
        set(&mut self.aot, keys.aot);
        set(&mut self.aot_cache, keys.aot_cache);
        set(&mut self.aot_cache_size, keys.aot_cache_size);
        set(&mut self.aot_memory, keys.aot_memory);
        set(&mut self.aot_time, keys.aot_time.map(Duration::from_secs));
        set(&mut self.native_pause, keys.native_pause);
        set(&mut self.pod_settings, keys.pod_settings);
        self.native_runtime = keys.native_runtime.or(self.native_runtime.take());
        self.systemd_cgroup = keys.systemd_cgroup.or(self.systemd_cgroup);
        self.log_file = keys.log_file.or(self.log_file.take());
        self.aot_compiler = keys.aot_compiler.or(self.aot_compiler.take());
        Ok(())
    }
}

/// One TOML text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    sharing: Option<Sharing>,
    #[serde(rename = "SystemdCgroup")]
    systemd_cgroup: Option<bool>,
    #[serde(default, deserialize_with = "log_level")]
    log_level: Option<LevelFilter>,
    #[serde(default, deserialize_with = "absolute_path")]
    log_file: Option<PathBuf>,
    linger: Option<u64>,
    #[serde(default, deserialize_with = "size")]
    max_module_size: Option<u64>,
    #[serde(default, deserialize_with = "stack_size")]
    wasm_stack_size: Option<u32>,
    #[serde(default, deserialize_with = "size")]
    templates_memory: Option<u64>,
    template_idle: Option<u64>,
    quick_cgroup_moves: Option<bool>,
    #[serde(default, deserialize_with = "sockets")]
    sockets: Option<Policy>,
    warm_start: Option<bool>,
    warm_start_without: Option<Vec<String>>,
    aot: Option<AotMode>,
    #[serde(default, deserialize_with = "absolute_path")]
    aot_cache: Option<PathBuf>,
    #[serde(default, deserialize_with = "size")]
    aot_cache_size: Option<u64>,
    #[serde(default, deserialize_with = "absolute_path")]
    aot_compiler: Option<PathBuf>,
    #[serde(default, deserialize_with = "size")]
    aot_memory: Option<u64>,
    aot_time: Option<u64>,
    #[serde(default, deserialize_with = "absolute_path")]
    native_runtime: Option<PathBuf>,
    native_pause: Option<bool>,
    pod_settings: Option<Vec<PodSetting>>,
}

fn log_level<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LevelFilter>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(|_| de::Error::custom("it must be off, error, warn, info, debug or trace"))
}

fn absolute_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(from)?;
    if path.is_absolute() { Ok(Some(path)) } else { Err(de::Error::custom("it must be an absolute path")) }
}

fn sockets<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Policy>, D::Error> {
    Policy::parse(&String::deserialize(from)?).map(Some).map_err(de::Error::custom)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "it must be a number of bytes or text like \"64KiB\"")]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(from)? {
        Size::Bytes(bytes) => Ok(Some(bytes)),
        Size::Text(text) => parse_size(&text).map(Some).map_err(de::Error::custom),
    }
}

fn stack_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    size(from)?.map(wasm_stack_size).transpose().map_err(de::Error::custom)
}

/// Bytes from `65536`, `64KiB`, `64Ki` or `64K`, and likewise for M and G; always powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" | "Ki" | "KiB" => 10,
        "M" | "Mi" | "MiB" => 20,
        "G" | "Gi" | "GiB" => 30,
        _ => return Err(format!("{text:?} is not a size; write it like 64KiB")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| format!("{text:?} is not a size; write it like 64KiB"))
}

/// Checks the size of an operand stack.
pub(crate) fn wasm_stack_size(bytes: u64) -> Result<u32, String> {
    match u32::try_from(bytes) {
        Ok(size) if (16 << 10..=64 << 20).contains(&size) => Ok(size),
        _ => Err(format!("a stack of {bytes} bytes is not possible; give 16KiB to 64MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Config, ConfigError> {
        Config::load(Path::new("/nonexistent/config.toml"), Some(text))
    }

    #[test]
    fn without_a_file_the_defaults_hold() {
        assert_eq!(body("").unwrap(), Config::default());
    }

    #[test]
    fn every_key_can_be_set() {
        let config = body(
            r#"
            sharing = "kubernetes-namespace"
            SystemdCgroup = true
            log_level = "debug"
            log_file = "/var/log/wamr.log"
            linger = 0
            max_module_size = "2GiB"
            wasm_stack_size = 65536
            templates_memory = "1GiB"
            template_idle = 5
            quick_cgroup_moves = false
            sockets = "10.0.0.0/8:443"
            warm_start = true
            warm_start_without = ["POD_NAME"]
            aot = "eager"
            aot_cache = "/cache"
            aot_cache_size = "3GiB"
            aot_compiler = "/opt/wamr-aotc"
            aot_memory = "4GiB"
            aot_time = 5
            native_runtime = "/usr/bin/runc"
            native_pause = true
            pod_settings = []
            "#,
        );
        let expected = Config {
            sharing: Sharing::KubernetesNamespace,
            systemd_cgroup: Some(true),
            log_level: LevelFilter::Debug,
            log_file: Some("/var/log/wamr.log".into()),
            linger: 0,
            max_module_size: 2 << 30,
            wasm_stack_size: 65536,
            templates_memory: 1 << 30,
            template_idle: 5,
            quick_cgroup_moves: false,
            sockets: Policy::parse("10.0.0.0/8:443").unwrap(),
            warm_start: true,
            warm_start_without: vec!["POD_NAME".to_owned()],
            aot: AotMode::Eager,
            aot_cache: "/cache".into(),
            aot_cache_size: 3 << 30,
            aot_compiler: Some("/opt/wamr-aotc".into()),
            aot_memory: 4 << 30,
            aot_time: Duration::from_secs(5),
            native_runtime: Some("/usr/bin/runc".into()),
            native_pause: true,
            pod_settings: vec![],
        };
        assert_eq!(config.unwrap(), expected);
    }

    #[test]
    fn runtime_options_stand_above_the_nodes_file() {
        let directory = std::env::temp_dir().join(format!("config-test-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let node = directory.join("config.toml");
        std::fs::write(&node, "linger = 1\nsharing = \"pod\"").unwrap();
        let (alone, both) = (Config::load(&node, None), Config::load(&node, Some("linger = 2")));
        let unreadable = Config::load(&directory, None);
        std::fs::remove_dir_all(&directory).unwrap();
        let (alone, both) = (alone.unwrap(), both.unwrap());
        assert_eq!((alone.linger, alone.sharing), (1, Sharing::Pod));
        assert_eq!((both.linger, both.sharing), (2, Sharing::Pod));
        let words = unreadable.unwrap_err().to_string();
        assert!(words.contains("config-test"), "only a missing file means defaults: {words}");
    }

    #[test]
    fn an_unusable_setting_is_named_with_its_line() {
        for (text, parts) in [
            ("linger = 1\nlingr = 5", &["line 2", "lingr", "linger"][..]),
            ("sharing = \"cluster\"", &["line 1", "cluster", "kubernetes-namespace"]),
            ("\n\nlog_level = \"loud\"", &["line 3", "log_level", "debug"]),
            ("log_file = \"wamr.log\"", &["line 1", "absolute"]),
            ("native_runtime = \"runc\"", &["line 1", "absolute"]),
            ("wasm_stack_size = \"1KiB\"", &["line 1", "16KiB"]),
            ("sockets = \"some\"", &["line 1", "some"]),
            ("max_module_size = \"big\"", &["line 1", "64KiB"]),
            ("max_module_size = -1", &["line 1", "64KiB"]),
            ("max_module_size = \"99999999999GiB\"", &["line 1", "not a size"]),
            ("linger = -1", &["line 1", "-1"]),
            ("aot = \"always\"", &["line 1", "always", "background"]),
            ("aot_cache = \"aot\"", &["line 1", "absolute"]),
            ("pod_settings = [\"sharing\"]", &["line 1", "sharing", "wasm_stack_size"]),
            ("[section]\nlinger = 1", &["line 1", "section"]),
            ("linger = ", &["line 1"]),
        ] {
            let words = body(text).unwrap_err().to_string();
            for part in parts {
                assert!(words.contains(part), "{text:?}: {part:?} is missing in: {words}");
            }
            assert!(words.contains("runtime options"), "{words}");
        }
    }
}
