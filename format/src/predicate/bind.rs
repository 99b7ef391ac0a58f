//! Binding: names to columns, literals to their types, NOT pushed into the leaves.
//!
//! Under NOT, AND becomes OR, OR becomes AND, and each leaf is replaced by the one that is true where it is false. Since a
//! leaf over a null is neither, only rows where the whole is true need ever be found: NULL and false fall together, and
//! `a <> NULL` is as constant as `1 = 2`.

use arrow_buffer::i256;
use arrow_schema::{DataType, Field, IntervalUnit, Schema};

use super::ast::{CmpOp, Predicate};
use super::bound::{ArrowTest, BoundPredicate, Leaf, LeafTest, Node};
use super::coerce::{Coerced, coerce};
use super::leaf::{BytesPred, FloatPred, IntPred};
use super::like::LikePattern;
use super::literal::Literal;
use super::number::Position;
use crate::error::{FormatError, Result};
use crate::key::is_narrow;
use crate::limits::PREDICATE_DEPTH_MAX;

/// Ties a predicate to a schema.
///
/// Columns are found by name; a dotted path reaches into structs, where a null struct makes its fields null. Literals are
/// brought to the column's type exactly: `a > 5.5` on an integer column becomes `a >= 6`.
///
/// # Errors
/// [`FormatError::NoSuchColumn`] with the nearest name, or [`FormatError::Invalid`] naming the comparison and what the column's
/// type asks for.
///
/// ```
/// use arrow_schema::{DataType, Field, Schema};
/// use deltalite_format::predicate::{bind, col};
///
/// let schema = Schema::new(vec![Field::new("price", DataType::Int64, true)]);
/// assert_eq!(bind(&col("price").gt(5.5), &schema)?.to_string(), "price >= 6");
/// let e = bind(&col("prise").gt(5.5), &schema).unwrap_err();
/// assert_eq!(e.to_string(), r#"no column named "prise"; did you mean "price"?"#);
/// # Ok::<(), deltalite_format::FormatError>(())
/// ```
pub fn bind(predicate: &Predicate, schema: &Schema) -> Result<BoundPredicate> {
    Ok(BoundPredicate::new(Binder { schema }.node(predicate, false, 0)?))
}

/// The name nearest to `name` among those there are, when one is near enough to be meant.
pub fn nearest_name<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    names
        .map(|n| (strsim::damerau_levenshtein(&lower, &n.to_lowercase()), n))
        .filter(|(distance, n)| *distance <= (n.chars().count().max(name.chars().count()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, n)| n)
}

/// A predicate as text, cut where it is longer than an error should be.
fn excerpt(predicate: &Predicate) -> String {
    const CHARS_MAX: usize = 200;
    let text = predicate.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

struct Binder<'s> {
    schema: &'s Schema,
}

/// A column that was found.
struct Target<'s> {
    column: usize,
    path: Vec<usize>,
    name: String,
    field: &'s Field,
}

