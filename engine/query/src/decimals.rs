//! Sums, differences and products of decimals, where their numbers are small.
//!
//! A decimal of up to 38 digits is 128 bits wide, and Arrow's kernels check every operation for overflow. Most decimals are of 18 digits and fewer: where
//! all values of a batch fit 64 bits, so does each operation 128, and nothing has to be checked but that. Where they don't, Arrow's kernels do it; results
//! and types are theirs in any case.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, Decimal128Array};

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::arrow::compute::kernels::numeric::{add_wrapping, mul_wrapping, sub_wrapping};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ExprSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Rows that are computed before it is looked whether all of them fit.
const CHUNK_ROWS: usize = 1024;
/// A power of ten that fits 64 bits.
const SHIFT_MAX: u32 = 18;

/// Computes decimals in the lists of projections and aggregates by [`DecimalArithmetic`].
#[derive(Debug, Default)]
pub(crate) struct SmallDecimals;

impl OptimizerRule for SmallDecimals {
    fn name(&self) -> &'static str {
        "small_decimals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        // Conditions are left as they are: scans and statistics understand them.
        let schema = match &plan {
            LogicalPlan::Projection(projection) => projection.input.schema().clone(),
            LogicalPlan::Aggregate(aggregate) => aggregate.input.schema().clone(),
            _ => return Ok(Transformed::no(plan)),
        };
        plan.map_expressions(|expr| expr.transform_up(|expr| rewritten(expr, schema.as_ref())))
    }
}

fn rewritten(expr: Expr, schema: &dyn ExprSchema) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Ok(Transformed::no(expr)) };
    let op = match op {
        Operator::Plus => Op::Add,
        Operator::Minus => Op::Subtract,
        Operator::Multiply => Op::Multiply,
        _ => return Ok(Transformed::no(expr)),
    };
    let is_decimal = |expr: &Expr| {
        Ok::<_, datafusion::error::DataFusionError>(matches!(
            expr.get_type(schema)?,
            DataType::Decimal128(..)
        ))
    };
    if !is_decimal(left)? || !is_decimal(right)? {
        return Ok(Transformed::no(expr));
    }
    let result = expr.get_type(schema)?;
    if !matches!(result, DataType::Decimal128(..)) {
        return Ok(Transformed::no(expr));
    }
    let function = DecimalArithmetic {
        op,
        result,
        shown: expr.schema_name().to_string(),
        signature: Signature::any(2, Volatility::Immutable),
    };
    let arguments = vec![left.as_ref().clone(), right.as_ref().clone()];
    Ok(Transformed::yes(ScalarUDF::from(function).call(arguments)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Add,
    Subtract,
    Multiply,
}

/// An operation of two decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct DecimalArithmetic {
    op: Op,
    result: DataType,
    /// The column's name, as it is without this.
    shown: String,
    signature: Signature,
}

/// Values of a batch, or one for all rows.
#[derive(Clone, Copy)]
enum Operand<'a> {
    Rows(&'a [i128]),
    One(i128),
}

/// The results, if all operands fit 64 bits.
fn small(
    rows: usize,
    left: Operand<'_>,
    right: Operand<'_>,
    op: impl Fn(i64, i64) -> i128,
) -> Option<Vec<i128>> {
    let mut out = Vec::with_capacity(rows);
    let fits = |v: i128| i128::from(v as i64) == v;
    for at in (0..rows).step_by(CHUNK_ROWS) {
        let end = (at + CHUNK_ROWS).min(rows);
        let mut all = true;
        let mut one = |a: i128, b: i128| {
            all &= fits(a) & fits(b);
            op(a as i64, b as i64)
        };
        match (left, right) {
            (Operand::Rows(l), Operand::Rows(r)) => {
                out.extend(l[at..end].iter().zip(&r[at..end]).map(|(a, b)| one(*a, *b)));
            }
            (Operand::Rows(l), Operand::One(b)) => out.extend(l[at..end].iter().map(|a| one(*a, b))),
            (Operand::One(a), Operand::Rows(r)) => out.extend(r[at..end].iter().map(|b| one(a, *b))),
            (Operand::One(a), Operand::One(b)) => out.extend((at..end).map(|_| one(a, b))),
        }
        if !all {
            return None;
        }
    }
    Some(out)
}

fn scale_of(data_type: &DataType) -> Result<i8> {
    match data_type {
        DataType::Decimal128(_, scale) => Ok(*scale),
        other => plan_err!("a decimal was expected, not {other}"),
    }
}

/// Values of a side, and which of them are null; `None` of a null for all rows.
fn operand(side: &ColumnarValue) -> Option<(Operand<'_>, Option<&NullBuffer>)> {
    match side {
        ColumnarValue::Array(array) => {
            let array = array.as_primitive_opt::<Decimal128Type>()?;
            Some((Operand::Rows(array.values()), array.nulls()))
        }
        ColumnarValue::Scalar(ScalarValue::Decimal128(Some(value), ..)) => Some((Operand::One(*value), None)),
        ColumnarValue::Scalar(_) => None,
    }
}

/// What is computed of two decimals' digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Their product.
    Product,
    /// The sum of the first times one factor and the second times another.
    Combined(i64, i64),
}

impl DecimalArithmetic {
    /// What a side is multiplied by, to have the result's scale.
    fn shift(&self, side: &DataType) -> Option<i128> {
        let by = i32::from(scale_of(&self.result).ok()?) - i32::from(scale_of(side).ok()?);
        u32::try_from(by).ok().filter(|by| *by <= SHIFT_MAX).map(|by| 10i128.pow(by))
    }

