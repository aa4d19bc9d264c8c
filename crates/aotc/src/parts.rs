//! Which functions are compiled together.

use std::ops::Range;

/// Bytes of wasm code that one process compiles. LLVM needs some 200 times as much memory for them.
const PART: u64 = 640 << 10;

/// Runs of functions with about as much code each. They depend on the module alone, not on the machine: so does the code.
pub fn parts(sizes: &[u32]) -> Vec<Range<u32>> {
    let all: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
    let part = all.div_ceil(all.div_ceil(PART).max(1));
    let (mut parts, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (function, size) in (0..).zip(sizes) {
        bytes += u64::from(*size);
        if bytes >= part {
            parts.push(first..function + 1);
            (first, bytes) = (function + 1, 0);
        }
    }
    if first < sizes.len() as u32 || parts.is_empty() {
        parts.push(first..sizes.len() as u32);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_in_one_part_and_parts_are_alike() {
        for sizes in
            [vec![], vec![10; 100], vec![1000; 5000], vec![3 << 20, 5, 5, 3 << 20, 1], vec![400 << 10; 9]]
        {
            let parts = parts(&sizes);
            assert_eq!(
                parts.iter().cloned().flatten().collect::<Vec<u32>>(),
                (0..sizes.len() as u32).collect::<Vec<_>>()
            );
            let size = |part: &Range<u32>| -> u64 {
                sizes[part.start as usize..part.end as usize].iter().map(|s| u64::from(*s)).sum()
            };
            let largest: u64 = sizes.iter().copied().max().unwrap_or(0).into();
            assert!(parts.iter().all(|part| size(part) <= PART + largest), "{parts:?}");
        }
        assert_eq!((parts(&[10; 100]).len(), parts(&[]).len()), (1, 1));
        assert_eq!(parts(&vec![1000; 5000]).len(), 8);
    }
}