impl Binder<'_> {
    fn node(&self, predicate: &Predicate, negated: bool, depth: usize) -> Result<Node> {
        if depth > PREDICATE_DEPTH_MAX {
            let detail =
                format!("it is nested deeper than {PREDICATE_DEPTH_MAX} levels; use IN for long lists");
            return Err(FormatError::invalid("predicate", detail));
        }
        match predicate {
            Predicate::And(parts) | Predicate::Or(parts) => {
                let nodes =
                    parts.iter().map(|p| self.node(p, negated, depth + 1)).collect::<Result<Vec<_>>>()?;
                Ok(if matches!(predicate, Predicate::And(_)) == negated {
                    Node::Or(nodes)
                } else {
                    Node::And(nodes)
                })
            }
            Predicate::Not(inner) => self.node(inner, !negated, depth + 1),
            Predicate::Literal(value) => Ok(Node::Const(value.is_some_and(|v| v != negated))),
            Predicate::IsNull { column } => Ok(self.find(column)?.null_test(!negated)),
            Predicate::IsNotNull { column } => Ok(self.find(column)?.null_test(negated)),
            Predicate::Compare { column, op, value } => {
                let op = if negated { op.inverted() } else { *op };
                let target = self.find(column)?;
                let value = target.coerce(predicate, value)?;
                Ok(target.compare(op, value))
            }
            Predicate::Between { column, low, high, negated: not } => {
                let target = self.find(column)?;
                let (low, high) = (target.coerce(predicate, low)?, target.coerce(predicate, high)?);
                // With NULL as one end, the other end can still make it false.
                Ok(if *not == negated {
                    Node::And(vec![target.compare(CmpOp::GtEq, low), target.compare(CmpOp::LtEq, high)])
                } else {
                    Node::Or(vec![target.compare(CmpOp::Lt, low), target.compare(CmpOp::Gt, high)])
                })
            }
            Predicate::In { column, values, negated: not } => {
                let target = self.find(column)?;
                target.member(predicate, values, *not != negated)
            }
            Predicate::Like { column, pattern, escape, negated: not, case_insensitive } => {
                let target = self.find(column)?;
                target.like(predicate, pattern, *escape, *not != negated, *case_insensitive)
            }
        }
    }

    /// The column of a name, or the struct field of a dotted path; a name that has dots itself comes first.
    fn find<'s>(&'s self, path: &str) -> Result<Target<'s>> {
        let mut fields = self.schema.fields();
        let (mut rest, mut indices) = (path, Vec::new());
        loop {
            let fits =
                |name: &str| rest == name || rest.strip_prefix(name).is_some_and(|r| r.starts_with('.'));
            let found =
                fields.iter().enumerate().filter(|(_, f)| fits(f.name())).max_by_key(|(_, f)| f.name().len());
            let Some((i, field)) = found else {
                let names: Vec<String> = fields
                    .iter()
                    .map(|f| format!("{}{}", &path[..path.len() - rest.len()], f.name()))
                    .collect();
                let nearest = nearest_name(path, names.iter().map(String::as_str)).map(ToOwned::to_owned);
                return Err(FormatError::NoSuchColumn { name: path.to_owned(), nearest });
            };
            indices.push(i);
            if rest == field.name() {
                return Ok(Target {
                    column: indices[0],
                    path: indices[1..].to_vec(),
                    name: path.to_owned(),
                    field,
                });
            }
            rest = &rest[field.name().len() + 1..];
            let DataType::Struct(children) = field.data_type() else {
                let detail = format!(
                    "{path:?} asks for a field of {:?}, which is {}; only structs have fields to compare",
                    field.name(),
                    field.data_type()
                );
                return Err(FormatError::invalid("predicate", detail));
            };
            fields = children;
        }
    }
}

