//! Reading files as a source of plans: partitions take parts of files from one queue, so that none waits while another has work.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::source::{DataSource, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, Partitioning, PhysicalExpr};
use deltalite_format::SplitSpec;
use deltalite_format::limits::UNSCALED_DIGITS_MAX;
use deltalite_format::predicate::Predicate;
use deltalite_format::split::plan_splits;
use deltalite_shard::executor::ShardSet;
use deltalite_shard::scan::{DecodeOn, Scan, ScanFile, ScanMetrics, ScanStream};
use futures::stream;
use parking_lot::Mutex;

use crate::condition::Condition;
use crate::plain::with_plain_type;
use crate::provider::Relation;

/// Bytes of a part of a file that one partition takes at a time.
const SPLIT_BYTES: u64 = 4 << 20;
/// Column that says which file a row is in, where rows are to be changed.
pub(crate) const FILE_COLUMN: &str = "__file";
/// Column that says a row's number in its file.
pub(crate) const ROW_COLUMN: &str = "__row";

/// Where batches are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decode {
    /// By the partition that wants them: no hop between threads. The default.
    #[default]
    Partition,
    /// On the shards.
    Shards,
}

/// A scan of a relation.
#[derive(Debug, Clone)]
pub struct FilesSource {
    relation: Arc<Relation>,
    shards: Arc<ShardSet>,
    decode: Decode,
    partitions: usize,
    /// Columns yielded, as positions in the relation's schema.
    projection: Vec<usize>,
    schema: SchemaRef,
    /// Whether decimals are yielded as whole numbers where the schema has those.
    unscaled: bool,
    condition: Condition,
    limit: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl FilesSource {
    /// A scan of all rows and columns.
    pub fn new(relation: Arc<Relation>, shards: Arc<ShardSet>, partitions: usize, decode: Decode) -> Self {
        let schema = relation.schema().clone();
        Self {
            projection: (0..schema.fields().len()).collect(),
            relation,
            shards,
            decode,
            partitions: partitions.max(1),
            schema,
            unscaled: false,
            condition: Condition::default(),
            limit: None,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// Only some columns, by position.
    #[must_use]
    pub fn project(mut self, projection: Vec<usize>) -> Self {
        let fields: Vec<Field> =
            projection.iter().map(|at| self.relation.schema().field(*at).clone()).collect();
        self.schema = Arc::new(Schema::new(fields));
        self.projection = projection;
        self
    }

    /// With some columns of decimals, by position among those yielded, as the whole numbers that they are stored as. To be said last.
    #[must_use]
    pub(crate) fn unscaled(mut self, columns: &[usize]) -> Self {
        let field = |(at, field): (usize, &Arc<Field>)| {
            let whole = || Arc::new(field.as_ref().clone().with_data_type(DataType::Int64));
            if columns.contains(&at) { whole() } else { Arc::clone(field) }
        };
        self.schema =
            Arc::new(Schema::new(self.schema.fields().iter().enumerate().map(field).collect::<Vec<_>>()));
        self.unscaled = true;
        self
    }

    /// The columns yielded as whole numbers.
    fn unscaled_names(&self) -> impl Iterator<Item = &str> {
        let decimal =
            |at: &usize| matches!(self.relation.schema().field(*at).data_type(), DataType::Decimal128(..));
        let columns = self.projection.iter().zip(self.schema.fields()).filter(|_| self.unscaled);
        let columns = columns.filter(move |(at, field)| decimal(at) && field.data_type() == &DataType::Int64);
        columns.map(|(_, field)| field.name().as_str())
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, limit: Option<usize>) -> Self {
        self.limit = limit;
        self
    }

    /// The table whose rows it reads, and those for which condition; of other files nothing.
    pub(crate) fn reads(&self) -> Option<(PathBuf, Option<Predicate>)> {
        let (snapshot, _) = self.relation.table()?;
        Some((snapshot.path().to_owned(), self.condition.fixed().cloned()))
    }

    /// The condition, if this is a scan of that relation with nothing but one that it evaluates itself.
    pub(crate) fn condition_over(&self, relation: &Arc<Relation>) -> Option<Predicate> {
        let plain =
            Arc::ptr_eq(&self.relation, relation) && self.condition.is_fixed() && self.limit.is_none();
        self.condition.fixed().filter(|_| plain).cloned()
    }

    fn queue(&self) -> Queue {
        Queue { waiting: None, source: self.clone() }
    }
}

/// Bytes that a value takes in memory, about.
pub(crate) fn width(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 1,
        // A view, and a part of what it views.
        DataType::Utf8View | DataType::BinaryView => 32,
        DataType::Struct(fields) => fields.iter().map(|f| width(f.data_type())).sum(),
        other => other.primitive_width().unwrap_or(32),
    }
}

/// A part of a file.
#[derive(Debug)]
struct Task {
    file: usize,
    scan: ScanFile,
}

/// What is still to be read, for all partitions of a scan.
#[derive(Debug)]
struct Queue {
    /// Files not yet opened, then parts of those that are; `None` before the first asks.
    waiting: Option<(VecDeque<usize>, VecDeque<Task>)>,
    source: FilesSource,
}

impl Queue {
    fn next(&mut self) -> Result<Option<Task>> {
        let relation = self.source.relation.clone();
        if self.waiting.is_none() {
            let files = relation.select(self.source.condition.now().as_ref()).map_err(external)?;
            self.waiting = Some((files.into(), VecDeque::new()));
        }
        let Some((files, tasks)) = &mut self.waiting else { return Ok(None) };
        while tasks.is_empty() {
            let Some(file) = files.pop_front() else { return Ok(None) };
            let scan = relation.open(file).map_err(external)?;
            let target = if self.source.partitions > 1 { SPLIT_BYTES } else { u64::MAX };
            for split in plan_splits(scan.file.meta(), target) {
                let split: Option<SplitSpec> = (target != u64::MAX).then_some(split);
                tasks.push_back(Task { file, scan: ScanFile { split, ..scan.clone() } });
                if target == u64::MAX {
                    break;
                }
            }
        }
        Ok(tasks.pop_front())
    }
}

fn external(error: impl Into<crate::error::QueryError>) -> DataFusionError {
    DataFusionError::External(Box::new(error.into()))
}

/// One partition at work.
struct Reader {
    source: FilesSource,
    queue: Arc<Mutex<Queue>>,
    current: Option<(usize, ScanStream)>,
    left: Option<usize>,
    counters: Counters,
}

/// What EXPLAIN ANALYZE shows.
struct Counters {
    splits: Count,
    blocks_pruned: Count,
    units_pruned: Count,
    bytes_read: Count,
    cache_hits: Count,
    rows: Count,
}

impl Counters {
    fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).counter(name, partition);
        Self {
            splits: counter("splits"),
            blocks_pruned: counter("blocks_pruned"),
            units_pruned: counter("units_pruned"),
            bytes_read: counter("bytes_read"),
            cache_hits: counter("cache_hits"),
            rows: MetricBuilder::new(metrics).output_rows(partition),
        }
    }

