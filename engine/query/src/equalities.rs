//! Conditions like `f(x) = x`, from which DataFusion must not conclude that one may stand for the other.
//!
//! DataFusion 55.2 takes the two sides of an equality for interchangeable when it looks whether rows are sorted as an operator wants them. Where
//! one side contains the other, each replacement makes a longer one, the two orders it compares are replaced a different number of times, and a correct
//! plan is refused ("does not satisfy order requirements"). So equalities with a computed side are written such that nothing is concluded from them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

/// Writes `f(x) = y` in conditions as `(f(x) = y) IS TRUE`.
#[derive(Debug, Default)]
pub(crate) struct ComputedEqualities;

fn is_computed(side: &Arc<dyn PhysicalExpr>) -> bool {
    side.downcast_ref::<Column>().is_none() && !collect_columns(side).is_empty()
}

fn rewritten(condition: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
    let equality = condition.downcast_ref::<BinaryExpr>().filter(|b| *b.op() == Operator::Eq)?;
    let (left, right) = (equality.left(), equality.right());
    let among_columns = !collect_columns(left).is_empty() && !collect_columns(right).is_empty();
    (among_columns && (is_computed(left) || is_computed(right)))
        .then(|| Arc::new(BinaryExpr::new(condition.clone(), Operator::IsNotDistinctFrom, lit(true))) as _)
}

impl PhysicalOptimizerRule for ComputedEqualities {
    fn name(&self) -> &'static str {
        "ComputedEqualities"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(plan)) };
            let parts = split_conjunction(filter.predicate());
            let new: Vec<_> = parts.iter().map(|part| rewritten(part)).collect();
            if new.iter().all(Option::is_none) {
                return Ok(Transformed::no(plan));
            }
            let parts = parts.into_iter().zip(new).map(|(part, new)| new.unwrap_or_else(|| part.clone()));
            let filter = FilterExecBuilder::from(filter).with_predicate(conjunction(parts)).build()?;
            Ok(Transformed::yes(Arc::new(filter) as Arc<dyn ExecutionPlan>))
        })
        .map(|plan| plan.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}
