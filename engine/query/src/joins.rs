//! Joins that would not fit.
//!
//! A hash join of DataFusion 55 holds one side in memory and does not spill. Where that side is estimated to take more than half of what
//! operators may hold, both sides are sorted instead, and merged; both spill.

use std::sync::Arc;

use arrow_schema::SortOptions;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::JoinType;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};

use crate::scan::width;

/// Merges what would not fit as a hash table.
#[derive(Debug)]
pub(crate) struct JoinsThatFit {
    /// Bytes that a side in memory may have.
    pub(crate) side_bytes: usize,
}

impl JoinsThatFit {
    fn fits(&self, side: &Arc<dyn ExecutionPlan>) -> bool {
        let Ok(statistics) = StatisticsContext::new().compute(side.as_ref(), &StatisticsArgs::new()) else {
            return true;
        };
        let Some(rows) = statistics.num_rows.get_value() else { return true };
        // What a row takes beside its columns: hash, next entry.
        let row: usize = side.schema().fields().iter().map(|f| width(f.data_type())).sum::<usize>() + 16;
        rows.saturating_mul(row) <= self.side_bytes
    }

    /// The same join by sorting and merging; `None` where that can't be.
    fn merged(join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // Conditions beside equality: for an inner join they can be evaluated above it. In 55.2 a merge join that has them itself loses track of
        // their columns (apache/datafusion#24414).
        let filter = join.filter();
        if join.null_aware || (filter.is_some() && *join.join_type() != JoinType::Inner) {
            return Ok(None);
        }
        let merge = SortMergeJoinExec::try_new(
            join.left().clone(),
            join.right().clone(),
            join.on().to_vec(),
            None,
            *join.join_type(),
            vec![SortOptions::default(); join.on().len()],
            join.null_equality(),
        )?;
        let mut plan: Arc<dyn ExecutionPlan> = Arc::new(merge);
        if let Some(filter) = filter {
            plan = Arc::new(FilterExec::try_new(above(filter, join)?, plan)?);
        }
        if let Some(projection) = &join.projection {
            let schema = plan.schema();
            let columns = projection.iter().map(|at| {
                let name = schema.field(*at).name();
                ProjectionExpr { expr: Arc::new(Column::new(name, *at)), alias: name.clone() }
            });
            plan = Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), plan)?);
        }
        Ok(Some(plan))
    }
}

/// A join's condition, on the columns that the join yields.
fn above(filter: &JoinFilter, join: &HashJoinExec) -> Result<Arc<dyn PhysicalExpr>> {
    let left = join.left().schema().fields().len();
    let expression = filter.expression().clone().transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let place = &filter.column_indices()[column.index()];
        let at = match place.side {
            datafusion::common::JoinSide::Right => left + place.index,
            _ => place.index,
        };
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(expression.data)
}

impl PhysicalOptimizerRule for JoinsThatFit {
    fn name(&self) -> &'static str {
        "JoinsThatFit"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<HashJoinExec>() else { return Ok(Transformed::no(plan)) };
            if self.fits(join.left()) {
                return Ok(Transformed::no(plan));
            }
            Ok(match Self::merged(join)? {
                Some(merge) => Transformed::yes(merge),
                None => Transformed::no(plan),
            })
        })
        .map(|done| done.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}
