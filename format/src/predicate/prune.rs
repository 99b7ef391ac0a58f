//! Pruning: what statistics and bloom filters say of a predicate before a value is read.

use std::ops::Bound;

use super::bound::{ArrowTest, BoundPredicate, Leaf, LeafTest, Node};
use super::leaf::{BytesPred, FloatPred, IntPred, Pruned};
use super::like::LikePattern;
use crate::bloom::BloomView;
use crate::hash::{hash_bytes, hash_float, hash_int};
use crate::key::{KeyType, bytes_key, key_int, wide_key};
use crate::stats::ZoneStats;

impl BoundPredicate {
    /// What is known of some rows from the statistics of the columns (by their position in the bound schema) and from their
    /// bloom filters, where there are any.
    ///
    /// [`Pruned::None`]: no row is selected, nothing need be read. [`Pruned::All`]: every row is, nothing need be evaluated.
    /// Fields of structs are not asked for: their statistics don't know where the struct itself is null.
    pub fn prune<'b>(
        &self,
        stats: impl Fn(usize) -> Option<ZoneStats>,
        bloom: impl Fn(usize) -> Option<BloomView<'b>>,
    ) -> Pruned {
        self.prune_leaves(
            |leaf| if leaf.path.is_empty() { stats(leaf.column) } else { None },
            |leaf| if leaf.path.is_empty() { bloom(leaf.column) } else { None },
        )
    }

    /// As [`BoundPredicate::prune`], for a caller that also has the statistics of a struct's fields.
    ///
    /// Those may count as values what a null struct hides: only their minimum and maximum are relied on.
    pub fn prune_leaves<'b>(
        &self,
        stats: impl Fn(&Leaf) -> Option<ZoneStats>,
        bloom: impl Fn(&Leaf) -> Option<BloomView<'b>>,
    ) -> Pruned {
        prune(self.root(), &|leaf| {
            let verdict = stats(leaf).map_or(Pruned::Some, |stats| leaf.prune(&stats));
            if verdict == Pruned::Some && bloom(leaf).is_some_and(|bloom| leaf.absent_from(bloom)) {
                return Pruned::None;
            }
            verdict
        })
    }
}

fn prune(node: &Node, leaf: &dyn Fn(&Leaf) -> Pruned) -> Pruned {
    match node {
        Node::Const(true) => Pruned::All,
        Node::Const(false) => Pruned::None,
        Node::Leaf(test) => leaf(test),
        Node::And(nodes) => nodes.iter().map(|n| prune(n, leaf)).fold(Pruned::All, Pruned::and),
        Node::Or(nodes) => nodes.iter().map(|n| prune(n, leaf)).fold(Pruned::None, Pruned::or),
    }
}

impl Leaf {
    /// What is known of the leaf over rows with these statistics.
    pub fn prune(&self, stats: &ZoneStats) -> Pruned {
        if stats.rows == 0 {
            return Pruned::None;
        }
        let nested = !self.path.is_empty();
        let nulls = match stats.nulls {
            _ if nested && stats.values() > 0 => Pruned::Some,
            0 => Pruned::None,
            n if n == stats.rows => Pruned::All,
            _ => Pruned::Some,
        };
        let verdict = match &self.test {
            LeafTest::IsNull => return nulls,
            LeafTest::IsNotNull => return nulls.inverted(),
            _ if nulls == Pruned::All => return Pruned::None,
            LeafTest::Bool(value) => {
                IntPred::Range { lo: (*value).into(), hi: (*value).into(), negated: false }
                    .verdict(key_int(stats.min), key_int(stats.max))
            }
            LeafTest::Int(pred) | LeafTest::Arrow(ArrowTest::Key(pred)) => {
                pred.verdict(key_int(stats.min), key_int(stats.max))
            }
            LeafTest::Float(pred) => {
                match (i64::try_from(key_int(stats.min)), i64::try_from(key_int(stats.max))) {
                    (Ok(min), Ok(max)) => pred.verdict(min, max),
                    _ => Pruned::Some,
                }
            }
            LeafTest::Bytes(pred) => bytes_verdict(
                pred,
                stats.min,
                stats.max,
                KeyType::of(&self.data_type).is_some_and(KeyType::exact),
            ),
            LeafTest::Arrow(ArrowTest::Wide { lo, hi, negated }) => {
                let (lo, hi) = (wide_key(*lo), wide_key(*hi));
                // Keys are floors: what lies strictly between two keys lies between their values.
                let hit = if stats.max < lo || hi < stats.min {
                    Pruned::None
                } else if lo < stats.min && stats.max < hi {
                    Pruned::All
                } else {
                    Pruned::Some
                };
                if *negated { hit.inverted() } else { hit }
            }
            LeafTest::Arrow(ArrowTest::ILike { .. }) => Pruned::Some,
        };
        // A null is never selected, so true of all values is not true of all rows.
        if verdict == Pruned::All && nulls != Pruned::None { Pruned::Some } else { verdict }
    }

