//! Runs of whole pages of this process, by their addresses.

/// A page, and the words in it.
pub(crate) const PAGE: u64 = 4096;
pub(crate) const WORD: u64 = 8;
/// Zeros between two runs that are not worth a mapping of their own: as many pages as the kernel maps around one that
/// is touched.
const GAP: u64 = 16 * PAGE;

/// From `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pages {
    pub start: u64,
    pub end: u64,
}

impl Pages {
    pub(crate) fn bytes(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Those that lie within `start..end` in whole.
    pub(crate) fn within(start: u64, end: u64) -> Pages {
        let start = start.next_multiple_of(PAGE);
        Pages { start, end: (end / PAGE * PAGE).max(start) }
    }

    pub(crate) fn contains(self, other: Pages) -> bool {
        self.start <= other.start && other.start <= other.end && other.end <= self.end
    }

    /// What is left of these without `others`, in order.
    pub(crate) fn without(self, mut others: Vec<Pages>) -> Vec<Pages> {
        others.sort_unstable();
        let mut left = Vec::new();
        let mut start = self.start;
        for other in others.into_iter().filter(|other| other.bytes() > 0) {
            left.push(Pages { start, end: other.start.min(self.end) });
            start = start.max(other.end);
        }
        left.push(Pages { start, end: self.end });
        left.retain(|pages| pages.bytes() > 0);
        left
    }

    /// Adds the runs of pages among these that are not all zeros to `found`.
    ///
    /// # Safety
    /// The pages must be readable, and nobody may write to them.
    pub(crate) unsafe fn find_used(self, found: &mut Vec<Pages>) {
        let first = found.len();
        for start in (self.start..self.end).step_by(PAGE as usize) {
            // SAFETY: the caller vouches for it; addresses are those of pages.
            let page = unsafe { std::slice::from_raw_parts(start as *const u64, (PAGE / WORD) as usize) };
            if page.iter().all(|word| *word == 0) {
                continue;
            }
            let near = found.get_mut(first..).and_then(|own| own.last_mut());
            match near.filter(|last| start - last.end < GAP) {
                Some(last) => last.end = start + PAGE,
                None => found.push(Pages { start, end: start + PAGE }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, end: u64) -> Pages {
        Pages { start, end }
    }

    #[test]
    fn what_is_left_out_is_left_out() {
        let whole = pages(10, 50);
        assert_eq!(whole.without(vec![]), [whole]);
        assert_eq!(whole.without(vec![pages(20, 30), pages(10, 15)]), [pages(15, 20), pages(30, 50)]);
        assert_eq!(whole.without(vec![pages(20, 20), pages(0, 12), pages(45, 60)]), [pages(12, 45)]);
        assert_eq!(whole.without(vec![pages(15, 30), pages(20, 25)]), [pages(10, 15), pages(30, 50)]);
        assert_eq!(whole.without(vec![pages(0, 100)]), []);
        assert_eq!(whole.without(vec![pages(60, 70)]), [whole]);
    }

    #[test]
    fn only_whole_pages_are_within() {
        assert_eq!(Pages::within(1, 3 * PAGE - 1), pages(PAGE, 2 * PAGE));
        assert_eq!(Pages::within(1, PAGE - 1).bytes(), 0);
        assert!(pages(10, 50).contains(pages(10, 50)));
        assert!(!pages(10, 50).contains(pages(40, 30)));
    }
}