    fn add(&self, scan: &ScanMetrics) {
        self.splits.add(1);
        self.blocks_pruned.add((scan.pruned.blocks_pruned + scan.pruned.blocks_bloomed) as usize);
        self.units_pruned.add(scan.pruned.units_pruned as usize);
        self.bytes_read.add(scan.bytes_read as usize);
        self.cache_hits.add(scan.cache_hits as usize);
    }
}

impl Reader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            if self.current.is_none() {
                let Some(task) = self.queue.lock().next()? else { return Ok(None) };
                self.current = Some((task.file, self.start(task.scan)?));
            }
            let Some((file, stream)) = &mut self.current else { continue };
            match stream.next() {
                Some(batch) => {
                    let file = *file;
                    let batch = self
                        .arrange(file, &batch.map_err(|e| external(deltalite_table::TableError::from(e)))?)?;
                    let batch = match &mut self.left {
                        Some(left) => {
                            let rows = batch.num_rows().min(*left);
                            *left -= rows;
                            batch.slice(0, rows)
                        }
                        None => batch,
                    };
                    self.counters.rows.add(batch.num_rows());
                    return Ok(Some(batch));
                }
                None => {
                    self.counters.add(&stream.metrics());
                    self.current = None;
                }
            }
        }
    }

    fn start(&self, file: ScanFile) -> Result<ScanStream> {
        let names = self.source.schema.fields().iter().map(|f| f.name().as_str());
        let stored: Vec<&str> = names.filter(|n| *n != FILE_COLUMN && *n != ROW_COLUMN).collect();
        let unscaled = self.source.unscaled_names();
        let mut scan =
            Scan::over([file]).columns(stored).unscaled(unscaled).decode_on(match self.source.decode {
                Decode::Partition => DecodeOn::Caller,
                Decode::Shards => DecodeOn::Shards,
            });
        if let Some(predicate) = self.source.condition.now() {
            scan = scan.filter(predicate);
        }
        if self.source.schema.column_with_name(ROW_COLUMN).is_some() {
            scan = scan.row_numbers(ROW_COLUMN);
        }
        scan.start(&self.source.shards).map_err(|e| external(deltalite_table::TableError::from(e)))
    }

    /// Columns in the plan's order, with the plan's schema.
    fn arrange(&self, file: usize, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = &self.source.schema;
        let mut stored = batch.columns().iter();
        let numbers = batch.column_by_name(ROW_COLUMN);
        let arrays = schema
            .fields()
            .iter()
            .map(|field| match field.name().as_str() {
                FILE_COLUMN => {
                    Ok(Arc::new(UInt32Array::from(vec![file as u32; batch.num_rows()])) as ArrayRef)
                }
                ROW_COLUMN => numbers.cloned().ok_or_else(missing),
                _ => {
                    let array = with_plain_type(stored.next().ok_or_else(missing)?)?;
                    if self.source.unscaled && field.data_type() == &DataType::Int64 {
                        whole(array)
                    } else {
                        Ok(array)
                    }
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), arrays, &options)?)
    }
}

