//! Tests on the stored values of one stream: what a bound predicate's leaves ask of the encodings.
//!
//! A test is total: it is true or false of every value. Nulls are the caller's: a null row is never selected, whatever the
//! test says of the value in its slot. Every test answers three questions: is it true of a value ([`IntPred::matches`]), what
//! is known of it when all values lie in a range ([`IntPred::verdict`]), and its inverse is the same test with `negated`
//! flipped.

use std::ops::Bound;

use super::like::LikePattern;

/// What is known of a test, or of a whole predicate, over a set of rows without looking at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    /// True of no row.
    None,
    /// True of some rows, as far as is known.
    Some,
    /// True of every row.
    All,
}

impl Pruned {
    /// The verdict on the inverse of a total test.
    #[must_use]
    pub fn inverted(self) -> Self {
        match self {
            Self::None => Self::All,
            Self::Some => Self::Some,
            Self::All => Self::None,
        }
    }

    /// The verdict on both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => Self::None,
            (Self::All, Self::All) => Self::All,
            _ => Self::Some,
        }
    }

    /// The verdict on either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::None, Self::None) => Self::None,
            _ => Self::Some,
        }
    }

    fn negated_if(self, negated: bool) -> Self {
        if negated { self.inverted() } else { self }
    }
}

/// A test on integers of up to 128 bits: integers, dates, times, timestamps, durations and decimals (unscaled).
///
/// Bounds and members may lie outside the stored type; encodings clamp them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntPred {
    /// `lo <= v <= hi`; empty when `lo > hi`.
    Range {
        /// Smallest value that passes.
        lo: i128,
        /// Largest value that passes.
        hi: i128,
        /// Whether the test is inverted.
        negated: bool,
    },
    /// `v` is one of the values.
    Set {
        /// The members, ascending and distinct.
        values: Vec<i128>,
        /// Whether the test is inverted.
        negated: bool,
    },
}

impl IntPred {
    /// Whether the test is true of `v`.
    pub fn matches(&self, v: i128) -> bool {
        match self {
            Self::Range { lo, hi, negated } => (*lo <= v && v <= *hi) != *negated,
            Self::Set { values, negated } => values.binary_search(&v).is_ok() != *negated,
        }
    }

    /// What is known when every value lies in `min..=max`.
    pub fn verdict(&self, min: i128, max: i128) -> Pruned {
        match self {
            Self::Range { lo, hi, negated } => range_verdict(lo, hi, &min, &max).negated_if(*negated),
            Self::Set { values, negated } => set_verdict(values, &min, &max).negated_if(*negated),
        }
    }

    /// The inverse.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        match &mut self {
            Self::Range { negated, .. } | Self::Set { negated, .. } => *negated = !*negated,
        }
        self
    }
}

/// A test on floating-point values, by their IEEE 754 total-order keys.
///
/// The key of a value of the stream's own type is its bits as a signed integer, with all but the sign bit inverted when it
/// is negative ([`f64_key`], [`f32_key`]). So −NaN < −∞ < … < −0.0 < +0.0 < … < +∞ < NaN, and a value equals itself only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FloatPred {
    /// `lo <= key(v) <= hi`; empty when `lo > hi`.
    Range {
        /// Smallest key that passes.
        lo: i64,
        /// Largest key that passes.
        hi: i64,
        /// Whether the test is inverted.
        negated: bool,
    },
    /// `key(v)` is one of the values.
    Set {
        /// The members, ascending and distinct.
        values: Vec<i64>,
        /// Whether the test is inverted.
        negated: bool,
    },
}

impl FloatPred {
    /// Whether the test is true of the value with this key.
    pub fn matches(&self, key: i64) -> bool {
        match self {
            Self::Range { lo, hi, negated } => (*lo <= key && key <= *hi) != *negated,
            Self::Set { values, negated } => values.binary_search(&key).is_ok() != *negated,
        }
    }

    /// What is known when every key lies in `min..=max`.
    pub fn verdict(&self, min: i64, max: i64) -> Pruned {
        match self {
            Self::Range { lo, hi, negated } => range_verdict(lo, hi, &min, &max).negated_if(*negated),
            Self::Set { values, negated } => set_verdict(values, &min, &max).negated_if(*negated),
        }
    }

    /// The inverse.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        match &mut self {
            Self::Range { negated, .. } | Self::Set { negated, .. } => *negated = !*negated,
        }
        self
    }
}

/// The total-order key of a double.
#[inline(always)]
pub fn f64_key(v: f64) -> i64 {
    let bits = v.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The total-order key of a single: 32 bits, sign-extended.
#[inline(always)]
pub fn f32_key(v: f32) -> i64 {
    let bits = v.to_bits() as i32;
    i64::from(bits ^ ((bits >> 31) as u32 >> 1) as i32)
}

/// A test on byte strings, ordered as unsigned bytes (for UTF-8 that is the order of code points).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BytesPred {
    /// Between two bounds.
    Range {
        /// Lower bound.
        lo: Bound<Vec<u8>>,
        /// Upper bound.
        hi: Bound<Vec<u8>>,
        /// Whether the test is inverted.
        negated: bool,
    },
    /// One of the values.
    Set {
        /// The members, ascending and distinct.
        values: Vec<Vec<u8>>,
        /// Whether the test is inverted.
        negated: bool,
    },
    /// `LIKE`.
    Like {
        /// The pattern.
        pattern: LikePattern,
        /// Whether the test is inverted.
        negated: bool,
    },
}