impl Target<'_> {
    fn leaf(&self, test: LeafTest) -> Node {
        Node::Leaf(Leaf {
            column: self.column,
            path: self.path.clone(),
            name: self.name.clone(),
            data_type: self.field.data_type().clone(),
            test,
        })
    }

    /// What is true of no value; its inverse is true of every value, but not of NULL.
    fn never(&self, negated: bool) -> Node {
        if negated { self.leaf(LeafTest::IsNotNull) } else { Node::Const(false) }
    }

    fn null_test(&self, is_null: bool) -> Node {
        match (self.field.data_type(), is_null) {
            (DataType::Null, _) => Node::Const(is_null),
            (_, true) => self.leaf(LeafTest::IsNull),
            (_, false) => self.leaf(LeafTest::IsNotNull),
        }
    }

    fn coerce(&self, predicate: &Predicate, literal: &Literal) -> Result<Coerced> {
        coerce(literal, self.field.data_type())
            .map_err(|why| FormatError::invalid("predicate", format!("{}: {why}", excerpt(predicate))))
    }

    fn compare(&self, op: CmpOp, value: Coerced) -> Node {
        let position = match value {
            Coerced::Null => return Node::Const(false),
            Coerced::Bytes(bytes) => return self.compare_bytes(op, bytes),
            Coerced::Number(position) => position,
        };
        let (min, max) = key_range(self.field.data_type());
        let (floor, exact) = match position {
            Position::Below => (min.wrapping_sub(i256::ONE), false),
            Position::At(n) => (n, true),
            Position::After(n) => (n, false),
            Position::Above => (max, false),
        };
        // The range of `<=` ends at the floor, that of `<` before it when the literal is a value itself.
        let below = if exact { floor.checked_sub(i256::ONE) } else { Some(floor) };
        let never_below = position == Position::Below || below.is_none();
        match op {
            CmpOp::Eq | CmpOp::NotEq => {
                let negated = op == CmpOp::NotEq;
                if exact { self.number_range(floor, floor, negated) } else { self.never(negated) }
            }
            CmpOp::Lt | CmpOp::GtEq => {
                let negated = op == CmpOp::GtEq;
                if never_below { self.never(negated) } else { self.half(below.unwrap_or(min), negated) }
            }
            CmpOp::LtEq | CmpOp::Gt => {
                let negated = op == CmpOp::Gt;
                if position == Position::Below { self.never(negated) } else { self.half(floor, negated) }
            }
        }
    }

    /// `value <= to`, or `value > to`.
    fn half(&self, to: i256, above: bool) -> Node {
        let (min, max) = key_range(self.field.data_type());
        if above {
            if to < min {
                self.leaf(LeafTest::IsNotNull)
            } else {
                // Past the largest value nothing is left, also where adding one would overflow.
                to.checked_add(i256::ONE).map_or(Node::Const(false), |lo| self.number_range(lo, max, false))
            }
        } else {
            self.number_range(min, to, false)
        }
    }

    /// `lo <= value <= hi` by keys, or its inverse.
    fn number_range(&self, lo: i256, hi: i256, negated: bool) -> Node {
        let (min, max) = key_range(self.field.data_type());
        let (lo, hi) = (lo.max(min), hi.min(max));
        if lo > hi {
            return self.never(negated);
        }
        if (lo, hi) == (min, max) {
            return self.never(!negated);
        }
        let narrow = || Some((lo.to_i128()?, hi.to_i128()?));
        self.leaf(match (number_kind(self.field.data_type()), narrow()) {
            // Two values: a range that is neither all nor nothing is one of them.
            (NumberKind::Bool, _) => LeafTest::Bool((lo == max) != negated),
            (NumberKind::Int, Some((lo, hi))) => LeafTest::Int(IntPred::Range { lo, hi, negated }),
            (NumberKind::Float, Some((lo, hi))) => {
                LeafTest::Float(FloatPred::Range { lo: lo as i64, hi: hi as i64, negated })
            }
            (NumberKind::Key, Some((lo, hi))) => {
                LeafTest::Arrow(ArrowTest::Key(IntPred::Range { lo, hi, negated }))
            }
            _ => LeafTest::Arrow(ArrowTest::Wide { lo, hi, negated }),
        })
    }

    /// One of the keys, ascending and in the type's range, or none of them.
    fn number_set(&self, keys: Vec<i256>, negated: bool) -> Node {
        if let ([lo, ..], [.., hi]) = (keys.as_slice(), keys.as_slice())
            && hi.wrapping_sub(*lo) == i256::from_i128(keys.len() as i128 - 1)
        {
            return self.number_range(*lo, *hi, negated);
        }
        let kind = number_kind(self.field.data_type());
        let values: Option<Vec<i128>> = keys.iter().map(|k| k.to_i128()).collect();
        match (kind, values) {
            (NumberKind::Int, Some(values)) => self.leaf(LeafTest::Int(IntPred::Set { values, negated })),
            (NumberKind::Float, Some(values)) => {
                let values = values.into_iter().map(|v| v as i64).collect();
                self.leaf(LeafTest::Float(FloatPred::Set { values, negated }))
            }
            (NumberKind::Key, Some(values)) => {
                self.leaf(LeafTest::Arrow(ArrowTest::Key(IntPred::Set { values, negated })))
            }
            _ => {
                let each = keys.into_iter().map(|k| self.number_range(k, k, negated)).collect();
                if negated { Node::And(each) } else { Node::Or(each) }
            }
        }
    }

    fn member(&self, predicate: &Predicate, values: &[Literal], negated: bool) -> Result<Node> {
        if values.is_empty() {
            return Ok(Node::Const(negated));
        }
        let (mut numbers, mut bytes, mut null) = (Vec::new(), Vec::new(), false);
        for value in values {
            match self.coerce(predicate, value)? {
                Coerced::Null => null = true,
                Coerced::Number(Position::At(n)) => numbers.push(n),
                Coerced::Number(_) => {}
                Coerced::Bytes(b) => bytes.push(b),
            }
        }
        if null && negated {
            // `a NOT IN (…, NULL)` is false or NULL.
            return Ok(Node::Const(false));
        }
        let (lo, hi) = key_range(self.field.data_type());
        numbers.retain(|n| (lo..=hi).contains(n));
        numbers.sort_unstable();
        numbers.dedup();
        bytes.retain(|b| fits_width(b, self.field.data_type()));
        bytes.sort_unstable();
        bytes.dedup();
        Ok(if numbers.is_empty() && bytes.is_empty() {
            self.never(negated)
        } else if bytes.is_empty() {
            self.number_set(numbers, negated)
        } else {
            self.leaf(LeafTest::Bytes(BytesPred::Set { values: bytes, negated }))
        })
    }

    fn compare_bytes(&self, op: CmpOp, v: Vec<u8>) -> Node {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let range = |lo, hi| self.leaf(LeafTest::Bytes(BytesPred::Range { lo, hi, negated: false }));
        match op {
            CmpOp::Eq | CmpOp::NotEq if !fits_width(&v, self.field.data_type()) => {
                self.never(op == CmpOp::NotEq)
            }
            CmpOp::Eq | CmpOp::NotEq => {
                self.leaf(LeafTest::Bytes(BytesPred::Set { values: vec![v], negated: op == CmpOp::NotEq }))
            }
            CmpOp::Lt | CmpOp::GtEq if v.is_empty() => self.never(op == CmpOp::GtEq),
            CmpOp::Lt => range(Unbounded, Excluded(v)),
            CmpOp::LtEq => range(Unbounded, Included(v)),
            CmpOp::Gt => range(Excluded(v), Unbounded),
            CmpOp::GtEq => range(Included(v), Unbounded),
        }
    }

    fn like(
        &self,
        predicate: &Predicate,
        pattern: &str,
        escape: Option<char>,
        negated: bool,
        case_insensitive: bool,
    ) -> Result<Node> {
        let value_type = match self.field.data_type() {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        let text = matches!(value_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let binary = matches!(
            value_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        );
        if !text && !binary && value_type != &DataType::Null {
            let detail = format!(
                "{}: the column is {}; LIKE needs text or binary",
                excerpt(predicate),
                self.field.data_type()
            );
            return Err(FormatError::invalid("predicate", detail));
        }
        if value_type == &DataType::Null {
            return Ok(Node::Const(false));
        }
        if case_insensitive && !text {
            let detail = format!(
                "{}: the column is {}; case is a notion of text only",
                excerpt(predicate),
                self.field.data_type()
            );
            return Err(FormatError::invalid("predicate", detail));
        }
        let parsed = LikePattern::parse(pattern, escape, text);
        if case_insensitive && pattern.chars().any(char::is_alphabetic) {
            let pattern = with_backslashes(pattern, escape);
            return Ok(self.leaf(LeafTest::Arrow(ArrowTest::ILike { pattern, negated })));
        }
        Ok(match parsed {
            LikePattern::Exact(v) => self.compare_bytes(if negated { CmpOp::NotEq } else { CmpOp::Eq }, v),
            LikePattern::Contains(v) | LikePattern::Prefix(v) | LikePattern::Suffix(v) if v.is_empty() => {
                self.never(!negated)
            }
            pattern => self.leaf(LeafTest::Bytes(BytesPred::Like { pattern, negated })),
        })
    }
}

/// The same pattern with `\\` as its escape, as Arrow's kernels read patterns.
fn with_backslashes(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match rest.peek() {
            Some(&next) if Some(c) == escape => {
                rest.next();
                if matches!(next, '%' | '_' | '\\') {
                    out.push('\\');
                }
                out.push(next);
            }
            _ if c == '\\' => out.push_str("\\\\"),
            _ => out.push(c),
        }
    }
    out
}

