//! Handing conditions down to scans, where names are unambiguous.
//!
//! DataFusion 55.2 finds a condition's columns in an operator's input by their names. Where two columns have one name, as below a join of tables that
//! both have an `id`, it can hand a condition down to the wrong one, and rows are lost (apache/datafusion#25259, which looks them up by position, is
//! not in a release yet). So its rule is applied to the parts of a plan in which that can't happen; elsewhere conditions stay where they are.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};

/// DataFusion's rule, on parts of a plan.
#[derive(Debug)]
struct UnambiguousFilters(FilterPushdown);

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rules for physical plans, with conditions handed down only where names are unambiguous.
pub(crate) fn physical_rules() -> Vec<Rule> {
    let (early, late) = (FilterPushdown::new(), FilterPushdown::new_post_optimization());
    let names = [early.name().to_owned(), late.name().to_owned()];
    let mut ours = [Some(early), Some(late)];
    let replace = |rule: Rule| {
        let which = names.iter().position(|name| name == rule.name());
        match which.and_then(|at| ours[at].take()) {
            Some(inner) => Arc::new(UnambiguousFilters(inner)) as _,
            None => rule,
        }
    };
    PhysicalOptimizer::new().rules.into_iter().map(replace).collect()
}

/// Whether each of a plan's operators has columns of different names.
fn is_unambiguous(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut names = HashSet::new();
    plan.schema().fields().iter().all(|field| names.insert(field.name().clone()))
        && plan.children().into_iter().all(is_unambiguous)
}

impl PhysicalOptimizerRule for UnambiguousFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let children = plan.children();
        // Nothing is handed to the first operator itself, so its own columns may be of any names.
        if children.iter().all(|child| is_unambiguous(child)) {
            return self.0.optimize(plan, config);
        }
        let children = children.into_iter().map(|child| self.optimize(Arc::clone(child), config));
        let children = children.collect::<Result<Vec<_>>>()?;
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        plan.replace_children(children, options)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
