//! Conditions that a plan hands down to a scan, and what the scan knows of them.

use std::fmt;
use std::sync::Arc;

use arrow_schema::Schema;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::snapshot_generation;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::filter_pushdown::PushedDown;
use deltalite_format::predicate::Predicate;
use parking_lot::Mutex;

use crate::pushdown::{part_of, predicate_of};

/// The condition of a scan.
#[derive(Debug, Clone, Default)]
pub(crate) struct Condition {
    predicate: Option<Predicate>,
    /// Conditions that become narrower while the query runs.
    dynamic: Vec<Arc<dyn PhysicalExpr>>,
    /// The condition as it was at some time, and when.
    known: Arc<Mutex<Option<Known>>>,
}

/// When a condition was what.
type Known = (u64, Option<Predicate>);

fn and(known: Option<Predicate>, more: Predicate) -> Predicate {
    match known {
        Some(known) => known.and(more),
        None => more,
    }
}

impl Condition {
    /// Takes over what a scan of these columns can evaluate, and says of each whether that is all of it.
    pub(crate) fn take(
        &mut self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        schema: &Schema,
        understands: impl Fn(&Predicate) -> bool,
    ) -> Result<Vec<PushedDown>> {
        self.known = Arc::default();
        let mut taken = Vec::with_capacity(filters.len());
        for filter in filters {
            let exact = predicate_of(&filter).filter(&understands);
            if filter.snapshot()?.is_some() {
                // Those whose values can't be compared would fail once they are known.
                let nested = |c: &Column| schema.field_with_name(c.name()).map(|f| f.data_type().is_nested());
                if collect_columns(&filter).iter().all(|c| nested(c).is_ok_and(|nested| !nested)) {
                    self.dynamic.push(filter);
                }
                taken.push(PushedDown::No);
            } else if let Some(predicate) = exact {
                self.predicate = Some(and(self.predicate.take(), predicate));
                taken.push(PushedDown::Yes);
            } else {
                // What is only a part still leaves blocks out.
                if let Some(part) = part_of(&filter).filter(&understands) {
                    self.predicate = Some(and(self.predicate.take(), part));
                }
                taken.push(PushedDown::No);
            }
        }
        Ok(taken)
    }

    /// As it is now: dynamic ones may have become narrower.
    pub(crate) fn now(&self) -> Option<Predicate> {
        // What each has become grows with every change, and so does the sum.
        let time = self.dynamic.iter().map(snapshot_generation).fold(0, u64::wrapping_add);
        if let Some((then, predicate)) = &*self.known.lock()
            && *then == time
        {
            return predicate.clone();
        }
        let now = self.evaluated();
        *self.known.lock() = Some((time, now.clone()));
        now
    }

    fn evaluated(&self) -> Option<Predicate> {
        let mut all = self.predicate.clone();
        for filter in &self.dynamic {
            let now = filter.snapshot().ok().flatten().unwrap_or_else(|| filter.clone());
            if let Some(part) = part_of(&now) {
                all = Some(and(all, part));
            }
        }
        all
    }

    /// What does not change while the query runs.
    pub(crate) fn fixed(&self) -> Option<&Predicate> {
        self.predicate.as_ref()
    }

    /// Whether nothing changes while the query runs.
    pub(crate) fn is_fixed(&self) -> bool {
        self.dynamic.is_empty()
    }

    pub(crate) fn apply(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.dynamic {
            if f(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(predicate) = &self.predicate {
            write!(f, ", predicate={predicate}")?;
        }
        if !self.dynamic.is_empty() {
            write!(f, ", dynamic filters={}", self.dynamic.len())?;
        }
        Ok(())
    }
}