fn fits_width(v: &[u8], data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeBinary(n) => usize::try_from(*n).is_ok_and(|n| n == v.len()),
        DataType::Dictionary(_, value) => fits_width(v, value),
        _ => true,
    }
}

/// How a number is tested where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NumberKind {
    Bool,
    Int,
    Float,
    /// By its key, on arrays: what is stored does not order as its bits do.
    Key,
    Wide,
}

fn number_kind(data_type: &DataType) -> NumberKind {
    match data_type {
        DataType::Dictionary(_, value) => number_kind(value),
        DataType::Boolean => NumberKind::Bool,
        DataType::Float32 | DataType::Float64 => NumberKind::Float,
        DataType::Float16 | DataType::Interval(IntervalUnit::DayTime | IntervalUnit::MonthDayNano) => {
            NumberKind::Key
        }
        DataType::Decimal256(..) if !is_narrow(data_type) => NumberKind::Wide,
        _ => NumberKind::Int,
    }
}

/// Smallest and largest key number of a type that is compared by numbers.
pub(super) fn key_range(data_type: &DataType) -> (i256, i256) {
    use DataType as D;
    let range = |lo: i128, hi: i128| (i256::from_i128(lo), i256::from_i128(hi));
    let signed = |bits: u32| range(i128::MIN >> (128 - bits), i128::MAX >> (128 - bits));
    match data_type {
        D::Dictionary(_, value) => key_range(value),
        D::Boolean => range(0, 1),
        D::UInt8 => range(0, u8::MAX.into()),
        D::UInt16 => range(0, u16::MAX.into()),
        D::UInt32 => range(0, u32::MAX.into()),
        D::UInt64 => range(0, u64::MAX.into()),
        D::Int8 => signed(8),
        D::Int16 | D::Float16 => signed(16),
        D::Int32
        | D::Float32
        | D::Decimal32(..)
        | D::Date32
        | D::Time32(_)
        | D::Interval(IntervalUnit::YearMonth) => signed(32),
        D::Decimal128(..) | D::Interval(IntervalUnit::MonthDayNano) => signed(128),
        D::Decimal256(..) if is_narrow(data_type) => signed(128),
        D::Decimal256(..) => (i256::MIN, i256::MAX),
        _ => signed(64),
    }
}
