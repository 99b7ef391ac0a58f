//! The operator: groups as long as they are few, DataFusion's own aggregate from where they are many.

use std::fmt;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PhysicalExpr, PlanProperties,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::handed::Handed;
use super::keys::{Keys, is_key};
use super::totals::{How, Totals, Wanted};
use super::unscaled::Unscaled;

/// Columns of keys at most: the numbers of pairs of them take 64 KiB each.
const KEYS_MAX: usize = 8;

/// An aggregate whose groups may be few.
#[derive(Debug, Clone)]
pub(super) struct FewGroupsExec {
    /// The aggregate that this stands for, over what it reads.
    aggregate: Arc<AggregateExec>,
    /// The schema of its states, by which parts of it are put together.
    states: SchemaRef,
    /// What is read: the aggregate's input, or what the projection that this is projects.
    source: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    wanted: Vec<Wanted>,
    /// What is read in the place of the source, which is what the plan shows.
    unscaled: Option<Unscaled>,
    metrics: ExecutionPlanMetricsSet,
}

impl FewGroupsExec {
    /// In the place of an aggregate; `None` where it can't be, or would be no faster.
    pub(super) fn of(aggregate: &AggregateExec) -> Result<Option<Self>> {
        let mode = *aggregate.mode();
        let raw =
            matches!(mode, AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned);
        let group_by = aggregate.group_expr();
        let plain = group_by.is_single() || group_by.is_true_no_grouping();
        // Limits, orders and bounds for scans are left to who knows what to make of them.
        if !raw
            || !plain
            || group_by.expr().len() > KEYS_MAX
            || aggregate.limit_options().is_some()
            || aggregate.required_input_ordering().iter().any(Option::is_some)
            || !aggregate.dynamic_expressions_produced().is_empty()
        {
            return Ok(None);
        }
        let new = Self::over(aggregate)?;
        let schema = new.source.schema();
        for key in &new.keys {
            if !is_key(&key.data_type(&schema)?) {
                return Ok(None);
            }
        }
        for wanted in &new.wanted {
            match wanted.how(&schema)? {
                None => return Ok(None),
                // Without groups DataFusion has accumulators that are faster than those for groups.
                Some(How::Stock) if new.keys.is_empty() => return Ok(None),
                Some(_) => {}
            }
        }
        Ok((!new.keys.is_empty() || !new.wanted.is_empty()).then_some(new))
    }

    fn over(aggregate: &AggregateExec) -> Result<Self> {
        let keys = aggregate.group_expr().expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
        let wanted =
            aggregate.aggr_expr().iter().zip(aggregate.filter_expr()).map(|(function, filter)| Wanted {
                function: Arc::clone(function),
                arguments: function.expressions(),
                filter: filter.clone(),
            });
        let states = AggregateExec::try_new(
            AggregateMode::Partial,
            aggregate.group_expr().clone(),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            Arc::clone(aggregate.input()),
            aggregate.input_schema(),
        )?;
        let new = Self {
            aggregate: Arc::new(aggregate.clone()),
            states: states.schema(),
            source: Arc::clone(aggregate.input()),
            keys,
            wanted: wanted.collect(),
            unscaled: None,
            metrics: ExecutionPlanMetricsSet::new(),
        };
        let mut new = match new.through_projection()? {
            Some(through) => through,
            None => new,
        };
        new.unscaled = Unscaled::of(&new.source, &new.keys, &new.wanted)?;
        Ok(new)
    }

