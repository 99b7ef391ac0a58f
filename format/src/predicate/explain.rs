//! Leaves as text, for plans and logs: values as they are stored, floats and texts as people read them.

use std::fmt;
use std::fmt::Write;
use std::ops::Bound;

use arrow_buffer::i256;
use arrow_schema::DataType;

use super::bind::key_range;
use super::bound::{ArrowTest, Leaf, LeafTest};
use super::leaf::{BytesPred, FloatPred, IntPred};
use super::like::LikePattern;

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        let plain = |v: &i128| v.to_string();
        match &self.test {
            LeafTest::IsNull => write!(f, "{name} IS NULL"),
            LeafTest::IsNotNull => write!(f, "{name} IS NOT NULL"),
            LeafTest::Bool(true) => f.write_str(name),
            LeafTest::Bool(false) => write!(f, "NOT {name}"),
            LeafTest::Int(pred) | LeafTest::Arrow(ArrowTest::Key(pred)) => match pred {
                IntPred::Range { lo, hi, negated } => {
                    self.range(f, i256::from_i128(*lo), i256::from_i128(*hi), *negated, &|v| v.to_string())
                }
                IntPred::Set { values, negated } => members(f, name, values.iter().map(plain), *negated),
            },
            LeafTest::Float(pred) => {
                let show = |key: i64| self.float(key);
                match pred {
                    FloatPred::Range { lo, hi, negated } => {
                        let (lo, hi) = (i256::from_i128((*lo).into()), i256::from_i128((*hi).into()));
                        self.range(f, lo, hi, *negated, &|v| show(v.to_i128().unwrap_or_default() as i64))
                    }
                    FloatPred::Set { values, negated } => {
                        members(f, name, values.iter().map(|v| show(*v)), *negated)
                    }
                }
            }
            LeafTest::Arrow(ArrowTest::Wide { lo, hi, negated }) => {
                self.range(f, *lo, *hi, *negated, &|v| v.to_string())
            }
            LeafTest::Arrow(ArrowTest::ILike { pattern, negated }) => {
                write!(f, "{name} {}ILIKE '{}'", not(*negated), pattern.replace('\'', "''"))
            }
            LeafTest::Bytes(pred) => self.bytes(f, pred),
        }
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn members(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    values: impl ExactSizeIterator<Item = String>,
    negated: bool,
) -> fmt::Result {
    const SHOWN: usize = 10;
    let more = values.len().saturating_sub(SHOWN);
    let shown: Vec<String> = values.take(SHOWN).collect();
    match shown.as_slice() {
        [one] => write!(f, "{name} {} {one}", if negated { "<>" } else { "=" }),
        _ if more > 0 => write!(f, "{name} {}IN ({}, … {more} more)", not(negated), shown.join(", ")),
        _ => write!(f, "{name} {}IN ({})", not(negated), shown.join(", ")),
    }
}

/// Bytes as SQL writes them: as text where they are text.
fn quoted(v: &[u8]) -> String {
    match std::str::from_utf8(v) {
        Ok(text) if !text.contains('\0') => format!("'{}'", text.replace('\'', "''")),
        _ => {
            let mut out = String::from("X'");
            for b in v {
                // Writing to a string does not fail.
                let _ = write!(out, "{b:02X}");
            }
            out + "'"
        }
    }
}

impl Leaf {
    fn range(
        &self,
        f: &mut fmt::Formatter<'_>,
        lo: i256,
        hi: i256,
        negated: bool,
        show: &dyn Fn(i256) -> String,
    ) -> fmt::Result {
        let (name, (min, max)) = (&self.name, key_range(&self.data_type));
        if lo == hi {
            write!(f, "{name} {} {}", if negated { "<>" } else { "=" }, show(lo))
        } else if hi == max {
            write!(f, "{name} {} {}", if negated { "<" } else { ">=" }, show(lo))
        } else if lo == min {
            write!(f, "{name} {} {}", if negated { ">" } else { "<=" }, show(hi))
        } else {
            write!(f, "{name} {}BETWEEN {} AND {}", not(negated), show(lo), show(hi))
        }
    }

    /// The float of the column's type with this key, as a double.
    pub(super) fn float_of(&self, key: i64) -> f64 {
        if self.is_single() {
            f32_of(key).into()
        } else {
            f64::from_bits((key ^ ((key >> 63) as u64 >> 1) as i64) as u64)
        }
    }

    fn is_single(&self) -> bool {
        match &self.data_type {
            DataType::Dictionary(_, value) => value.as_ref() == &DataType::Float32,
            other => other == &DataType::Float32,
        }
    }

    fn float(&self, key: i64) -> String {
        if self.is_single() { format!("{:?}", f32_of(key)) } else { format!("{:?}", self.float_of(key)) }
    }

    fn bytes(&self, f: &mut fmt::Formatter<'_>, pred: &BytesPred) -> fmt::Result {
        let name = &self.name;
        match pred {
            BytesPred::Set { values, negated } => {
                members(f, name, values.iter().map(|v| quoted(v)), *negated)
            }
            BytesPred::Range { lo, hi, negated } => {
                let lo = match lo {
                    Bound::Included(v) => Some(format!("{name} >= {}", quoted(v))),
                    Bound::Excluded(v) => Some(format!("{name} > {}", quoted(v))),
                    Bound::Unbounded => None,
                };
                let hi = match hi {
                    Bound::Included(v) => Some(format!("{name} <= {}", quoted(v))),
                    Bound::Excluded(v) => Some(format!("{name} < {}", quoted(v))),
                    Bound::Unbounded => None,
                };
                let text = [lo, hi].into_iter().flatten().collect::<Vec<_>>().join(" AND ");
                if *negated { write!(f, "NOT ({text})") } else { f.write_str(&text) }
            }
            BytesPred::Like { pattern, negated } => {
                let not = not(*negated);
                match pattern {
                    LikePattern::Exact(v) => write!(f, "{name} {not}LIKE {}", quoted(v)),
                    LikePattern::Prefix(v) => write!(f, "{name} {not}STARTS WITH {}", quoted(v)),
                    LikePattern::Suffix(v) => write!(f, "{name} {not}ENDS WITH {}", quoted(v)),
                    LikePattern::Contains(v) => write!(f, "{name} {not}CONTAINS {}", quoted(v)),
                    LikePattern::General(general) => write!(f, "{name} {not}LIKE {general}"),
                }
            }
        }
    }
}

fn f32_of(key: i64) -> f32 {
    let key = key as i32;
    f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32)
}
