//! Decimals and integers that are computed in 64 bits.
//!
//! Expressions become nodes: inputs, constants, and operations of [`crate::decimals`] on them; the same expression is one node however
//! often it occurs. Of each node it is known how large its values can be, from how large its inputs' are in the rows at hand. Where that is
//! beyond 64 bits, [`Numbers::values`] says so, and the rows are computed as they would be without this.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use deltalite_format::kernels::{Level, sums};

use crate::decimals::{DecimalArithmetic, Operation};

/// Rows that are computed at a time: so few that what is between a sum and its columns stays in a core's cache.
pub(super) const CHUNK_ROWS: usize = 2048;

/// A number's place among the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(usize);

/// Where values come from.
#[derive(Debug, PartialEq, Eq)]
enum Node {
    /// An expression that is evaluated as it stands, by its position.
    Input(usize),
    Constant(i64),
    /// `left * left_by + right * right_by`
    Combined {
        left: Number,
        left_by: i64,
        right: Number,
        right_by: i64,
    },
    Product(Number, Number),
}

/// An expression of 128-bit decimals or 64-bit integers, and its values.
#[derive(Debug)]
struct Input {
    expr: Arc<dyn PhysicalExpr>,
    array: Option<ArrayRef>,
}

/// The numbers that aggregates are computed of.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    nodes: Vec<Node>,
    inputs: Vec<Input>,
    /// Values of each node in the rows at hand.
    room: Vec<Vec<i64>>,
    /// How large they are at most; `None` where that may be beyond 64 bits.
    most: Vec<Option<u64>>,
    /// Their sums, of those that cost nothing beside the above.
    sums: Vec<Option<i64>>,
    /// The rows at hand.
    rows: Range<usize>,
}

/// Whether a type's values are numbers of this kind.
fn is_number(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(..) | DataType::Int64)
}

