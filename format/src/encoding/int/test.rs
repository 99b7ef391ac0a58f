//! [`IntPred`] in the domain of canonical 64-bit values.

use crate::kernels::{Level, compare};
use crate::limits::VECTOR_ROWS;
use crate::predicate::IntPred;

/// A test as ranges of canonical values, compared by one wrapping subtraction each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IntTest {
    /// Disjoint, ascending in the type's order, as first value and span. Nothing outside the type.
    ranges: Vec<(u64, u64)>,
    /// Members when there are too many for ranges.
    set: Option<Members>,
    /// Whether the test is inverted.
    pub(super) negated: bool,
    signed: bool,
}

/// Members of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Members {
    /// Ascending in the type's order.
    Sorted(Vec<u64>),
    /// A bit for each value from the least member on, where they lie so close together that the bits stay in a core's cache.
    Bits { first: u64, words: Vec<u64> },
}

/// Bits of [`Members::Bits`] at most: a quarter of a mebibyte.
const MEMBER_BITS_MAX: u64 = 1 << 21;
/// Bits of them that are worth making for each row that is tested: a word is cleared sooner than a row is looked up otherwise.
const MEMBER_BITS_PER_ROW: u64 = 64;

impl Members {
    fn new(ascending: impl Iterator<Item = u64> + Clone, rows: usize) -> Self {
        let (first, last) = (ascending.clone().next().unwrap_or(0), ascending.clone().last().unwrap_or(0));
        let span = last.wrapping_sub(first);
        if span >= MEMBER_BITS_MAX.min(rows as u64 * MEMBER_BITS_PER_ROW) {
            return Members::Sorted(ascending.collect());
        }
        let mut words = vec![0u64; span as usize / 64 + 1];
        for value in ascending {
            let at = value.wrapping_sub(first) as usize;
            words[at / 64] |= 1 << (at % 64);
        }
        Members::Bits { first, words }
    }

    fn has(&self, v: u64, signed: bool) -> bool {
        match self {
            Members::Sorted(set) => {
                let order = |v: u64| if signed { v ^ 1 << 63 } else { v };
                set.binary_search_by_key(&order(v), |m| order(*m)).is_ok()
            }
            Members::Bits { first, words } => {
                let at = v.wrapping_sub(*first);
                words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
            }
        }
    }
}

/// Most members of a set that are compared one by one.
const RANGES_MAX: usize = 8;

impl IntTest {
    /// The test as it applies to a type of `bits` bits, for some rows.
    pub(super) fn new(pred: &IntPred, bits: u32, signed: bool, rows: usize) -> Self {
        let (min, max) = if signed {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        } else {
            (0, (1i128 << bits) - 1)
        };
        match pred {
            IntPred::Range { lo, hi, negated } => {
                let (lo, hi) = ((*lo).max(min), (*hi).min(max));
                let ranges = if lo > hi { vec![] } else { vec![(lo as u64, (hi - lo) as u64)] };
                Self { ranges, set: None, negated: *negated, signed }
            }
            IntPred::Set { values, negated } => {
                let from = values.partition_point(|v| *v < min);
                let to = values.partition_point(|v| *v <= max);
                let mut ranges: Vec<(u64, u64)> = Vec::new();
                for &v in values.get(from..to).unwrap_or_default() {
                    // Neighbours make one range.
                    match ranges.last_mut() {
                        Some((first, span)) if (v as u64).wrapping_sub(*first) == *span + 1 => *span += 1,
                        _ => ranges.push((v as u64, 0)),
                    }
                }
                let set = (ranges.len() > RANGES_MAX)
                    .then(|| Members::new(values[from..to].iter().map(|v| *v as u64), rows));
                Self { ranges, set, negated: *negated, signed }
            }
        }
    }

    /// Whether an unsigned value lies in one of some disjoint, ascending ranges of first value and span.
    pub(super) fn of_ranges(ranges: Vec<(u64, u64)>) -> Self {
        Self { ranges, set: None, negated: false, signed: false }
    }

    /// The ranges of the positive test.
    pub(super) fn ranges(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    /// Whether the test is true of a canonical value.
    pub(super) fn matches(&self, v: u64) -> bool {
        let hit = match &self.set {
            None => self.ranges.iter().any(|(from, span)| v.wrapping_sub(*from) <= *span),
            Some(set) => set.has(v, self.signed),
        };
        hit != self.negated
    }

    /// Writes the bits of canonical values, whole words, zero past the last value.
    pub(super) fn bits(&self, level: Level, values: &[u64], out: &mut [u64]) {
        match (&self.set, self.ranges.as_slice()) {
            (Some(_), _) => {
                for (word, chunk) in out.iter_mut().zip(values.chunks(64)) {
                    *word = chunk
                        .iter()
                        .enumerate()
                        .fold(0, |w, (i, v)| w | u64::from(self.matches(*v) != self.negated) << i);
                }
            }
            (None, ranges) => {
                for (values, out) in values.chunks(VECTOR_ROWS).zip(out.chunks_mut(VECTOR_ROWS / 64)) {
                    or_ranges(ranges.iter().copied(), out, |from, span, out| {
                        compare::range_bits(level, values, from, span, out);
                    });
                }
            }
        }
        if self.negated {
            invert(out, values.len());
        }
    }
}

/// Ors the bits of one vector that `one` writes for each range.
pub(super) fn or_ranges<L: Copy>(
    mut ranges: impl Iterator<Item = (L, L)>,
    out: &mut [u64],
    mut one: impl FnMut(L, L, &mut [u64]),
) {
    let Some((from, span)) = ranges.next() else {
        out.fill(0);
        return;
    };
    one(from, span, out);
    let mut more = [0u64; VECTOR_ROWS / 64];
    for (from, span) in ranges {
        let more = &mut more[..out.len()];
        one(from, span, more);
        out.iter_mut().zip(&*more).for_each(|(o, m)| *o |= m);
    }
}

/// Inverts `len` bits and leaves the rest of the last word zero.
pub(super) fn invert(out: &mut [u64], len: usize) {
    for word in &mut *out {
        *word = !*word;
    }
    trim(out, len);
}

/// Sets or clears `len` bits.
pub(super) fn fill(out: &mut [u64], len: usize, value: bool) {
    out.fill(if value { u64::MAX } else { 0 });
    trim(out, len);
}

/// Clears the bits past `len` in the last word.
pub(super) fn trim(out: &mut [u64], len: usize) {
    if !len.is_multiple_of(64)
        && let Some(last) = out.get_mut(len / 64)
    {
        *last &= (1 << (len % 64)) - 1;
    }
}

impl IntTest {
    /// Whether members are looked up rather than compared as ranges.
    pub(super) fn is_large_set(&self) -> bool {
        self.set.is_some()
    }
}

/// Sets bits `from .. to`.
pub(super) fn set_range(out: &mut [u64], from: usize, to: usize) {
    if from >= to {
        return;
    }
    let (first, last) = (from / 64, (to - 1) / 64);
    let head = u64::MAX << (from % 64);
    let tail = u64::MAX >> (63 - (to - 1) % 64);
    if first == last {
        out[first] |= head & tail;
    } else {
        out[first] |= head;
        out[first + 1..last].fill(u64::MAX);
        out[last] |= tail;
    }
}