    /// The same on what the projection below projects: where all it computes are numbers, they are computed here, once for all that need them.
    fn through_projection(&self) -> Result<Option<Self>> {
        let Some(projection) = self.source.downcast_ref::<ProjectionExec>() else { return Ok(None) };
        let columns = |expr: &Arc<dyn PhysicalExpr>| {
            let mut used = Vec::new();
            expr.apply(|expr| {
                used.extend(expr.downcast_ref::<Column>().map(Column::index));
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok::<_, datafusion::error::DataFusionError>(used)
        };
        // What is random is so once for all that use it.
        if projection.expr().iter().any(|projected| is_volatile(&projected.expr)) {
            return Ok(None);
        }
        let computed = |at: &usize| projection.expr()[*at].expr.downcast_ref::<Column>().is_none();
        let schema = self.source.schema();
        let mut by_others: Vec<usize> = Vec::new();
        for key in &self.keys {
            by_others.extend(columns(key)?);
        }
        for wanted in &self.wanted {
            let is_sum = wanted.how(&schema)? == Some(How::Sum);
            for argument in wanted.arguments.iter().chain(&wanted.filter).filter(|_| !is_sum) {
                by_others.extend(columns(argument)?);
            }
        }
        if by_others.iter().any(computed) {
            return Ok(None);
        }
        let through = |expr: &Arc<dyn PhysicalExpr>| {
            let through = Arc::clone(expr).transform_up(|expr| {
                let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
                Ok(Transformed::yes(Arc::clone(&projection.expr()[column.index()].expr)))
            });
            through.map(|done| done.data)
        };
        let wanted = self.wanted.iter().map(|wanted| {
            Ok(Wanted {
                function: Arc::clone(&wanted.function),
                arguments: wanted.arguments.iter().map(through).collect::<Result<_>>()?,
                filter: wanted.filter.as_ref().map(through).transpose()?,
            })
        });
        Ok(Some(Self {
            source: Arc::clone(projection.input()),
            keys: self.keys.iter().map(through).collect::<Result<_>>()?,
            wanted: wanted.collect::<Result<_>>()?,
            ..self.clone()
        }))
    }

    /// The aggregate with another source in the place of the one it has.
    fn aggregate_over(&self, source: Arc<dyn ExecutionPlan>) -> Result<Arc<AggregateExec>> {
        let options = || ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let mut input = source;
        if !Arc::ptr_eq(&self.source, self.aggregate.input()) {
            input = Arc::clone(self.aggregate.input()).replace_children(vec![input], options())?;
        }
        self.in_mode(*self.aggregate.mode(), input)
    }

    /// The aggregate over its input, or that of its states over them.
    fn in_mode(&self, mode: AggregateMode, input: Arc<dyn ExecutionPlan>) -> Result<Arc<AggregateExec>> {
        let group_by = self.aggregate.group_expr();
        let group_by = if mode == AggregateMode::Final { group_by.as_final() } else { group_by.clone() };
        let aggregate = AggregateExec::try_new(
            mode,
            group_by,
            self.aggregate.aggr_expr().to_vec(),
            self.aggregate.filter_expr().to_vec(),
            input,
            self.aggregate.input_schema(),
        )?;
        Ok(Arc::new(aggregate))
    }
}

/// Batches of a schema that says the same in other words.
fn renamed(schema: SchemaRef, batches: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let to = Arc::clone(&schema);
    let batches = batches.map(move |batch| {
        let batch = batch?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&to), batch.columns().to_vec(), &options)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Groups of the rows so far.
struct Groups {
    plan: Arc<FewGroupsExec>,
    keys: Option<Keys>,
    totals: Totals,
    numbers: Vec<u8>,
}

impl Groups {
    fn new(plan: &Arc<FewGroupsExec>) -> Result<Self> {
        Ok(Self {
            plan: Arc::clone(plan),
            keys: (!plan.keys.is_empty()).then(|| Keys::new(plan.keys.len())),
            totals: Totals::new(&plan.wanted, &plan.source.schema(), plan.unscaled.clone())?,
            numbers: Vec::new(),
        })
    }

    /// Takes rows in. False if their groups are too many: then none of them was taken, and none can be any more.
    fn add(&mut self, batch: &RecordBatch) -> Result<bool> {
        if batch.num_rows() == 0 {
            return Ok(true);
        }
        let Some(keys) = &mut self.keys else {
            self.totals.add(batch, None, 1)?;
            return Ok(true);
        };
        let evaluated = self.plan.keys.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows()));
        self.numbers.resize(batch.num_rows(), 0);
        if !keys.number(&evaluated.collect::<Result<Vec<_>>>()?, &mut self.numbers)? {
            return Ok(false);
        }
        self.totals.add(batch, Some(&self.numbers), keys.count())?;
        Ok(true)
    }

    /// The groups' states; `None` if there is no group.
    fn states(mut self) -> Result<Option<RecordBatch>> {
        let count = self.keys.as_ref().map_or(1, Keys::count);
        if count == 0 {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = match &self.keys {
            Some(keys) => keys.arrays()?,
            None => Vec::new(),
        };
        columns.extend(self.totals.states(count)?);
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.plan.states), columns)?))
    }
}

