//! Aggregates of few groups.
//!
//! Many queries of many rows ask for few groups: by a flag, a status, a country, a year, or without groups at all. DataFusion's aggregate is made for any number of
//! them: it hashes each row's keys, compares them, and adds to a place in memory of each sum's type. Where there are at most 255 groups, a row's is a byte, found by
//! its keys' 16 bytes; numbers of 64 bits are added up for all rows of a group at once, in registers; and what is computed for
//! several sums is computed once, in chunks that stay in a core's cache.
//!
//! * [`FewGroups`] – where in a plan this is done; `exec` – the operator; `handed` – how it hands rows on;
//! * `keys` – which group each row is in; `numbers` – what is added up; `totals` – what it comes to; `unscaled` – decimals read for that only.
//!
//! How many groups there are is seen when they come. Until there are too many, states are those that DataFusion's own aggregate would have, so it goes on from
//! there with the rows that are left. Values are DataFusion's in every case, with its wrapping sums; only sums of floats that are handed over in the middle may
//! differ in their last digits, as they do between partitions.

mod exec;
mod handed;
mod keys;
mod numbers;
#[cfg(test)]
mod tests;
mod totals;
mod unscaled;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use exec::FewGroupsExec;

/// Groups by operators of this module, where they can.
#[derive(Debug, Default)]
pub(crate) struct FewGroups;

impl PhysicalOptimizerRule for FewGroups {
    fn name(&self) -> &'static str {
        "FewGroups"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else {
                return Ok(Transformed::no(plan));
            };
            Ok(match FewGroupsExec::of(aggregate)? {
                Some(few) => Transformed::yes(Arc::new(few) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(plan),
            })
        })
        .map(|done| done.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}
