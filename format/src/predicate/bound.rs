//! Bound predicates: leaves tied to columns, simplified and ordered, and their evaluation from masks of single leaves.

use std::fmt;

use arrow_buffer::i256;
use arrow_schema::DataType;

use super::leaf::{BytesPred, FloatPred, IntPred};
use super::like::LikePattern;
use super::simplify::simplify;
use crate::error::{FormatError, Result};
use crate::mask::BitMask;

/// A predicate tied to a schema: a tree of AND and OR over leaves without NOT, the cheapest and most selective leaves first.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundPredicate {
    root: Node,
}

/// A node of a bound predicate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// True or not, of every row.
    Const(bool),
    And(Vec<Node>),
    Or(Vec<Node>),
    Leaf(Leaf),
}

/// A test on one column, or on one field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// Position of the column in the schema that was bound to.
    pub column: usize,
    /// Positions of the fields that lead from the column down to the values; empty for the column itself.
    pub path: Vec<usize>,
    /// The name or dotted path as it was given.
    pub name: String,
    /// The tested field's type.
    pub data_type: DataType,
    /// What is tested.
    pub test: LeafTest,
}

/// What a leaf tests. All but the tests for NULL are true of no null.
#[derive(Debug, Clone, PartialEq)]
pub enum LeafTest {
    /// A boolean is this.
    Bool(bool),
    /// A test on integers: of integers, decimals of at most 38 digits (unscaled), dates, times, timestamps, durations and
    /// year-month intervals.
    Int(IntPred),
    /// A test on `Float32` and `Float64`, by the total-order keys of that type.
    Float(FloatPred),
    /// A test on strings and binaries.
    Bytes(BytesPred),
    /// NULL.
    IsNull,
    /// Not NULL.
    IsNotNull,
    /// A test that only [`Leaf::evaluate_array`] knows.
    Arrow(ArrowTest),
}

/// A test that is evaluated on decoded arrays.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrowTest {
    /// On the [key numbers](crate::key) of values whose stored bits do not order as they do: halves, day-time and
    /// month-day-nano intervals.
    Key(IntPred),
    /// On 256-bit integers: `lo <= v <= hi`.
    Wide {
        /// Smallest value that passes.
        lo: i256,
        /// Largest value that passes.
        hi: i256,
        /// Whether the test is inverted.
        negated: bool,
    },
    /// `ILIKE`, with `\` as the escape.
    ILike {
        /// The pattern.
        pattern: String,
        /// Whether the test is inverted.
        negated: bool,
    },
}

impl Leaf {
    /// Whether the test can only be evaluated on a decoded array.
    pub fn needs_array(&self) -> bool {
        let value_type = match &self.data_type {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        // Byte strings of one length are not stored as other byte strings are.
        let fixed =
            matches!(value_type, DataType::FixedSizeBinary(_)) && matches!(self.test, LeafTest::Bytes(_));
        fixed || matches!(self.test, LeafTest::Arrow(_))
    }

    /// Costs of a row, about, in units of an integer comparison; and the share of rows that pass, as far as a guess goes.
    pub(super) fn guess(&self) -> (f64, f64) {
        let pass = |share: f64, negated: bool| if negated { 1.0 - share } else { share };
        match &self.test {
            LeafTest::IsNull => (0.1, 0.1),
            LeafTest::IsNotNull => (0.1, 0.9),
            LeafTest::Bool(_) => (0.2, 0.5),
            LeafTest::Int(IntPred::Range { lo, hi, negated }) => {
                (1.0, pass(if lo == hi { 0.02 } else { 0.3 }, *negated))
            }
            LeafTest::Int(IntPred::Set { negated, .. }) => (2.5, pass(0.1, *negated)),
            LeafTest::Float(FloatPred::Range { lo, hi, negated }) => {
                (1.5, pass(if lo == hi { 0.02 } else { 0.3 }, *negated))
            }
            LeafTest::Float(FloatPred::Set { negated, .. }) => (3.0, pass(0.1, *negated)),
            LeafTest::Bytes(BytesPred::Set { values, negated }) => {
                (if values.len() == 1 { 4.0 } else { 8.0 }, pass(0.05, *negated))
            }
            LeafTest::Bytes(BytesPred::Range { negated, .. }) => (6.0, pass(0.3, *negated)),
            LeafTest::Bytes(BytesPred::Like { pattern, negated }) => match pattern {
                LikePattern::Exact(_) => (4.0, pass(0.05, *negated)),
                LikePattern::Prefix(_) | LikePattern::Suffix(_) => (6.0, pass(0.1, *negated)),
                LikePattern::Contains(_) => (20.0, pass(0.1, *negated)),
                LikePattern::General(_) => (40.0, pass(0.1, *negated)),
            },
            LeafTest::Arrow(ArrowTest::ILike { negated, .. }) => (60.0, pass(0.1, *negated)),
            LeafTest::Arrow(_) => (15.0, 0.3),
        }
    }
}

impl BoundPredicate {
    pub(super) fn new(root: Node) -> Self {
        Self { root: simplify(root) }
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    /// Whether it is true, or true of no row, whatever the data.
    pub fn constant(&self) -> Option<bool> {
        match self.root {
            Node::Const(value) => Some(value),
            _ => None,
        }
    }

    /// Every leaf, in the order of evaluation.
    pub fn leaves(&self) -> Vec<&Leaf> {
        fn collect<'a>(node: &'a Node, out: &mut Vec<&'a Leaf>) {
            match node {
                Node::Const(_) => {}
                Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|n| collect(n, out)),
                Node::Leaf(leaf) => out.push(leaf),
            }
        }
        let mut out = Vec::new();
        collect(&self.root, &mut out);
        out
    }

