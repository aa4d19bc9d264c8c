//! What is compiled next for a module: one decision, of what is known.

use ::aot::Tier;

/// A module that is started so often is worth the top tier.
const OFTEN: u32 = 3;

/// What there is of a module at one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Code.
    Code,
    /// It was tried and cannot be done.
    Failed,
    /// Nothing yet, or not any more.
    Nothing,
}

/// The tier to order, if any, for a module that was started so often.
///
/// Quick code comes first. Where it is there, or cannot be had, the top tier is worth its time once the module is started
/// often: what one tier cannot compile, the other may.
pub fn wanted(quick: Known, top: Known, starts: u32) -> Option<Tier> {
    match (quick, top) {
        (_, Known::Code) => None,
        (Known::Nothing, _) => Some(Tier::Quick),
        (Known::Code | Known::Failed, Known::Nothing) => (starts >= OFTEN).then_some(Tier::Top),
        (Known::Code | Known::Failed, Known::Failed) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tier_is_ordered_where_it_pays_and_never_again_where_it_failed() {
        use Known::{Code, Failed, Nothing};
        use Tier::{Quick, Top};
        // Quick, top, what is ordered of a module that is started seldom, and often.
        for (quick, top, seldom, often) in [
            (Nothing, Nothing, Some(Quick), Some(Quick)),
            (Nothing, Failed, Some(Quick), Some(Quick)),
            (Nothing, Code, None, None),
            (Failed, Nothing, None, Some(Top)),
            (Failed, Failed, None, None),
            (Failed, Code, None, None),
            (Code, Nothing, None, Some(Top)),
            (Code, Failed, None, None),
            (Code, Code, None, None),
        ] {
            for starts in 0..OFTEN {
                assert_eq!(wanted(quick, top, starts), seldom, "{quick:?} {top:?} {starts}");
            }
            for starts in [OFTEN, OFTEN + 1, u32::MAX] {
                assert_eq!(wanted(quick, top, starts), often, "{quick:?} {top:?} {starts}");
            }
        }
    }
}
