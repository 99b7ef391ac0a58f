//! A session: names, memory, threads, and statements.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::catalog::SchemaProvider;
use datafusion::datasource::MemTable;
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalite_shard::executor::ShardSet;
use deltalite_table::TableContext;

use crate::catalog::Names;
use crate::changes::{self, TableChanges};
use crate::copy::{self, Copy};
use crate::decimals::SmallDecimals;
use crate::equalities::ComputedEqualities;
use crate::error::{QueryError, Result};
use crate::expressions::SqlExpressions;
use crate::few::FewGroups;
use crate::filters::physical_rules;
use crate::joins::JoinsThatFit;
use crate::maps::MapKeys;
use crate::order::JoinOrder;
use crate::query::Query;
use crate::remote::{Connecting, Servers};
use crate::scan::Decode;
use crate::schemas::{CATALOG, Catalog, MAIN};
use crate::statement::{Statements, keywords, own, with_versions};
use crate::yielding::YieldingJoins;
use crate::{ddl, dml};

/// The session's catalog, and its schema.
/// Rows of a batch between operators: what scans yield.
const BATCH_ROWS: usize = 16_384;
/// Values of a join's side that are handed to scans of the other as a list; where there are more, as bounds.
const JOIN_VALUES_MAX: usize = 4096;
/// Bytes of what these lie in, which is as large as a batch of many more.
const JOIN_VALUE_BYTES_MAX: usize = 1 << 20;
/// Consumers that a message about exhausted memory names.
const CONSUMERS_NAMED: usize = 5;

/// How a session is to be.
#[derive(Clone, Default)]
pub struct SessionOptions {
    shards: Option<Arc<ShardSet>>,
    memory_bytes: Option<u64>,
    partitions: Option<usize>,
    temp_dir: Option<PathBuf>,
    catalog: Option<PathBuf>,
    timeout: Option<Duration>,
    decode: Decode,
    connecting: Option<Connecting>,
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions")
            .field("memory_bytes", &self.memory_bytes)
            .field("partitions", &self.partitions)
            .field("catalog", &self.catalog)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl SessionOptions {
    /// Shards to read with; those of the process without.
    #[must_use]
    pub fn shards(mut self, shards: Arc<ShardSet>) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Bytes that operators may hold; what is more is spilled. No limit without.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// How many parts of a query run at once. One a shard without.
    #[must_use]
    pub fn partitions(mut self, partitions: usize) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Where operators spill to. The system's folder for temporary files without.
    #[must_use]
    pub fn temp_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.temp_dir = Some(folder.into());
        self
    }

    /// The folder whose folders are tables, by name.
    #[must_use]
    pub fn catalog(mut self, folder: impl Into<PathBuf>) -> Self {
        self.catalog = Some(folder.into());
        self
    }

    /// How long a statement may take.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// How servers named in FROM (`'deltalite://host:port/table'`) are talked to. Without: no token, no TLS.
    #[must_use]
    pub fn connecting(mut self, connecting: Connecting) -> Self {
        self.connecting = Some(connecting);
        self
    }

    /// Where batches are decoded.
    #[must_use]
    pub fn decode(mut self, place: Decode) -> Self {
        self.decode = place;
        self
    }
}

