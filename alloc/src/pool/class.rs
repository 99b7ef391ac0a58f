//! Size classes: how a length is rounded up so that freed blocks fit later requests.
//!
//! Lengths count in units: 64 B below a page, 4 KiB from there on. Up to 8 units every count is a class;
//! beyond, four classes a doubling (10, 12, 14, 16, 20, …), so that rounding to the class adds at most a
//! quarter.

use crate::{ALIGNMENT, MIN_ALIGNMENT};

/// Largest length with a class; larger requests get a run of pages of their own.
pub(crate) const CLASSED_BYTES_MAX: usize = 4 << 20;
/// Largest length of a class counted in units of [`MIN_ALIGNMENT`]; 4096 itself is a page class.
const SMALL_BYTES_MAX: usize = 3584;
/// How many small classes there are.
pub(crate) const SMALL_CLASSES: usize = step_of(SMALL_BYTES_MAX / MIN_ALIGNMENT) + 1;
/// How many classes there are in all.
pub(crate) const CLASSES: usize = SMALL_CLASSES + step_of(CLASSED_BYTES_MAX / ALIGNMENT) + 1;

/// The class of a block: an index below [`CLASSES`], or [`BlockClass::RUN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockClass(u8);

impl BlockClass {
    /// Not a class: a run of pages of its own.
    pub(crate) const RUN: BlockClass = BlockClass(u8::MAX);

    /// The class that holds `len` bytes and the block's size; `pages_only` leaves the small classes out.
    #[inline]
    pub(crate) fn of(len: usize, pages_only: bool) -> (BlockClass, usize) {
        if len <= SMALL_BYTES_MAX && !pages_only {
            let step = step_of(len.div_ceil(MIN_ALIGNMENT).max(1));
            (BlockClass(step as u8), units_of(step) * MIN_ALIGNMENT)
        } else if len <= CLASSED_BYTES_MAX {
            let step = step_of(len.div_ceil(ALIGNMENT).max(1));
            (BlockClass((SMALL_CLASSES + step) as u8), units_of(step) * ALIGNMENT)
        } else {
            Self::run_of(len)
        }
    }

    /// A run of its own for `len` bytes: whole pages and nothing more.
    pub(crate) fn run_of(len: usize) -> (BlockClass, usize) {
        (BlockClass::RUN, len.next_multiple_of(ALIGNMENT))
    }

    /// Index below [`CLASSES`], or nothing for a run.
    #[inline]
    pub(crate) fn index(self) -> Option<usize> {
        (self != Self::RUN).then_some(self.0 as usize)
    }
}

/// Block size in bytes of the class with this index.
pub(crate) fn class_bytes(index: usize) -> usize {
    match index.checked_sub(SMALL_CLASSES) {
        None => units_of(index) * MIN_ALIGNMENT,
        Some(step) => units_of(step) * ALIGNMENT,
    }
}

/// The step that holds `units` (at least 1): 1 to 8 are steps of their own, then four a doubling.
const fn step_of(units: usize) -> usize {
    if units <= 8 {
        return units - 1;
    }
    let below = units - 1;
    let shift = below.ilog2() as usize - 2;
    8 + (shift - 1) * 4 + (below >> shift) - 4
}

/// How many units a step holds.
const fn units_of(step: usize) -> usize {
    if step < 8 { step + 1 } else { (5 + (step & 3)) << ((step - 8) / 4 + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_lengths_and_waste_at_most_a_quarter() {
        for pages_only in [false, true] {
            for len in (0..CLASSED_BYTES_MAX + 2 * ALIGNMENT).step_by(61).chain([4096, 4097, 3584, 3585]) {
                let (class, bytes) = BlockClass::of(len, pages_only);
                assert!(bytes >= len);
                let unit = if bytes < ALIGNMENT { MIN_ALIGNMENT } else { ALIGNMENT };
                assert_eq!(bytes % unit, 0);
                let rounded = len.next_multiple_of(unit).max(unit);
                assert!(bytes * 4 <= rounded * 5, "{len} became {bytes}");
                match class.index() {
                    Some(index) => {
                        assert!(index < CLASSES);
                        assert_eq!(class_bytes(index), bytes);
                        assert_eq!(index < SMALL_CLASSES, bytes < ALIGNMENT);
                    }
                    None => assert!(len > CLASSED_BYTES_MAX),
                }
            }
        }
    }

    #[test]
    fn steps_grow_and_are_each_their_own() {
        for index in 1..CLASSES {
            assert!(class_bytes(index) > class_bytes(index - 1));
            assert_eq!(BlockClass::of(class_bytes(index), false).0.index(), Some(index));
        }
        assert_eq!(class_bytes(CLASSES - 1), CLASSED_BYTES_MAX);
    }
}
