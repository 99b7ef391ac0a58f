//! The order of joins, by tables' statistics.
//!
//! DataFusion 55 joins in the order that a query is written in (apache/datafusion#24456). Here the inner joins of a query that stand on each other, and the semi joins
//! and anti joins among them, become a [`group`] of relations and conditions; [`estimate`] says how many rows any part of it yields; [`enumerate`]
//! finds the order that makes the fewest. The columns of the result and their order stay as they were.
//!
//! An order is only changed where all relations' rows are known and the new one is estimated to be clearly cheaper.

mod enumerate;
mod estimate;
mod group;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use group::Group;

/// Joins in the order that makes the fewest rows.
#[derive(Debug, Default)]
pub(crate) struct JoinOrder;

impl OptimizerRule for JoinOrder {
    fn name(&self) -> &'static str {
        "join_order"
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let done = ordered(plan)?;
        if !done.transformed {
            return Ok(done);
        }
        // Columns that are only needed below a join are left out above it.
        let pruned = OptimizeProjections::new().rewrite(done.data, config)?;
        Ok(Transformed::yes(pruned.data))
    }
}

/// Orders every group of a plan.
fn ordered(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    plan.transform_down_with_subqueries(|plan| match Group::of(&plan, 0).and_then(Group::better) {
        Some(better) => Ok(Transformed::yes(better.build(plan.schema())?)),
        None => Ok(Transformed::no(plan)),
    })
}