/// Decimals as whole numbers, where a file could not yield them as such.
fn whole(array: ArrayRef) -> Result<ArrayRef> {
    let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() else { return Ok(array) };
    let whole = decimals.try_unary::<_, Int64Type, _>(|value| {
        i64::try_from(value).map_err(|_| {
            DataFusionError::Execution(format!(
                "{value} has more than {UNSCALED_DIGITS_MAX} digits, which its column does not allow"
            ))
        })
    })?;
    Ok(Arc::new(whole))
}

fn missing() -> DataFusionError {
    DataFusionError::Internal("a scan has fewer columns than it was asked for".to_owned())
}

impl DataSource for FilesSource {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.open_with_args(OpenArgs::new(partition, context))
    }

    fn open_with_args(&self, args: OpenArgs) -> Result<SendableRecordBatchStream> {
        let shared = args.sibling_state.and_then(|state| state.downcast::<Mutex<Queue>>().ok());
        let queue = match shared {
            Some(queue) => queue,
            None if args.partition == 0 => Arc::new(Mutex::new(self.queue())),
            // Without a queue in common the first partition reads everything.
            None => Arc::new(Mutex::new(Queue { waiting: Some(Default::default()), source: self.clone() })),
        };
        let reader = Reader {
            counters: Counters::new(&self.metrics, args.partition),
            left: self.limit,
            source: self.clone(),
            queue,
            current: None,
        };
        let batches = stream::unfold(Some(reader), |reader| async move {
            let mut reader = reader?;
            match reader.next() {
                Ok(Some(batch)) => Some((Ok(batch), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches)))
    }

    fn create_sibling_state(&self, _config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Mutex::new(self.queue())))
    }

    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "deltalite {}, columns=[{}]", self.relation.name(), names.join(", "))?;
        write!(f, "{}", self.condition)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.schema.clone())
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = self.relation.statistics().clone();
        statistics.column_statistics =
            self.projection.iter().map(|at| statistics.column_statistics[*at].clone()).collect();
        if self.condition.fixed().is_some() || self.limit.is_some() || partition.is_some() {
            statistics = statistics.to_inexact();
        }
        if let (Some(_), Precision::Inexact(rows)) = (partition, &statistics.num_rows) {
            statistics.num_rows = Precision::Inexact(rows / self.partitions);
        }
        if let (Some(limit), Precision::Inexact(rows)) = (self.limit, &statistics.num_rows) {
            statistics.num_rows = Precision::Inexact((*rows).min(limit));
        }
        // Of the columns that are read, as they are in memory: what decides which side of a join is held there.
        if let Some(rows) = statistics.num_rows.get_value() {
            let schema = self.relation.schema();
            let row: usize = self.projection.iter().map(|at| width(schema.field(*at).data_type())).sum();
            statistics.total_byte_size = Precision::Inexact(rows.saturating_mul(row));
        }
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(self.clone().limit(limit)))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn DataSource>>> {
        let mut columns = Vec::new();
        for expr in projection.iter() {
            match expr.expr.downcast_ref::<Column>() {
                Some(column) if column.name() == expr.alias => columns.push(self.projection[column.index()]),
                _ => return Ok(None),
            }
        }
        Ok(Some(Arc::new(self.clone().project(columns))))
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let mut source = self.clone();
        let taken = source.condition.take(filters, &self.schema, |p| self.relation.understands(p))?;
        let source: Arc<dyn DataSource> = Arc::new(source);
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(taken).with_updated_node(source))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.condition.apply(f)
    }
}

/// The relation's columns with those that say where a row is.
pub(crate) fn with_places(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(FILE_COLUMN, DataType::UInt32, false)));
    fields.push(Arc::new(Field::new(ROW_COLUMN, DataType::UInt64, false)));
    Arc::new(Schema::new(fields))
}
