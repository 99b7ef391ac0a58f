//! Tables of servers, as relations of plans: columns, conditions and limits are evaluated there, and only what is left travels.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as PlanResult, Statistics};
use datafusion::datasource::source::{DataSource, DataSourceExec, OpenArgs};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr};
use deltalite_format::predicate::bind;
use deltalite_remote::{Address, Client, ClientOptions, RemoteTable, RpcError, SharedScan};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::condition::Condition;
use crate::error::{QueryError, Result};
use crate::plain::{plain_type, with_plain_type};
use crate::scan::width;

/// How a server is talked to, given its address: tokens and certificates.
pub type Connecting = Arc<dyn Fn(&Address) -> Result<ClientOptions, RpcError> + Send + Sync>;

/// The servers that a session knows, each with its connections.
pub(crate) struct Servers {
    connecting: Connecting,
    clients: Mutex<HashMap<SocketAddr, Client>>,
}

impl Servers {
    pub(crate) fn new(connecting: Option<Connecting>) -> Self {
        let connecting = connecting.unwrap_or_else(|| Arc::new(|_| Ok(ClientOptions::default())));
        Self { connecting, clients: Mutex::default() }
    }

    /// A table or file of a server.
    pub(crate) async fn table(&self, address: &Address) -> Result<RemoteProvider> {
        let socket = {
            let address = address.clone();
            // Names are resolved by threads that may wait.
            let resolved = tokio::task::spawn_blocking(move || address.resolve()).await;
            resolved.map_err(|e| QueryError::Engine(e.to_string()))??
        };
        let client = self.clients.lock().get(&socket).cloned();
        let client = match client {
            Some(client) => client,
            None => {
                let client = Client::new(socket, (self.connecting)(address)?);
                self.clients.lock().entry(socket).or_insert(client).clone()
            }
        };
        let table = RemoteTable::of(client, address.target.clone()).await?;
        Ok(RemoteProvider::new(address.to_string(), table))
    }
}

/// A server's table in the catalog.
#[derive(Debug, Clone)]
pub(crate) struct RemoteProvider {
    name: Arc<str>,
    table: RemoteTable,
    schema: SchemaRef,
}

impl RemoteProvider {
    fn new(name: String, table: RemoteTable) -> Self {
        let plain = |f: &Arc<Field>| Field::new(f.name(), plain_type(f.data_type()), f.is_nullable());
        let schema = Arc::new(Schema::new(table.schema().fields().iter().map(plain).collect::<Vec<_>>()));
        Self { name: name.into(), table, schema }
    }

    fn statistics(&self) -> Statistics {
        let mut statistics = Statistics::new_unknown(&self.schema);
        if let Some(rows) = self.table.rows() {
            statistics.num_rows = Precision::Exact(rows as usize);
        }
        statistics.total_byte_size = Precision::Inexact(self.table.bytes() as usize);
        statistics
    }
}

#[async_trait]
impl TableProvider for RemoteProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let all = (0..self.schema.fields().len()).collect();
        let source = RemoteSource {
            relation: self.clone(),
            partitions: state.config().target_partitions().max(1),
            schema: Arc::clone(&self.schema),
            projection: Vec::new(),
            condition: Condition::default(),
            limit,
            metrics: ExecutionPlanMetricsSet::new(),
        };
        Ok(DataSourceExec::from_data_source(source.project(projection.cloned().unwrap_or(all))))
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics())
    }
}

/// A scan of a server's table.
#[derive(Debug, Clone)]
struct RemoteSource {
    relation: RemoteProvider,
    partitions: usize,
    schema: SchemaRef,
    /// Columns yielded, as positions in the relation's schema.
    projection: Vec<usize>,
    condition: Condition,
    limit: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

/// The scan that all partitions take parts of; begun by the first that runs.
type Shared = OnceCell<SharedScan>;

fn external(error: RpcError) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::from(error)))
}

impl RemoteSource {
    fn project(mut self, projection: Vec<usize>) -> Self {
        let fields: Vec<Field> =
            projection.iter().map(|at| self.relation.schema.field(*at).clone()).collect();
        self.schema = Arc::new(Schema::new(fields));
        self.projection = projection;
        self
    }

    async fn begin(&self) -> PlanResult<SharedScan> {
        let names = self.schema.fields().iter().map(|f| f.name().clone());
        let mut scan = self.relation.table.scan().columns(names).ordered(false);
        // Asked only now: a join has built its side by the time that the other is read.
        if let Some(predicate) = self.condition.now() {
            scan = scan.filter(predicate);
        }
        if let Some(limit) = self.limit {
            scan = scan.limit(limit as u64);
        }
        scan.start_shared().await.map_err(external)
    }

    /// Columns with the plan's schema.
    fn arrange(&self, batch: &RecordBatch) -> PlanResult<RecordBatch> {
        let arrays = batch.columns().iter().map(with_plain_type).collect::<PlanResult<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

impl DataSource for RemoteSource {
    fn open(&self, partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        self.open_with_args(OpenArgs::new(partition, context))
    }

    fn open_with_args(&self, args: OpenArgs) -> PlanResult<SendableRecordBatchStream> {
        let shared = args.sibling_state.and_then(|state| state.downcast::<Shared>().ok());
        // Without a scan in common the first partition reads everything.
        let idle = shared.is_none() && args.partition != 0;
        let shared = shared.unwrap_or_default();
        let rows = MetricBuilder::new(&self.metrics).output_rows(args.partition);
        let resumed = MetricBuilder::new(&self.metrics).counter("resumed", args.partition);
        let source = self.clone();
        let batches = futures::stream::once(async move {
            let scan = shared.get_or_try_init(|| source.begin()).await?;
            let stream = scan.stream();
            Ok::<_, DataFusionError>(futures::stream::try_unfold(
                (stream, source),
                move |(mut stream, source)| {
                    let (rows, resumed) = (rows.clone(), resumed.clone());
                    async move {
                        let Some(batch) = stream.next().await else {
                            resumed.add(stream.resumed() as usize);
                            return Ok(None);
                        };
                        let batch = source.arrange(&batch.map_err(external)?)?;
                        rows.add(batch.num_rows());
                        Ok::<_, DataFusionError>(Some((batch, (stream, source))))
                    }
                },
            ))
        })
        .try_flatten();
        if idle {
            let none = futures::stream::empty();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), none)));
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn create_sibling_state(&self, _config: &ConfigOptions) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Shared::new()))
    }

    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        write!(f, "{}, columns=[{}]{}", self.relation.name, names.join(", "), self.condition)?;
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions)
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(Arc::clone(&self.schema))
    }

    fn partition_statistics(&self, partition: Option<usize>) -> PlanResult<Arc<Statistics>> {
        let mut statistics = self.relation.statistics();
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
        if let Some(rows) = statistics.num_rows.get_value() {
            let row: usize = self.schema.fields().iter().map(|field| width(field.data_type())).sum();
            statistics.total_byte_size = Precision::Inexact(rows.saturating_mul(row));
        }
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        Some(Arc::new(Self { limit, ..self.clone() }))
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
    ) -> PlanResult<Option<Arc<dyn DataSource>>> {
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
    ) -> PlanResult<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let mut source = self.clone();
        let schema = &self.relation.schema;
        let taken = source.condition.take(filters, &self.schema, |p| bind(p, schema).is_ok())?;
        let source: Arc<dyn DataSource> = Arc::new(source);
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(taken).with_updated_node(source))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        self.condition.apply(f)
    }
}