impl Numbers {
    /// Takes an expression in; `None` if it is of another type.
    pub(super) fn add(&mut self, expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Number>> {
        if !is_number(&expr.data_type(schema)?) {
            return Ok(None);
        }
        self.node_of(expr, schema).map(Some)
    }

    fn node_of(&mut self, expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Number> {
        if let Some(literal) = expr.downcast_ref::<Literal>()
            && let ScalarValue::Decimal128(Some(value), ..) = literal.value()
            && let Ok(value) = i64::try_from(*value)
        {
            return Ok(self.node(Node::Constant(value)));
        }
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>()
            && let Some(function) = call.fun().inner().downcast_ref::<DecimalArithmetic>()
            && let [left, right] = call.args()
            && let Some(operation) = function.operation(&left.data_type(schema)?, &right.data_type(schema)?)
        {
            let (left, right) = (self.node_of(left, schema)?, self.node_of(right, schema)?);
            return Ok(self.node(match operation {
                Operation::Product => Node::Product(left, right),
                Operation::Combined(left_by, right_by) => Node::Combined { left, left_by, right, right_by },
            }));
        }
        let at = self.inputs.iter().position(|input| input.expr.eq(expr)).unwrap_or_else(|| {
            self.inputs.push(Input { expr: Arc::clone(expr), array: None });
            self.inputs.len() - 1
        });
        Ok(self.node(Node::Input(at)))
    }

    fn node(&mut self, node: Node) -> Number {
        let at = self.nodes.iter().position(|n| *n == node).unwrap_or_else(|| {
            // Constants are written once.
            let (value, most) = match node {
                Node::Constant(value) => (value, Some((value ^ (value >> 63)) as u64)),
                _ => (0, None),
            };
            self.room.push(vec![value; CHUNK_ROWS]);
            self.most.push(most);
            self.sums.push(None);
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        Number(at)
    }

    /// Evaluates the inputs on a batch.
    pub(super) fn begin(&mut self, batch: &RecordBatch) -> Result<()> {
        for input in &mut self.inputs {
            input.array = Some(input.expr.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        Ok(())
    }

    /// Lets go of the batch.
    pub(super) fn end(&mut self) {
        self.inputs.iter_mut().for_each(|input| input.array = None);
    }

    /// Where a number has no value in the batch.
    pub(super) fn nulls(&self, of: Number) -> Option<NullBuffer> {
        match &self.nodes[of.0] {
            Node::Input(at) => self.inputs[*at].array.as_ref().and_then(|array| array.nulls().cloned()),
            Node::Constant(_) => None,
            Node::Combined { left, right, .. } | Node::Product(left, right) => {
                NullBuffer::union(self.nulls(*left).as_ref(), self.nulls(*right).as_ref())
            }
        }
    }

    /// Computes all numbers in some rows of the batch, [`CHUNK_ROWS`] at most.
    pub(super) fn compute(&mut self, rows: &Range<usize>) -> Result<()> {
        let level = Level::current();
        self.rows = rows.clone();
        for at in 0..self.nodes.len() {
            // Operands stand before what is made of them.
            let (before, after) = self.room.split_at_mut(at);
            let place = Place { nodes: &self.nodes, inputs: &self.inputs, room: before, rows };
            let out = &mut after[0][..rows.len()];
            self.sums[at] = None;
            self.most[at] = match &self.nodes[at] {
                Node::Constant(_) => continue,
                Node::Input(input) => match (self.inputs[*input].whole(rows), &self.inputs[*input].array) {
                    (Some(values), _) => {
                        let (sum, most) = sums::total(level, values);
                        self.sums[at] = Some(sum);
                        Some(most)
                    }
                    (None, Some(array)) => narrowed(level, array, rows.clone(), out)?,
                    (None, None) => return plan_err!("numbers are computed of no batch"),
                },
                Node::Product(left, right) => {
                    let most = most_of(&self.most, *left, *right, u128::checked_mul);
                    if most.is_some() {
                        sums::multiply(level, place.values(*left), place.values(*right), out);
                    }
                    most
                }
                Node::Combined { left, left_by, right, right_by } => {
                    let by = |by: &i64| u128::from(by.unsigned_abs());
                    let most = most_of(&self.most, *left, *right, |l, r| {
                        l.checked_mul(by(left_by))?.checked_add(r.checked_mul(by(right_by))?)
                    });
                    if most.is_some() {
                        let (l, r) = (place.values(*left), place.values(*right));
                        sums::combine(level, l, *left_by, r, *right_by, out);
                    }
                    most
                }
            };
        }
        Ok(())
    }

    /// The sum of all values computed last, if [`Numbers::values`] may be added up and it is known.
    pub(super) fn sum(&self, of: Number) -> Option<i64> {
        self.sums[of.0]
    }

    /// The values computed last, of rows that may be added up in 64 bits; `None` where they may not.
    pub(super) fn values(&self, of: Number) -> Option<&[i64]> {
        let most = u128::from(self.most[of.0]?) + 1;
        let place = Place { nodes: &self.nodes, inputs: &self.inputs, room: &self.room, rows: &self.rows };
        (most * self.rows.len() as u128 <= i64::MAX as u128).then(|| place.values(of))
    }
}

impl Input {
    /// Values of 64 bits are where they have to be.
    fn whole(&self, rows: &Range<usize>) -> Option<&[i64]> {
        Some(&self.array.as_ref()?.as_primitive_opt::<Int64Type>()?.values()[rows.clone()])
    }
}

/// Where numbers' values are: in the batch, or in the room for those computed.
struct Place<'a> {
    nodes: &'a [Node],
    inputs: &'a [Input],
    room: &'a [Vec<i64>],
    rows: &'a Range<usize>,
}

impl<'a> Place<'a> {
    fn values(&self, of: Number) -> &'a [i64] {
        let whole = match &self.nodes[of.0] {
            Node::Input(at) => self.inputs[*at].whole(self.rows),
            _ => None,
        };
        whole.unwrap_or_else(|| &self.room[of.0][..self.rows.len()])
    }
}

/// How large a result is at most, of operands that are in `-m - 1 ..= m`.
fn most_of(
    most: &[Option<u64>],
    left: Number,
    right: Number,
    result: impl Fn(u128, u128) -> Option<u128>,
) -> Option<u64> {
    let [left, right] = [left, right].map(|of| most[of.0].map(|m| u128::from(m) + 1));
    result(left?, right?).filter(|m| *m <= i64::MAX as u128).map(|m| m as u64)
}

/// Takes the low halves of rows of an array; how large they are at most, if all of them fit.
fn narrowed(level: Level, array: &ArrayRef, rows: Range<usize>, out: &mut [i64]) -> Result<Option<u64>> {
    let Some(array) = array.as_primitive_opt::<Decimal128Type>() else {
        return plan_err!("a number of another type: {}", array.data_type());
    };
    Ok(sums::narrow_wide(level, &array.values()[rows], out))
}