/// Takes statements. Cheap to clone; clones are the same session.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use deltalite_query::{Session, SessionOptions};
/// let folder = tempfile::tempdir()?;
/// let session = Session::new(SessionOptions::default().catalog(folder.path()))?;
/// session.sql("CREATE TABLE t (id BIGINT, name VARCHAR)").await?.collect().await?;
/// session.sql("INSERT INTO t VALUES (1, 'one'), (2, 'two')").await?.collect().await?;
/// session.sql("DELETE FROM t WHERE id IN (SELECT 2)").await?.collect().await?;
/// let rows = session.sql("SELECT count(*), max(name) FROM t").await?.collect().await?;
/// assert_eq!(rows[0].num_rows(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    names: Arc<Names>,
    timeout: Option<Duration>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Session {
    /// A session.
    ///
    /// # Errors
    /// When shards can't be started, or the folder for temporary files can't be used.
    pub fn new(options: SessionOptions) -> Result<Self> {
        let tables = match options.shards {
            Some(shards) => TableContext::new(shards),
            None => TableContext::of_process()?,
        };
        let tables = tables.expressions(Arc::new(SqlExpressions::default()));
        let partitions = options.partitions.unwrap_or(tables.shards().len()).max(1);
        let mut config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(true)
            .with_default_catalog_and_schema(CATALOG, MAIN)
            .with_create_default_catalog_and_schema(false);
        // An aggregate over statistics reads no pages; bounds of runs narrow scans while a query runs.
        config.options_mut().sql_parser.map_string_types_to_utf8view = true;
        // What a scan leaves out need not be hashed, grouped or joined.
        config.options_mut().optimizer.hash_join_inlist_pushdown_max_distinct_values = JOIN_VALUES_MAX;
        config.options_mut().optimizer.hash_join_inlist_pushdown_max_size = JOIN_VALUE_BYTES_MAX;
        if let Some(bytes) = options.memory_bytes {
            // What each sort keeps back for merging what it has spilled.
            let most = config.options().execution.sort_spill_reservation_bytes;
            let keep_back = usize::try_from(bytes / 32).unwrap_or(most).min(most);
            config.options_mut().execution.sort_spill_reservation_bytes = keep_back;
        }
        let pool: Arc<dyn MemoryPool> = match options.memory_bytes {
            None => Arc::new(UnboundedMemoryPool::default()),
            // Each operator that can spill gets an equal share, so that none starves the others.
            Some(bytes) => Arc::new(TrackConsumersPool::new(
                FairSpillPool::new(usize::try_from(bytes).unwrap_or(usize::MAX)),
                std::num::NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(std::num::NonZeroUsize::MIN),
            )),
        };
        // Folders are listed anew for each statement: others put files there.
        let caches = CacheManagerConfig::default().with_list_files_cache_limit(0);
        let mut runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).with_cache_manager(caches);
        if let Some(folder) = options.temp_dir {
            let mode = DiskManagerMode::Directories(vec![folder]);
            runtime = runtime.with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode));
        }
        let runtime = runtime.build_arc().map_err(|e| QueryError::of(e, ""))?;
        let mut rules = physical_rules();
        rules.insert(0, Arc::new(ComputedEqualities));
        if let Some(bytes) = options.memory_bytes {
            // Before what sides of joins have to be sorted by is put in.
            let at = rules.iter().position(|rule| rule.name() == "join_selection").map_or(0, |at| at + 1);
            let side_bytes = usize::try_from(bytes / 2).unwrap_or(usize::MAX);
            rules.insert(at, Arc::new(JoinsThatFit { side_bytes }));
        }
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_optimizer_rule(Arc::new(JoinOrder))
            .with_optimizer_rule(Arc::new(SmallDecimals))
            .with_physical_optimizer_rules(rules)
            .with_physical_optimizer_rule(Arc::new(YieldingJoins))
            .with_physical_optimizer_rule(Arc::new(FewGroups))
            .build();
        let mut context = SessionContext::new_with_state(state);
        context.register_function_rewrite(Arc::new(MapKeys)).map_err(|e| QueryError::of(e, ""))?;
        let names =
            Arc::new(Names::new(options.catalog, tables, options.decode, Servers::new(options.connecting)));
        names.attach(Arc::downgrade(&context.state_ref()));
        context.register_udtf(changes::NAME, Arc::new(TableChanges(names.clone())));
        context.register_catalog(CATALOG, Arc::new(Catalog(names.clone())));
        Ok(Self { context, names, timeout: options.timeout })
    }

    /// Plans a statement. One that changes a table has done so when this returns.
    ///
    /// # Errors
    /// When it is no statement, a name stands for nothing, or a table refuses.
    pub async fn sql(&self, statement: &str) -> Result<Query> {
        if let Some(own) = own(statement)? {
            let batch = ddl::run_own(self, own).await?;
            return Ok(Query::done(statement, batch));
        }
        let mut text = with_versions(statement)?;
        match copy::run(self, &text, statement).await? {
            None => {}
            Some(Copy::Done(batch)) => return Ok(Query::done(statement, batch)),
            Some(Copy::Text(said)) => text = said,
        }
        let changing = Box::pin(dml::run(self, &text, statement));
        let changed = match self.timeout {
            None => changing.await?,
            Some(limit) => match tokio::time::timeout(limit, changing).await {
                Ok(changed) => changed?,
                Err(_) => return Err(QueryError::Timeout { seconds: limit.as_secs_f64() }),
            },
        };
        match changed {
            Some(batch) => Ok(Query::done(statement, batch)),
            None => self.plan(&text, statement).await,
        }
    }

    /// Whether statements are part of a transaction: after BEGIN, before COMMIT or ROLLBACK.
    pub fn in_transaction(&self) -> bool {
        self.names.transaction().is_open()
    }

    /// Plans a statement that changes nothing; `shown` is what its author wrote.
    pub(crate) async fn plan(&self, text: &str, shown: &str) -> Result<Query> {
        let plan = self.physical(text).await.map_err(|e| self.explain(e, shown))?;
        Ok(Query::plan(shown, plan, self.context.task_ctx(), self.timeout))
    }

    /// Plans the rows of a `CREATE TABLE … AS`.
    pub(crate) async fn plan_rows_of(&self, create: &str, shown: &str) -> Result<Query> {
        let explain = |e| self.explain(e, shown);
        let created = self.context.state().create_logical_plan(create).await.map_err(explain)?;
        let LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create)) = created else {
            return Err(QueryError::NotSupported(create.to_owned()));
        };
        let frame =
            self.context.execute_logical_plan(create.input.as_ref().clone()).await.map_err(explain)?;
        let plan = frame.create_physical_plan().await.map_err(explain)?;
        self.names.transaction().note(&plan);
        Ok(Query::plan(shown, plan, self.context.task_ctx(), self.timeout))
    }

    async fn physical(&self, text: &str) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let frame = self.context.sql(text).await?;
        let plan = frame.create_physical_plan().await?;
        self.names.transaction().note(&plan);
        Ok(plan)
    }

    /// An error of DataFusion's, with the nearest name where one stands for nothing.
    pub(crate) fn explain(&self, error: datafusion::error::DataFusionError, statement: &str) -> QueryError {
        let text = error.strip_backtrace();
        let missing = text.split_once("table '").and_then(|(_, rest)| rest.split_once("' not found"));
        if let Some((full, _)) = missing {
            let name = full.strip_prefix("deltalite.").unwrap_or(full);
            let name = name.strip_prefix("main.").unwrap_or(name);
            let message = format!("no table {name:?}");
            return QueryError::name(message, name, &self.names.all_table_names(), statement);
        }
        QueryError::of(error, statement)
    }

    /// Cuts a script into statements.
    ///
    /// # Errors
    /// When a string or a comment does not end.
    pub fn statements(text: &str) -> Result<Statements> {
        Statements::of(text)
    }

    /// Gives rows in memory a name that statements know, over a table of that name.
    ///
    /// # Errors
    /// When a batch has other columns.
    pub fn register(&self, name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<()> {
        let table = MemTable::try_new(schema, vec![batches]).map_err(|e| QueryError::of(e, ""))?;
        self.names.register(name, Arc::new(table));
        Ok(())
    }

    /// Takes such a name back; whether there was one.
    pub fn unregister(&self, name: &str) -> bool {
        self.names.forget(name)
    }

    /// Names of tables, for completion; those of other schemas than `main` with it.
    pub fn table_names(&self) -> Vec<String> {
        self.names.all_table_names()
    }

    /// Names of a table's columns, for completion; none if there is no such table.
    pub async fn column_names(&self, table: &str) -> Vec<String> {
        match self.names.table(table).await {
            Ok(Some(table)) => table.schema().fields().iter().map(|f| f.name().clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Words of the language, for completion and highlighting.
    pub fn keywords() -> impl Iterator<Item = &'static str> {
        keywords()
    }

    /// Names of functions, for completion.
    pub fn functions(&self) -> Vec<String> {
        let state = self.context.state();
        let mut names: Vec<String> = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// What tables need of the process, with SQL in their constraints and defaults understood.
    pub fn tables(&self) -> &TableContext {
        self.names.context()
    }

    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// The session as DataFusion has it: for what this crate does not wrap.
    pub fn datafusion(&self) -> &SessionContext {
        &self.context
    }
}
