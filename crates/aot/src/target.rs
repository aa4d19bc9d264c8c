//! The processor that code is made for.

use std::collections::BTreeSet;

/// What the kernel calls a processor's features, and its model, by architecture.
#[cfg(target_arch = "x86_64")]
const FIELDS: (&str, &[&str]) = ("flags", &["vendor_id", "cpu family", "model", "stepping"]);
#[cfg(target_arch = "aarch64")]
const FIELDS: (&str, &[&str]) = ("Features", &["CPU implementer", "CPU variant", "CPU part", "CPU revision"]);

/// A processor: code made for one runs only on the same model with the same features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    model: String,
    features: BTreeSet<String>,
}

impl Target {
    /// This machine's: what all of its processors have in common.
    ///
    /// # Errors
    /// Those of reading `/proc/cpuinfo`.
    pub fn host() -> std::io::Result<Target> {
        Ok(Target::parse(&std::fs::read_to_string("/proc/cpuinfo")?))
    }

    /// The processors that a text like `/proc/cpuinfo` describes.
    #[must_use]
    pub fn parse(cpuinfo: &str) -> Target {
        let (flags, identity) = FIELDS;
        let mut models = BTreeSet::new();
        let mut features: Option<BTreeSet<String>> = None;
        for processor in cpuinfo.split("\n\n") {
            let field = |name: &str| {
                processor.lines().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    (key.trim() == name).then(|| value.trim())
                })
            };
            let Some(own) = field(flags) else { continue };
            let own: BTreeSet<String> = own.split_whitespace().map(str::to_owned).collect();
            features = Some(features.map_or(own.clone(), |all| &all & &own));
            let words: Vec<&str> = identity.iter().filter_map(|name| field(name)).collect();
            models.insert(words.join(" "));
        }
        let models: Vec<String> = models.into_iter().collect();
        Target { model: models.join(" and "), features: features.unwrap_or_default() }
    }

    /// Whether code may use the GS register for its memory: user programs may set it.
    #[must_use]
    pub fn segue(&self) -> bool {
        cfg!(target_arch = "x86_64") && self.features.contains("fsgsbase")
    }

    /// Architecture, model and features, as they stand in a key.
    pub(crate) fn lines(&self) -> String {
        let features: Vec<&str> = self.features.iter().map(String::as_str).collect();
        format!("target {}\ncpu {}\nfeatures {}\n", std::env::consts::ARCH, self.model, features.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_model_and_features() {
        let host = Target::host().unwrap();
        assert!(!host.model.is_empty() && host.features.len() > 5, "{host:?}");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_feature_that_one_processor_lacks_is_not_there() {
        let processor = |flags: &str| {
            format!(
                "processor : 0\nvendor_id : V\ncpu family : 6\nmodel : 1\nstepping : 2\nflags : {flags}\n\n"
            )
        };
        let both = Target::parse(&(processor("sse2 avx2 fsgsbase") + &processor("fsgsbase sse2")));
        assert_eq!(both, Target::parse(&processor("sse2 fsgsbase")));
        assert!(both.segue() && !Target::parse(&processor("sse2")).segue());
        assert_eq!(both.lines(), "target x86_64\ncpu V 6 1 2\nfeatures fsgsbase sse2\n");
    }
}