    /// What is computed of the digits of operands of these types; `None` if a factor does not fit.
    pub(crate) fn operation(&self, left: &DataType, right: &DataType) -> Option<Operation> {
        let factors =
            || Some((i64::try_from(self.shift(left)?).ok()?, i64::try_from(self.shift(right)?).ok()?));
        Some(match self.op {
            Op::Multiply => Operation::Product,
            Op::Add => factors().map(|(left, right)| Operation::Combined(left, right))?,
            Op::Subtract => factors().map(|(left, right)| Operation::Combined(left, -right))?,
        })
    }

    fn fast(&self, left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Option<ArrayRef> {
        let (l, l_nulls) = operand(left)?;
        let (r, r_nulls) = operand(right)?;
        let wide = i128::from;
        let values = match self.op {
            Op::Multiply => small(rows, l, r, |a, b| wide(a) * wide(b)),
            Op::Add | Op::Subtract => {
                let (l_shift, r_shift) = (self.shift(&left.data_type())?, self.shift(&right.data_type())?);
                if self.op == Op::Add {
                    small(rows, l, r, |a, b| wide(a) * l_shift + wide(b) * r_shift)
                } else {
                    small(rows, l, r, |a, b| wide(a) * l_shift - wide(b) * r_shift)
                }
            }
        };
        let nulls = NullBuffer::union(l_nulls, r_nulls);
        let array = Decimal128Array::new(ScalarBuffer::from(values?), nulls);
        Some(Arc::new(array.with_data_type(self.result.clone())))
    }

    fn run(&self, left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
        if let Some(array) = self.fast(left, right, rows) {
            return Ok(array);
        }
        let (l, r) = (left.to_array(rows)?, right.to_array(rows)?);
        Ok(match self.op {
            Op::Add => add_wrapping(&l, &r)?,
            Op::Subtract => sub_wrapping(&l, &r)?,
            Op::Multiply => mul_wrapping(&l, &r)?,
        })
    }
}

impl ScalarUDFImpl for DecimalArithmetic {
    fn name(&self) -> &str {
        match self.op {
            Op::Add => "decimal_add",
            Op::Subtract => "decimal_subtract",
            Op::Multiply => "decimal_multiply",
        }
    }

    fn schema_name(&self, _: &[Expr]) -> Result<String> {
        Ok(self.shown.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.result.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return plan_err!("two decimals were expected") };
        let constant = [left, right].iter().all(|side| matches!(side, ColumnarValue::Scalar(_)));
        let array = self.run(left, right, if constant { 1 } else { args.number_rows })?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Option<i128>> {
        prop_oneof![
            4 => (-1_000_000..1_000_000i128).prop_map(Some),
            1 => any::<i64>().prop_map(|v| Some(i128::from(v))),
            1 => prop::sample::select(vec![i128::from(i64::MAX), i128::from(i64::MIN), 1 << 64, 10i128.pow(37)]).prop_map(Some),
            1 => Just(None),
        ]
    }

    fn side(values: Vec<Option<i128>>, precision: u8, scale: i8, scalar: bool) -> ColumnarValue {
        if scalar {
            return ColumnarValue::Scalar(ScalarValue::Decimal128(values[0], precision, scale));
        }
        let array = Decimal128Array::from(values).with_data_type(DataType::Decimal128(precision, scale));
        ColumnarValue::Array(Arc::new(array))
    }

    proptest! {
        /// What Arrow's kernels yield, errors too.
        #[test]
        fn results_are_those_of_arrow(
            rows in prop::collection::vec((any_value(), any_value()), 1..40),
            few: bool,
            (left_scale, right_scale) in (0..12i8, 0..12i8),
            (left_one, right_one) in (any::<bool>(), any::<bool>()),
        ) {
            let rows: Vec<_> = if few { rows.into_iter().map(|(a, b)| (a.map(|v| v % 1000), b.map(|v| v % 1000))).collect() } else { rows };
            let left = side(rows.iter().map(|r| r.0).collect(), 30, left_scale, left_one);
            let right = side(rows.iter().map(|r| r.1).collect(), 25, right_scale, right_one);
            let (l, r) = (left.to_array(rows.len()).unwrap(), right.to_array(rows.len()).unwrap());
            for op in [Op::Add, Op::Subtract, Op::Multiply] {
                let expected = match op {
                    Op::Add => add_wrapping(&l, &r),
                    Op::Subtract => sub_wrapping(&l, &r),
                    Op::Multiply => mul_wrapping(&l, &r),
                };
                let function = DecimalArithmetic {
                    op,
                    result: match op {
                        Op::Multiply => DataType::Decimal128(38, left_scale + right_scale),
                        _ => {
                            let scale = left_scale.max(right_scale);
                            let whole = (30 - left_scale).max(25 - right_scale);
                            DataType::Decimal128(((scale + whole) as u8 + 1).min(38), scale)
                        }
                    },
                    shown: String::new(),
                    signature: Signature::any(2, Volatility::Immutable),
                };
                match (function.run(&left, &right, rows.len()), expected) {
                    (Ok(found), Ok(expected)) => prop_assert_eq!(&found, &expected, "{:?}", op),
                    (Err(_), Err(_)) => {}
                    (found, expected) => prop_assert!(false, "{:?}: {:?}, {:?} expected", op, found, expected),
                }
            }
        }
    }
}