impl BytesPred {
    /// Whether the test is true of `v`. To test many values, make a [`BytesPred::matcher`] once.
    pub fn matches(&self, v: &[u8]) -> bool {
        self.matcher().matches(v)
    }

    /// The test, prepared for many values.
    pub fn matcher(&self) -> BytesMatcher<'_> {
        let (test, negated) = match self {
            Self::Range { lo, hi, negated } => (MatcherKind::Range(as_slice(lo), as_slice(hi)), *negated),
            Self::Set { values, negated } => match values.as_slice() {
                [one] => (MatcherKind::One(one), *negated),
                _ => (MatcherKind::Set(values), *negated),
            },
            Self::Like { pattern, negated } => match pattern {
                LikePattern::Exact(one) => (MatcherKind::One(one), *negated),
                LikePattern::Contains(needle) => {
                    (MatcherKind::Contains(Box::new(memchr::memmem::Finder::new(needle))), *negated)
                }
                other => (MatcherKind::Like(other), *negated),
            },
        };
        BytesMatcher { kind: test, negated }
    }

    /// The inverse.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        match &mut self {
            Self::Range { negated, .. } | Self::Set { negated, .. } | Self::Like { negated, .. } => {
                *negated = !*negated;
            }
        }
        self
    }
}

/// A [`BytesPred`] prepared for many values.
#[derive(Debug, Clone)]
pub struct BytesMatcher<'p> {
    kind: MatcherKind<'p>,
    negated: bool,
}

#[derive(Debug, Clone)]
enum MatcherKind<'p> {
    Range(Bound<&'p [u8]>, Bound<&'p [u8]>),
    One(&'p [u8]),
    Set(&'p [Vec<u8>]),
    Contains(Box<memchr::memmem::Finder<'p>>),
    Like(&'p LikePattern),
}

impl BytesMatcher<'_> {
    /// Whether the test is true of `v`.
    #[inline]
    pub fn matches(&self, v: &[u8]) -> bool {
        let hit = match &self.kind {
            MatcherKind::Range(lo, hi) => {
                (match lo {
                    Bound::Included(lo) => v >= *lo,
                    Bound::Excluded(lo) => v > *lo,
                    Bound::Unbounded => true,
                }) && match hi {
                    Bound::Included(hi) => v <= *hi,
                    Bound::Excluded(hi) => v < *hi,
                    Bound::Unbounded => true,
                }
            }
            MatcherKind::One(one) => v == *one,
            MatcherKind::Set(values) => values.binary_search_by(|m| m.as_slice().cmp(v)).is_ok(),
            MatcherKind::Contains(finder) => finder.find(v).is_some(),
            MatcherKind::Like(pattern) => pattern.matches(v),
        };
        hit != self.negated
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(v) => Bound::Included(v),
        Bound::Excluded(v) => Bound::Excluded(v),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// What is known of `lo <= v <= hi` when every `v` lies in `min..=max`.
fn range_verdict<T: Ord>(lo: &T, hi: &T, min: &T, max: &T) -> Pruned {
    if lo > hi || max < lo || hi < min {
        Pruned::None
    } else if lo <= min && max <= hi {
        Pruned::All
    } else {
        Pruned::Some
    }
}

/// What is known of membership when every `v` lies in `min..=max`.
fn set_verdict<T: Ord>(values: &[T], min: &T, max: &T) -> Pruned {
    let from = values.partition_point(|v| v < min);
    match values.get(from) {
        Some(v) if v <= max => {
            if min == max {
                Pruned::All
            } else {
                Pruned::Some
            }
        }
        _ => Pruned::None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_follow_total_order() {
        let mut v = [
            f64::NAN,
            -f64::NAN,
            0.0,
            -0.0,
            1.5,
            -1.5,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            5e-324,
            -5e-324,
            f64::MAX,
            f64::MIN,
        ];
        v.sort_by(f64::total_cmp);
        assert!(v.windows(2).all(|w| f64_key(w[0]) < f64_key(w[1])));
    }

    proptest! {
        #[test]
        fn keys_compare_as_total_cmp(a: u64, b: u64, c: u32, d: u32) {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            prop_assert_eq!(f64_key(x).cmp(&f64_key(y)), x.total_cmp(&y));
            let (x, y) = (f32::from_bits(c), f32::from_bits(d));
            prop_assert_eq!(f32_key(x).cmp(&f32_key(y)), x.total_cmp(&y));
        }

        #[test]
        fn int_verdicts_hold(values in prop::collection::vec(-20i128..20, 1..6), lo in -25i128..25, hi in -25i128..25,
                             mut set in prop::collection::vec(-20i128..20, 0..5), negated: bool) {
            set.sort_unstable();
            set.dedup();
            let (min, max) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            for pred in [IntPred::Range { lo, hi, negated }, IntPred::Set { values: set.clone(), negated }] {
                let hits = values.iter().filter(|v| pred.matches(**v)).count();
                match pred.verdict(min, max) {
                    Pruned::None => prop_assert_eq!(hits, 0),
                    Pruned::All => prop_assert_eq!(hits, values.len()),
                    Pruned::Some => {}
                }
                prop_assert_eq!(pred.clone().inverted().matches(values[0]), !pred.matches(values[0]));
            }
        }
    }
}