    /// Whether the filter knows that none of the values tested for is there.
    fn absent_from(&self, bloom: BloomView<'_>) -> bool {
        match &self.test {
            LeafTest::Int(pred) | LeafTest::Arrow(ArrowTest::Key(pred)) if self.hashes_numbers() => {
                match pred {
                    IntPred::Range { lo, hi, negated: false } if lo == hi => {
                        !bloom.may_contain(hash_int(*lo))
                    }
                    IntPred::Set { values, negated: false } => {
                        !values.iter().any(|v| bloom.may_contain(hash_int(*v)))
                    }
                    _ => false,
                }
            }
            LeafTest::Float(pred) => {
                let there = |key: i64| bloom.may_contain(hash_float(self.float_of(key)));
                match pred {
                    FloatPred::Range { lo, hi, negated: false } if lo == hi => !there(*lo),
                    FloatPred::Set { values, negated: false } => !values.iter().any(|v| there(*v)),
                    _ => false,
                }
            }
            LeafTest::Bytes(BytesPred::Set { values, negated: false }) => {
                !values.iter().any(|v| bloom.may_contain(hash_bytes(v)))
            }
            _ => false,
        }
    }

    /// Whether a value's hash is that of its key number: of halves it is that of the float.
    fn hashes_numbers(&self) -> bool {
        use arrow_schema::DataType as D;
        let value_type = match &self.data_type {
            D::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        value_type != &D::Float16
    }
}

/// What is known of a test on byte strings whose keys lie in `min..=max`.
fn bytes_verdict(pred: &BytesPred, min: u128, max: u128, exact: bool) -> Pruned {
    let (verdict, negated) = match pred {
        BytesPred::Range { lo, hi, negated } => (above(lo, min, max).and(below(hi, min, max)), *negated),
        BytesPred::Set { values, negated } => {
            let possible = values.iter().any(|v| (min..=max).contains(&bytes_key(v)));
            let verdict = match possible {
                false => Pruned::None,
                true if exact && min == max => Pruned::All,
                true => Pruned::Some,
            };
            (verdict, *negated)
        }
        BytesPred::Like { pattern, negated } => (like_verdict(pattern, min, max), *negated),
    };
    if negated { verdict.inverted() } else { verdict }
}

/// Whether a value is the smallest of all that share its key: then order by keys and order by values agree on it.
fn smallest_of_key(v: &[u8]) -> bool {
    v.len() <= 16 && v.last() != Some(&0)
}

fn above(lo: &Bound<Vec<u8>>, min: u128, max: u128) -> Pruned {
    let (v, included) = match lo {
        Bound::Unbounded => return Pruned::All,
        Bound::Included(v) => (v, true),
        Bound::Excluded(v) => (v, false),
    };
    let key = bytes_key(v);
    if max < key {
        Pruned::None
    } else if key < min || (key == min && included && smallest_of_key(v)) {
        Pruned::All
    } else {
        Pruned::Some
    }
}

fn below(hi: &Bound<Vec<u8>>, min: u128, max: u128) -> Pruned {
    let (v, included) = match hi {
        Bound::Unbounded => return Pruned::All,
        Bound::Included(v) => (v, true),
        Bound::Excluded(v) => (v, false),
    };
    let key = bytes_key(v);
    if key < min || (key == min && !included && smallest_of_key(v)) {
        Pruned::None
    } else if max < key {
        Pruned::All
    } else {
        Pruned::Some
    }
}

fn like_verdict(pattern: &LikePattern, min: u128, max: u128) -> Pruned {
    let prefix = pattern.prefix();
    let kept = prefix.len().min(16);
    let lowest = bytes_key(prefix);
    let highest = lowest | if kept == 16 { 0 } else { u128::MAX >> (8 * kept) };
    if max < lowest || highest < min {
        return Pruned::None;
    }
    let whole = matches!(pattern, LikePattern::Prefix(_)) && smallest_of_key(prefix);
    if whole && lowest <= min && max <= highest { Pruned::All } else { Pruned::Some }
}