    /// Positions in the schema of the columns that evaluating needs, each once, ascending.
    pub fn column_indices(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.leaves().iter().map(|l| l.column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The rows among `candidates` where the predicate is true.
    ///
    /// `leaf` says where a leaf is true. It is given the rows that still matter, a subset of `candidates`: what it says of
    /// other rows is ignored, so it may skip them. A leaf is not asked when no row is left: each AND stops at the first empty
    /// mask, and each OR when every row is found.
    ///
    /// # Errors
    /// Those of `leaf`; and when `candidates` or a leaf's mask has not `rows` rows.
    pub fn evaluate(
        &self,
        rows: usize,
        candidates: &BitMask,
        leaf: &mut dyn FnMut(&Leaf, &BitMask) -> Result<BitMask>,
    ) -> Result<BitMask> {
        check_rows(candidates, rows)?;
        evaluate(&self.root, candidates, leaf)
    }
}

fn check_rows(mask: &BitMask, rows: usize) -> Result<()> {
    if mask.len() == rows {
        return Ok(());
    }
    Err(FormatError::invalid("filter", format!("a mask of {} rows was given for {rows} rows", mask.len())))
}

fn evaluate(
    node: &Node,
    candidates: &BitMask,
    leaf: &mut dyn FnMut(&Leaf, &BitMask) -> Result<BitMask>,
) -> Result<BitMask> {
    match node {
        _ if candidates.none() => Ok(BitMask::zeros(candidates.len())),
        Node::Const(true) => Ok(candidates.clone()),
        Node::Const(false) => Ok(BitMask::zeros(candidates.len())),
        Node::Leaf(test) => {
            let mut mask = leaf(test, candidates)?;
            check_rows(&mask, candidates.len())?;
            mask.and(candidates);
            Ok(mask)
        }
        Node::And(nodes) => {
            let mut mask = candidates.clone();
            for node in nodes {
                mask = evaluate(node, &mask, leaf)?;
            }
            Ok(mask)
        }
        Node::Or(nodes) => {
            let (mut found, mut left) = (BitMask::zeros(candidates.len()), candidates.clone());
            for node in nodes {
                let mask = evaluate(node, &left, leaf)?;
                found.or(&mask);
                left.and_not(&mask);
            }
            Ok(found)
        }
    }
}

impl fmt::Display for BoundPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(value) => f.write_str(if *value { "TRUE" } else { "FALSE" }),
            Self::Leaf(leaf) => write!(f, "{leaf}"),
            Self::And(nodes) | Self::Or(nodes) => {
                let word = if matches!(self, Self::And(_)) { " AND " } else { " OR " };
                for (i, node) in nodes.iter().enumerate() {
                    f.write_str(if i > 0 { word } else { "" })?;
                    match node {
                        Self::And(_) | Self::Or(_) => write!(f, "({node})")?,
                        _ => write!(f, "{node}")?,
                    }
                }
                Ok(())
            }
        }
    }
}
