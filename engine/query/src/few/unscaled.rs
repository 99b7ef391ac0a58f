//! Decimals that are only added up are read as the whole numbers they are stored as: half the bytes, and nothing to be narrowed.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use deltalite_format::limits::UNSCALED_DIGITS_MAX;

use super::totals::{How, Wanted};
use crate::decimals::DecimalArithmetic;
use crate::scan::FilesSource;

/// A scan that yields whole numbers for some columns, in the place of one that yields decimals.
#[derive(Debug, Clone)]
pub(super) struct Unscaled {
    /// The scan.
    pub(super) scan: Arc<dyn ExecutionPlan>,
    /// The columns as they are without this.
    schema: SchemaRef,
}

impl Unscaled {
    /// In the place of a scan of files whose rows are grouped by keys; `None` where that is no scan, or no column is only added up.
    pub(super) fn of(
        source: &Arc<dyn ExecutionPlan>,
        keys: &[Arc<dyn PhysicalExpr>],
        wanted: &[Wanted],
    ) -> Result<Option<Self>> {
        // With a single partition the scan is told to take turns with others.
        let cooperative = source.downcast_ref::<CooperativeExec>();
        let scan = cooperative.map_or(source, CooperativeExec::input);
        let files = scan.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
        let Some(files) = files.and_then(|files| files.downcast_ref::<FilesSource>()) else {
            return Ok(None);
        };
        let schema = source.schema();
        let (mut added, mut used) = (vec![false; schema.fields().len()], vec![false; schema.fields().len()]);
        for key in keys {
            mark(key, &mut used)?;
        }
        for wanted in wanted {
            let is_sum = wanted.how(&schema)? == Some(How::Sum);
            for argument in &wanted.arguments {
                if is_sum {
                    operands(argument, &schema, &mut added, &mut used)?;
                } else {
                    mark(argument, &mut used)?;
                }
            }
            if let Some(filter) = &wanted.filter {
                mark(filter, &mut used)?;
            }
        }
        let columns: Vec<usize> = (0..schema.fields().len())
            .filter(|at| {
                let is_short =
                    matches!(schema.field(*at).data_type(), DataType::Decimal128(1..=UNSCALED_DIGITS_MAX, _));
                is_short && added[*at] && !used[*at]
            })
            .collect();
        if columns.is_empty() {
            return Ok(None);
        }
        let scan = DataSourceExec::from_data_source(files.clone().unscaled(&columns));
        let scan: Arc<dyn ExecutionPlan> = match cooperative {
            Some(_) => Arc::new(CooperativeExec::new(scan)),
            None => scan,
        };
        Ok(Some(Self { scan, schema }))
    }

    /// The columns that are read so.
    pub(super) fn names(&self) -> Vec<String> {
        let (scanned, schema) = (self.scan.schema(), &self.schema);
        let fields = scanned.fields().iter().zip(schema.fields());
        fields.filter(|(s, f)| s.data_type() != f.data_type()).map(|(_, f)| f.name().clone()).collect()
    }

    /// A batch with the decimals that it would have without this.
    pub(super) fn scaled(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(array, field)| -> ArrayRef {
            match (array.as_primitive_opt::<Int64Type>(), field.data_type()) {
                (Some(numbers), DataType::Decimal128(..)) => {
                    let decimals: PrimitiveArray<Decimal128Type> = numbers.unary(i128::from);
                    Arc::new(decimals.with_data_type(field.data_type().clone()))
                }
                _ => Arc::clone(array),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.collect(), &options)?)
    }
}

/// The columns that an expression uses.
fn mark(expr: &Arc<dyn PhysicalExpr>, used: &mut [bool]) -> Result<()> {
    expr.apply(|expr| {
        if let Some(column) = expr.downcast_ref::<Column>() {
            used[column.index()] = true;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The columns whose numbers are operands of what is added up, and those that anything else is made of.
fn operands(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    added: &mut [bool],
    used: &mut [bool],
) -> Result<()> {
    if let Some(column) = expr.downcast_ref::<Column>() {
        added[column.index()] = true;
        return Ok(());
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>()
        && let Some(function) = call.fun().inner().downcast_ref::<DecimalArithmetic>()
        && let [left, right] = call.args()
        && function.operation(&left.data_type(schema)?, &right.data_type(schema)?).is_some()
    {
        operands(left, schema, added, used)?;
        return operands(right, schema, added, used);
    }
    mark(expr, used)
}