/// What the operator tells of itself.
struct Told {
    baseline: BaselineMetrics,
    /// Partitions whose groups were too many.
    handed_on: Count,
}

impl FewGroupsExec {
    async fn run(
        self: Arc<Self>,
        mut input: SendableRecordBatchStream,
        context: Arc<TaskContext>,
        told: Told,
    ) -> Result<SendableRecordBatchStream> {
        let mut groups = Groups::new(&self)?;
        let mut beyond = None;
        while let Some(batch) = input.next().await.transpose()? {
            let _timer = told.baseline.elapsed_compute().timer();
            if !groups.add(&batch)? {
                beyond = Some(batch);
                break;
            }
        }
        let states = groups.states()?;
        let Some(first) = beyond else { return self.conclude(states, None, &context) };
        told.handed_on.add(1);
        let rest = stream::iter([Ok(first)]).chain(input);
        let rest = match self.unscaled.clone() {
            None => rest.boxed(),
            Some(unscaled) => rest.map(move |batch| unscaled.scaled(&batch?)).boxed(),
        };
        self.conclude(states, Some(rest), &context)
    }

    /// What the aggregate yields, of the states of the first rows and of the rows that are left.
    fn conclude(
        &self,
        states: Option<RecordBatch>,
        rest: Option<BoxStream<'static, Result<RecordBatch>>>,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let is_partial = *self.aggregate.mode() == AggregateMode::Partial;
        let rest = rest.map(|rest| {
            let schema = self.source.schema();
            let rest = RecordBatchStreamAdapter::new(Arc::clone(&schema), rest);
            Arc::new(Handed::new(schema, Box::pin(rest))) as Arc<dyn ExecutionPlan>
        });
        let rest = match rest {
            // Nothing has been done yet.
            Some(rest) if states.is_none() => {
                let whole = self.aggregate_over(rest)?.execute(0, Arc::clone(context))?;
                return Ok(renamed(self.aggregate.schema(), whole));
            }
            Some(rest) => {
                let rest = self.aggregate_over(rest)?;
                let rest = self.in_mode(AggregateMode::Partial, Arc::clone(rest.input()))?;
                Some(rest.execute(0, Arc::clone(context))?)
            }
            None => None,
        };
        let first = stream::iter(states.into_iter().map(Ok));
        let all = match rest {
            Some(rest) => first.chain(renamed(Arc::clone(&self.states), rest)).boxed(),
            None => first.boxed(),
        };
        let all = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.states), all));
        if is_partial {
            return Ok(renamed(self.aggregate.schema(), all));
        }
        let all = Arc::new(Handed::new(Arc::clone(&self.states), all));
        let whole = self.in_mode(AggregateMode::Final, all)?.execute(0, Arc::clone(context))?;
        Ok(renamed(self.aggregate.schema(), whole))
    }
}

impl DisplayAs for FewGroupsExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FewGroupsExec: ")?;
        self.aggregate.fmt_as(t, f)?;
        match &self.unscaled {
            Some(unscaled) => write!(f, ", unscaled=[{}]", unscaled.names().join(", ")),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for FewGroupsExec {
    fn name(&self) -> &'static str {
        "FewGroupsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.aggregate.input_distribution_requirements()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.source]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let arguments = self.wanted.iter().flat_map(|wanted| wanted.arguments.iter().chain(&wanted.filter));
        for expr in self.keys.iter().chain(arguments) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(source), true) = (children.pop(), children.is_empty()) else {
            return plan_err!("groups are made of one input");
        };
        Ok(Arc::new(Self::over(self.aggregate_over(source)?.as_ref())?))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let source = self.unscaled.as_ref().map_or(&self.source, |unscaled| &unscaled.scan);
        let input = source.execute(partition, Arc::clone(&context))?;
        let told = Told {
            baseline: BaselineMetrics::new(&self.metrics, partition),
            handed_on: MetricBuilder::new(&self.metrics).counter("handed_on", partition),
        };
        let output = told.baseline.intermediate();
        let run = Arc::new(self.clone()).run(input, context, told);
        let batches = stream::once(run).try_flatten().map(move |batch| batch.record_output(&output));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.aggregate.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        if Arc::ptr_eq(&self.source, self.aggregate.input()) {
            return self.aggregate.statistics_from_inputs(inputs, args);
        }
        Ok(Arc::new(Statistics::new_unknown(&self.schema())))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }
}
