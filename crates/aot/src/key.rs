//! What a compiled module is found by.

use sha2::{Digest, Sha256};

use crate::{COMPILER, Target, Tier};

/// Version of the cache's own files.
const LAYOUT: u32 = 1;

/// Everything code depends on: the module, the runtime, the compiler, the processor, how it was compiled. The file's name is a digest
/// of it, so a file made for anything else is never found; and it stands in the sidecar, so a file that was renamed is
/// not taken for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    text: String,
    name: String,
    tier: Tier,
}

impl Key {
    /// `module` is the SHA-256 of the module's bytes, `runtime` names the very build of WAMR, AOT format included.
    #[must_use]
    pub fn new(module: &[u8; 32], runtime: &str, target: &Target, tier: Tier) -> Key {
        Key::with_compiler(COMPILER, module, runtime, target, tier)
    }

    fn with_compiler(compiler: &str, module: &[u8; 32], runtime: &str, target: &Target, tier: Tier) -> Key {
        let text = format!(
            "wamr-aot {LAYOUT}\nmodule sha256:{}\nwamr {runtime}\ncompiler {compiler}\n{}options level {} passes {} flags {} segue {}\ntier {}\n",
            hex(module),
            target.lines(),
            tier.level(),
            tier.passes().unwrap_or("default"),
            tier.flags().unwrap_or("default"),
            tier.segue(target),
            tier.name(),
        );
        Key { name: hex(&Sha256::digest(text.as_bytes()).into()), text, tier }
    }

    /// The file's name without its ending: 64 hexadecimal digits.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tier.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// All that the name is a digest of, one property a line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Whether this is the stem of a file of the cache.
pub(crate) fn is_name(stem: &str) -> bool {
    stem.len() == 64 && stem.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_code_depends_on_changes_the_name() {
        let cpu = |flags: &str| Target::parse(&format!("vendor_id: x\nflags: {flags}\nFeatures: {flags}\n"));
        let base = Key::new(&[1; 32], "2.4.3 a", &cpu("avx"), Tier::Quick);
        let others = [
            Key::new(&[2; 32], "2.4.3 a", &cpu("avx"), Tier::Quick),
            Key::new(&[1; 32], "2.4.4 a", &cpu("avx"), Tier::Quick),
            Key::new(&[1; 32], "2.4.3 a", &cpu("avx avx2"), Tier::Quick),
            Key::new(&[1; 32], "2.4.3 a", &cpu("avx"), Tier::Top),
            Key::with_compiler("other", &[1; 32], "2.4.3 a", &cpu("avx"), Tier::Quick),
        ];
        for other in &others {
            assert_ne!(base.name(), other.name(), "{}", other.text());
        }
        assert_eq!(base, Key::new(&[1; 32], "2.4.3 a", &cpu("avx"), Tier::Quick));
        assert!(base.text().contains(&format!("\ncompiler {COMPILER}\n")), "{}", base.text());
        assert!(is_name(base.name()));
    }
}
