//! How much is spent on the code.

use crate::Target;

/// A tier of compiled code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// LLVM's quick instruction selection, after the few passes that pay most for their time.
    Quick,
    /// Everything LLVM has.
    Top,
}

impl Tier {
    /// All of them, the cheapest first.
    pub const ALL: [Tier; 2] = [Tier::Quick, Tier::Top];

    /// The name, as in file names and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tier::Quick => "quick",
            Tier::Top => "top",
        }
    }

    /// LLVM's level for code generation and optimisation.
    #[must_use]
    pub fn level(self) -> u32 {
        match self {
            Tier::Quick => 0,
            Tier::Top => 3,
        }
    }

    /// The pass pipeline, in LLVM's words.
    #[must_use]
    pub fn passes(self) -> Option<&'static str> {
        match self {
            // WAMR's code keeps every local in memory and loads the instance's fields at each use.
            Tier::Quick => Some("function(mem2reg,early-cse,simplifycfg)"),
            Tier::Top => Some("default<O3>"),
        }
    }

    /// Flags of LLVM's code generator.
    #[must_use]
    pub fn flags(self) -> Option<&'static str> {
        match self {
            // The allocator that level 0 has keeps nothing in registers from one block to the next: code of twice the
            // size that runs at half the speed. This one takes twice its time.
            Tier::Quick => Some("-optimize-regalloc -regalloc=basic -enable-misched=false"),
            Tier::Top => None,
        }
    }

    /// Whether code of this tier for such a processor addresses its memory by the GS register.
    #[must_use]
    pub fn segue(self, target: &Target) -> bool {
        match self {
            Tier::Quick | Tier::Top => target.segue(),
        }
    }
}

impl std::str::FromStr for Tier {
    type Err = String;

    fn from_str(name: &str) -> Result<Tier, String> {
        let found = Tier::ALL.into_iter().find(|tier| tier.name() == name);
        found.ok_or_else(|| format!("there is no tier {name:?}, only quick and top"))
    }
}
