//! Statements that change rows.
//!
//! Each becomes a query over the table with where each row is (`__file`, `__row`) and what it becomes, so that conditions with subqueries, joins and
//! functions mean what they mean in a SELECT. DataFusion's own hooks are not used: they are given no condition where it could not
//! be pushed down, and would change every row.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, Merge, MergeAction, MergeClause,
    MergeClauseKind, MergeInsertKind, ObjectName, Statement, TableFactor, TableObject, TransactionAccessMode,
    TransactionIsolationLevel, TransactionMode, Update, UpdateTableFromKind,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use deltalite_format::predicate::Predicate;
use deltalite_table::schema::GENERATION_EXPRESSION;
use deltalite_table::txn::conflict::Remedy;
use deltalite_table::txn::{Isolation, Rows};
use deltalite_table::{OptimisticTransaction, TableError};
use futures::StreamExt;
use tokio::runtime::Handle;

use crate::cancel::{self, Stop};
use crate::ddl;
use crate::error::{QueryError, Result};
use crate::provider::{Relation, RelationProvider};
use crate::query::QueryStream;
use crate::scan::{FILE_COLUMN, FilesSource, ROW_COLUMN};
use crate::session::Session;
use crate::statement::{full_name, quoted};
use crate::understood;

/// How often a statement is run that others' commits contradict.
const ATTEMPTS_MAX: usize = 20;
/// Numbers the names under which targets of statements are known while they run.
static TARGETS: AtomicU64 = AtomicU64::new(0);

/// Runs a statement that changes rows or tables; `None` for any other.
///
/// # Errors
/// When it is not supported, a name stands for nothing, or the table refuses.
pub(crate) async fn run(session: &Session, text: &str, shown: &str) -> Result<Option<RecordBatch>> {
    if let Some(created) = ddl::create(session, text, shown).await? {
        return Ok(Some(created));
    }
    // What can't be parsed is for DataFusion to tell.
    let Ok(mut statements) = Parser::parse_sql(&GenericDialect {}, text) else { return Ok(None) };
    if statements.len() != 1 {
        return Ok(None);
    }
    let Some(statement) = statements.pop() else { return Ok(None) };
    let (_waiting, stop) = cancel::pair();
    let work = Work { session: session.clone(), handle: Handle::current(), shown: shown.to_owned(), stop };
    match statement {
        // Files that were declared to be a table are DataFusion's to write.
        Statement::Insert(Insert { table: TableObject::TableName(name), .. })
            if session.names().registered(&table_name(session, &name)?).is_some() =>
        {
            Ok(None)
        }
        Statement::Insert(insert) => blocking(move || work.insert(&insert)).await.map(Some),
        Statement::Query(query) => ddl::select_into(session, &query, shown).await,
        Statement::Delete(delete) => blocking(move || work.delete(&delete)).await.map(Some),
        Statement::Update(update) => blocking(move || work.update(&update)).await.map(Some),
        Statement::Merge(merge) => blocking(move || work.merge(&merge)).await.map(Some),
        Statement::StartTransaction { modes, statements, .. } if statements.is_empty() => {
            let isolation = isolation_of(&modes)?;
            blocking(move || {
                let names = work.session.names();
                names.transaction().begin(isolation, &names.tables())?;
                Ok(nothing())
            })
            .await
            .map(Some)
        }
        Statement::Commit { chain: false, .. } => blocking(move || {
            work.session.names().transaction().commit()?;
            Ok(nothing())
        })
        .await
        .map(Some),
        Statement::Rollback { chain: false, savepoint: None } => blocking(move || {
            work.session.names().transaction().rollback()?;
            Ok(nothing())
        })
        .await
        .map(Some),
        Statement::Savepoint { .. } | Statement::Rollback { .. } | Statement::Commit { .. } => {
            Err(QueryError::NotSupported(
                "savepoints and chained transactions: BEGIN, COMMIT and ROLLBACK a whole one".to_owned(),
            ))
        }
        other => ddl::run_statement(session, other, shown).await,
    }
}

/// Runs what waits for disks and commits on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(QueryError::Engine(format!("the statement's thread ended: {e}"))))
}

/// A number of rows, as statements that change them answer.
pub(crate) fn count(rows: u64) -> Result<RecordBatch> {
    let array: ArrayRef = Arc::new(UInt64Array::from(vec![rows]));
    RecordBatch::try_from_iter([("count", array)]).map_err(|e| QueryError::Engine(e.to_string()))
}

/// What a statement answers that has neither rows nor a number of them.
pub(crate) fn nothing() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::empty()))
}

/// The level that a transaction asks for; a weaker one than there is gets the weakest.
fn isolation_of(modes: &[TransactionMode]) -> Result<Option<Isolation>> {
    let mut level = None;
    for mode in modes {
        match mode {
            TransactionMode::IsolationLevel(TransactionIsolationLevel::Serializable) => {
                level = Some(Isolation::Serializable);
            }
            TransactionMode::IsolationLevel(_) => level = Some(Isolation::Snapshot),
            TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => {}
            TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => {
                return Err(QueryError::NotSupported(
                    "READ ONLY: a transaction that only reads commits nothing anyway".to_owned(),
                ));
            }
        }
    }
    Ok(level)
}

/// A name in FROM as the catalog knows it: the last part, lower case unless it is quoted.
fn parts_of(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(ident).collect()
}

/// The name of a table, with its schema if that is not `main`.
pub(crate) fn table_name(session: &Session, name: &ObjectName) -> Result<String> {
    let parts = parts_of(name);
    let full = full_name(&parts)?;
    if parts.len() > 1 && full.contains('.') && session.names().split_schema(&full).is_none() {
        let schema = parts.iter().rev().nth(1).map_or("", String::as_str);
        return Err(QueryError::NotSupported(format!("no schema {schema:?}; CREATE SCHEMA {schema} first")));
    }
    Ok(full)
}

/// The name of a column, which may be qualified by what the statement calls the table.
fn column_name(name: &ObjectName, table: &str) -> Result<String> {
    let parts = parts_of(name);
    match parts.as_slice() {
        [column] => Ok(column.clone()),
        [qualifier, column] if quoted(qualifier) == table => Ok(column.clone()),
        _ => Err(QueryError::Syntax {
            message: format!("{name} is no column of {table}, the table that is changed"),
            place: None,
        }),
    }
}

pub(crate) fn ident(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Batches of a stream, one after the other, on this thread, until nobody waits for them.
pub(crate) fn batches(
    mut stream: QueryStream,
    handle: Handle,
    mut stop: Stop,
) -> impl Iterator<Item = Result<RecordBatch>> {
    std::iter::from_fn(move || {
        handle.block_on(async {
            tokio::select! {
                biased;
                () = stop.asked() => Some(Err(QueryError::Cancelled)),
                batch = stream.next() => batch,
            }
        })
    })
}

/// A statement at work, on a thread that may wait.
struct Work {
    session: Session,
    handle: Handle,
    shown: String,
    stop: Stop,
}

/// A table that a statement changes, under a name of its own while it does.
struct Target {
    session: Session,
    registered: String,
    relation: Arc<Relation>,
    /// What the statement calls it, quoted.
    alias: String,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.session.names().forget(&self.registered);
    }
}

impl Target {
    fn from(&self) -> String {
        format!("{} AS {}", quoted(&self.registered), self.alias)
    }

    fn places(&self) -> String {
        format!("{0}.{FILE_COLUMN} AS {FILE_COLUMN}, {0}.{ROW_COLUMN} AS {ROW_COLUMN}", self.alias)
    }
}

impl Work {
    fn target(&self, txn: &OptimisticTransaction, name: &str, alias: Option<&Ident>) -> Result<Target> {
        let relation = Arc::new(Relation::of_table(name, txn.snapshot().clone(), true)?);
        let shards = self.session.names().context().shards().clone();
        let provider = RelationProvider::new(relation.clone(), shards, crate::scan::Decode::default());
        let registered = format!("__target_{}", TARGETS.fetch_add(1, Ordering::Relaxed));
        self.session.names().register(&registered, Arc::new(provider));
        let own = self.session.names().split_schema(name).map_or(name, |(_, table)| table);
        let alias = alias.map_or_else(|| own.to_owned(), ident);
        Ok(Target { session: self.session.clone(), registered, relation, alias: quoted(&alias) })
    }

    fn plan(&self, sql: &str) -> Result<(Arc<dyn ExecutionPlan>, crate::Query)> {
        self.handle.block_on(async {
            let context = self.session.datafusion();
            let explain = |e| self.session.explain(e, &self.shown);
            let frame = context.sql(sql).await.map_err(explain)?;
            let plan = frame.create_physical_plan().await.map_err(explain)?;
            self.session.names().transaction().note(&plan);
            let query = crate::Query::plan(&self.shown, plan.clone(), context.task_ctx(), None);
            Ok((plan, query))
        })
    }

    fn table_of<'a>(&self, factor: &'a TableFactor) -> Result<(String, Option<&'a Ident>)> {
        match factor {
            TableFactor::Table { name, alias, .. } => {
                Ok((table_name(&self.session, name)?, alias.as_ref().map(|a| &a.name)))
            }
            other => Err(QueryError::NotSupported(format!("only a table can be changed, not {other}"))),
        }
    }

    /// Batches of a stream, one after the other, on this thread.
    fn batches(&self, stream: QueryStream) -> impl Iterator<Item = Result<RecordBatch>> + use<> {
        batches(stream, self.handle.clone(), self.stop.clone())
    }

    fn insert(&self, insert: &Insert) -> Result<RecordBatch> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(QueryError::NotSupported("only a table can be inserted into".to_owned()));
        };
        let Some(source) = &insert.source else {
            return Err(QueryError::NotSupported("INSERT needs VALUES or a query".to_owned()));
        };
        understood::insert(insert)?;
        let name = table_name(&self.session, name)?;
        let given: Vec<String> =
            insert.columns.iter().map(|column| column_name(column, &quoted(&name))).collect::<Result<_>>()?;
        let sql = source.to_string();
        let mode = if insert.overwrite { "Overwrite" } else { "Append" };
        change(&self.session, &name, &self.stop, "WRITE", ("mode", mode), |txn| {
            let columns = if given.is_empty() { own_columns(txn) } else { given.clone() };
            let (_, query) = self.plan(&sql)?;
            if query.schema().fields().len() != columns.len() {
                return Err(QueryError::Syntax {
                    message: format!(
                        "{} columns are given for the {} of {}: {}",
                        query.schema().fields().len(),
                        columns.len(),
                        if given.is_empty() { "the table" } else { "the list" },
                        columns.join(", ")
                    ),
                    place: None,
                });
            }
            if insert.overwrite {
                txn.read_whole_table();
                for file in txn.snapshot().clone().files(None)? {
                    txn.remove_file(&file)?;
                }
            }
            let types = txn.snapshot().schema().clone();
            let renamed = self.batches(query.into_stream()?).map(|batch| {
                let batch = batch.map_err(into_table)?;
                let fields = batch
                    .schema()
                    .fields()
                    .iter()
                    .zip(&columns)
                    .map(|(f, name)| Field::new(name, f.data_type().clone(), true))
                    .collect::<Vec<_>>();
                let named = RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec());
                let named = named.map_err(|source| TableError::Compute { what: "inserting rows", source })?;
                let all: Vec<usize> = (0..named.num_columns()).collect();
                assigned(&named, &all, &types)
            });
            count(txn.insert(renamed)?)
        })
    }

    fn delete(&self, delete: &Delete) -> Result<RecordBatch> {
        understood::delete(delete)?;
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [target] = from.as_slice() else {
            return Err(QueryError::NotSupported("DELETE takes rows of one table".to_owned()));
        };
        let (name, alias) = self.table_of(&target.relation)?;
        let Some(condition) = &delete.selection else {
            return change(&self.session, &name, &self.stop, "DELETE", ("predicate", "TRUE"), |txn| {
                count(txn.delete_where(None)?)
            });
        };
        let others: String = delete.using.iter().flatten().map(|table| format!(", {table}")).collect();
        let parameter = ("predicate", condition.to_string());
        let parameter = (parameter.0, parameter.1.as_str());
        change(&self.session, &name, &self.stop, "DELETE", parameter, |txn| {
            let target = self.target(txn, &name, alias)?;
            let sql = format!("SELECT {} FROM {}{others} WHERE {condition}", target.places(), target.from());
            let (plan, query) = self.plan(&sql)?;
            if let Some(predicate) = whole_condition(&plan, &target.relation) {
                drop(query);
                return count(txn.delete_where(Some(&predicate))?);
            }
            let mut places = Places::default();
            for batch in self.batches(query.into_stream()?) {
                places.add(&batch?, false, false)?;
            }
            let deleted = places.delete(txn, &target.relation)?;
            txn.read_whole_table();
            count(deleted)
        })
    }

    fn update(&self, update: &Update) -> Result<RecordBatch> {
        understood::update(update)?;
        let (name, alias) = self.table_of(&update.table.relation)?;
        let others: String = match &update.from {
            Some(UpdateTableFromKind::BeforeSet(tables) | UpdateTableFromKind::AfterSet(tables)) => {
                tables.iter().map(|table| format!(", {table}")).collect()
            }
            None => String::new(),
        };
        let condition = update.selection.as_ref().map_or_else(|| "TRUE".to_owned(), ToString::to_string);
        change(&self.session, &name, &self.stop, "UPDATE", ("predicate", &condition), |txn| {
            let target = self.target(txn, &name, alias)?;
            let columns = changed_columns(txn, &update.assignments, &target.alias)?;
            let columns: String =
                columns.iter().map(|(name, value)| format!(", {value} AS {}", quoted(name))).collect();
            let sql = format!(
                "SELECT {}{columns} FROM {}{others} WHERE {condition}",
                target.places(),
                target.from()
            );
            let (plan, query) = self.plan(&sql)?;
            match whole_condition(&plan, &target.relation) {
                Some(predicate) => txn.read_where(&predicate)?,
                None => txn.read_whole_table(),
            }
            let types = txn.snapshot().schema().clone();
            let (mut places, mut writer) = (Places::default(), txn.writer()?);
            for batch in self.batches(query.into_stream()?) {
                let batch = batch?;
                places.add(&batch, true, true)?;
                let becomes: Vec<usize> = (2..batch.num_columns()).collect();
                writer.write_changed(&assigned(&batch, &becomes, &types)?)?;
            }
            let rows = places.delete(txn, &target.relation)?;
            txn.add(writer)?;
            txn.count("numUpdatedRows", rows);
            count(rows)
        })
    }

    fn merge(&self, merge: &Merge) -> Result<RecordBatch> {
        understood::merge(merge)?;
        let (name, alias) = self.table_of(&merge.table)?;
        let source_alias = alias_of(&merge.source)?;
        if alias.map_or_else(|| quoted(&name), |alias| quoted(&ident(alias))) == source_alias {
            return Err(QueryError::NotSupported(format!(
                "target and source are both called {source_alias}; give one an alias"
            )));
        }
        let on = merge.on.to_string();
        change(&self.session, &name, &self.stop, "MERGE", ("predicate", &on), |txn| {
            let target = self.target(txn, &name, alias)?;
            let (sql, clauses) = merge_query(txn, &target, merge, &source_alias)?;
            let (_, query) = self.plan(&sql)?;
            txn.read_whole_table();
            let types = txn.snapshot().schema().clone();
            let (mut places, mut writer) = (Places::default(), txn.writer()?);
            for batch in self.batches(query.into_stream()?) {
                let batch = batch?;
                let applies = batch.column(2).as_primitive::<Int32Type>();
                for (number, clause) in (1..).zip(&clauses) {
                    let keep: BooleanArray = applies.iter().map(|n| Some(n == Some(number))).collect();
                    if keep.true_count() == 0 {
                        continue;
                    }
                    let rows = datafusion::arrow::compute::filter_record_batch(&batch, &keep)
                        .map_err(|e| QueryError::Engine(e.to_string()))?;
                    if clause.action != Action::Insert {
                        places.add(&rows, true, clause.action == Action::Update)?;
                    }
                    match clause.action {
                        Action::Delete => {}
                        Action::Update => writer.write_changed(&assigned(&rows, &clause.columns, &types)?)?,
                        Action::Insert => writer.write(&assigned(&rows, &clause.columns, &types)?)?,
                    }
                }
            }
            let gone = places.delete(txn, &target.relation)?;
            let added = txn.add(writer)?;
            txn.count("numTargetRowsUpdated", added.changed);
            txn.count("numTargetRowsDeleted", gone.saturating_sub(added.changed));
            txn.count("numTargetRowsInserted", added.new);
            count(gone + added.new)
        })
    }
}

/// Runs a statement on a transaction of a table and commits that, again while others' commits contradict it. Within a transaction of the
/// session it is run once, and committed with that.
pub(crate) fn change<T>(
    session: &Session,
    name: &str,
    stop: &Stop,
    operation: &str,
    parameter: (&str, &str),
    mut attempt: impl FnMut(&mut OptimisticTransaction) -> Result<T>,
) -> Result<T> {
    if let Some(mut writing) = session.names().write(name)? {
        let result = attempt(writing.txn()?)?;
        stop.check()?;
        writing.done()?;
        return Ok(result);
    }
    let table = session.names().open_table(name)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut once = || {
            let mut txn = table.begin()?;
            let result = attempt(&mut txn)?;
            stop.check()?;
            txn.commit(operation, [parameter])?;
            Ok(result)
        };
        match once() {
            Err(QueryError::Table(TableError::Conflict(conflict)))
                if conflict.remedy == Remedy::RunAgain && attempts < ATTEMPTS_MAX => {}
            result => return result,
        }
    }
}

pub(crate) fn into_table(error: QueryError) -> TableError {
    match error {
        QueryError::Table(error) => error,
        other => TableError::Invalid { what: "computing rows", detail: other.to_string() },
    }
}

/// Some columns' values as a statement assigns them to columns of the table: rounded to a decimal's digits, cut to a time's precision. What would not fit at all, and
/// fractions of whole numbers, are for the table to refuse.
fn assigned(rows: &RecordBatch, columns: &[usize], table: &Schema) -> Result<RecordBatch, TableError> {
    use DataType::{Date32, Date64, Decimal128, Float16, Float32, Float64, Timestamp};
    let wrong = |source| TableError::Compute { what: "assigning values to columns", source };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let given = rows.schema();
    let columns = columns.iter().map(|at| (&given.fields()[*at], rows.column(*at))).map(|(field, array)| {
        let Ok(column) = table.field_with_name(field.name()) else {
            return Ok((field.clone(), array.clone()));
        };
        let (from, to) = (field.data_type(), column.data_type());
        let rounds = matches!(
            (from, to),
            (Float16 | Float32 | Float64 | Decimal128(..), Decimal128(..))
                | (Float64, Float32 | Float16)
                | (Float32, Float16)
                | (Timestamp(..), Timestamp(..) | Date32 | Date64)
        );
        if !rounds || from == to {
            return Ok((field.clone(), array.clone()));
        }
        let field = Field::new(field.name(), to.clone(), true);
        Ok((Arc::new(field), cast_with_options(array, to, &options)?))
    });
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) =
        columns.collect::<Result<Vec<_>, _>>().map_err(wrong)?.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(wrong)
}

/// Columns that rows bring: all that are not generated.
fn own_columns(txn: &OptimisticTransaction) -> Vec<String> {
    let fields = txn.snapshot().schema().fields().iter();
    fields
        .filter(|f| {
            !f.metadata().contains_key(GENERATION_EXPRESSION)
                && !f.metadata().keys().any(|key| key.contains("delta.identity."))
        })
        .map(|f| f.name().clone())
        .collect()
}

fn alias_of(factor: &TableFactor) -> Result<String> {
    match factor {
        TableFactor::Table { name, alias: None, .. } => {
            Ok(quoted(parts_of(name).last().map_or("", String::as_str)))
        }
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Ok(quoted(&ident(&alias.name)))
        }
        other => Err(QueryError::NotSupported(format!("give the source an alias: {other} AS s"))),
    }
}

/// What each column of a row becomes, in the table's order; generated columns that are not set are left out.
fn changed_columns(
    txn: &OptimisticTransaction,
    assignments: &[Assignment],
    alias: &str,
) -> Result<Vec<(String, String)>> {
    let snapshot = txn.snapshot();
    let mut set: HashMap<String, &Expr> = HashMap::new();
    for assignment in assignments {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(QueryError::NotSupported("set columns one by one".to_owned()));
        };
        let name = column_name(name, alias)?;
        snapshot.table_schema().column(&name)?;
        if set.insert(name.clone(), &assignment.value).is_some() {
            return Err(QueryError::Syntax { message: format!("column {name:?} is set twice"), place: None });
        }
    }
    let fields = snapshot.schema().fields().iter();
    Ok(fields
        .filter_map(|field| match set.get(field.name()) {
            Some(value) => Some((field.name().clone(), format!("({value})"))),
            None if field.metadata().contains_key(GENERATION_EXPRESSION) => None,
            None => Some((field.name().clone(), format!("{alias}.{}", quoted(field.name())))),
        })
        .collect())
}

/// Rows by file.
#[derive(Default)]
struct Places(HashMap<u32, Taken>);

/// Rows of a file that go, and those of them that are changed.
#[derive(Debug, Default)]
struct Taken {
    rows: Rows,
    changed: Rows,
}

impl Places {
    /// Takes in the places of rows, which are the first two columns.
    fn add(&mut self, batch: &RecordBatch, once: bool, changed: bool) -> Result<()> {
        let files = batch.column(0).as_primitive::<UInt32Type>();
        let rows = batch.column(1).as_primitive::<UInt64Type>();
        for at in 0..batch.num_rows() {
            let taken = self.0.entry(files.value(at)).or_default();
            let new = taken.rows.insert(rows.value(at));
            if changed {
                taken.changed.insert(rows.value(at));
            }
            if once && !new {
                return Err(QueryError::NotSupported(
                    "a row of the table matches several rows of the source, and it is not clear which of them it becomes; make \
                     the source's rows unique"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn delete(&self, txn: &mut OptimisticTransaction, relation: &Relation) -> Result<u64> {
        let Some((_, files)) = relation.table() else { return Ok(0) };
        let mut deleted = 0;
        for (file, Taken { rows, changed }) in &self.0 {
            let file = &files[*file as usize];
            txn.read_rows(&file.add.path, rows);
            deleted += txn.take_rows(file, rows, changed)?;
        }
        Ok(deleted)
    }
}

/// The condition of a plan that is nothing but a scan of a relation with it.
fn whole_condition(plan: &Arc<dyn ExecutionPlan>, relation: &Arc<Relation>) -> Option<Predicate> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        return scan.data_source().downcast_ref::<FilesSource>()?.condition_over(relation);
    }
    let passes = ["ProjectionExec", "CoalescePartitionsExec", "CoalesceBatchesExec", "CooperativeExec"];
    match plan.children().as_slice() {
        [only] if passes.contains(&plan.name()) => whole_condition(only, relation),
        _ => None,
    }
}

/// What a clause of a MERGE does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Update,
    Delete,
    Insert,
}

/// A clause of a MERGE, and the columns of the query that it gives values to: columns that it leaves out are the table's to fill.
#[derive(Debug)]
struct Clause {
    action: Action,
    columns: Vec<usize>,
}

/// The query that yields, for each row that a MERGE looks at, where it is, which clause applies, and what it becomes.
fn merge_query(
    txn: &OptimisticTransaction,
    target: &Target,
    merge: &Merge,
    source: &str,
) -> Result<(String, Vec<Clause>)> {
    const PRESENT: &str = "__present";
    let t = &target.alias;
    let in_target = format!("{t}.{ROW_COLUMN} IS NOT NULL");
    let in_source = format!("{source}.{PRESENT} IS NOT NULL");
    let own = own_columns(txn);
    let all: Vec<String> = txn.snapshot().schema().fields().iter().map(|f| f.name().clone()).collect();
    let (mut conditions, mut actions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut inserts, mut unmatched) = (false, false);
    for MergeClause { clause_kind, predicate, action, .. } in &merge.clauses {
        let also = predicate.as_ref().map_or(String::new(), |p| format!(" AND ({p})"));
        conditions.push(match clause_kind {
            MergeClauseKind::Matched => format!("{in_target} AND {in_source}{also}"),
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => {
                inserts = true;
                format!("{t}.{ROW_COLUMN} IS NULL{also}")
            }
            MergeClauseKind::NotMatchedBySource => {
                unmatched = true;
                format!("{source}.{PRESENT} IS NULL{also}")
            }
        });
        let mut becomes: HashMap<String, String> = HashMap::new();
        actions.push(match action {
            MergeAction::Delete { .. } => Action::Delete,
            MergeAction::Update(update) => {
                becomes.extend(changed_columns(txn, &update.assignments, t)?);
                Action::Update
            }
            MergeAction::Insert(insert) => {
                let columns: Vec<String> = if insert.columns.is_empty() {
                    own.clone()
                } else {
                    insert.columns.iter().map(|column| column_name(column, t)).collect::<Result<_>>()?
                };
                let row: Vec<String> = match &insert.kind {
                    MergeInsertKind::Row => {
                        columns.iter().map(|name| format!("{source}.{}", quoted(name))).collect()
                    }
                    MergeInsertKind::Values(rows) => match rows.rows.as_slice() {
                        [row] => row.iter().map(|value| format!("({value})")).collect(),
                        _ => {
                            return Err(QueryError::NotSupported(
                                "INSERT in a MERGE adds one row".to_owned(),
                            ));
                        }
                    },
                };
                if row.len() != columns.len() {
                    let message = format!("{} values are given for {} columns", row.len(), columns.len());
                    return Err(QueryError::Syntax { message, place: None });
                }
                for (name, value) in columns.into_iter().zip(row) {
                    txn.snapshot().table_schema().column(&name)?;
                    if let Some(value) = becomes.insert(name, value) {
                        let message = format!("the column of {value} is given twice");
                        return Err(QueryError::Syntax { message, place: None });
                    }
                }
                Action::Insert
            }
        });
        values.push(becomes);
    }
    let cases: String =
        conditions.iter().enumerate().map(|(n, c)| format!(" WHEN {c} THEN {}", n + 1)).collect();
    let mut columns = String::new();
    let named: Vec<&String> =
        all.iter().filter(|name| values.iter().any(|v| v.contains_key(*name))).collect();
    for name in &named {
        let cases: String = conditions
            .iter()
            .zip(&values)
            .map(|(c, v)| format!(" WHEN {c} THEN {}", v.get(*name).map_or("NULL", String::as_str)))
            .collect();
        columns.push_str(&format!(", CASE{cases} END AS {}", quoted(name)));
    }
    let join = match (inserts, unmatched) {
        (true, true) => "FULL JOIN",
        (true, false) => "RIGHT JOIN",
        (false, true) => "LEFT JOIN",
        (false, false) => "INNER JOIN",
    };
    let from = match &merge.source {
        TableFactor::Table { name, .. } => name.to_string(),
        TableFactor::Derived { subquery, alias, .. } => {
            let names = alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.to_string());
            let names: Vec<String> = names.collect();
            let columns = if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) };
            format!("({subquery}) AS {source}{columns}")
        }
        other => return Err(QueryError::NotSupported(format!("a MERGE from {other}"))),
    };
    let sql = format!(
        "SELECT {places}, CAST(CASE{cases} ELSE 0 END AS INT) AS __action{columns} FROM {target} {join} \
         (SELECT *, TRUE AS {PRESENT} FROM {from}) AS {source} ON {on}",
        places = target.places(),
        target = target.from(),
        on = merge.on,
    );
    // After where a row is, and which clause applies.
    let columns_of = |values: &HashMap<String, String>| -> Vec<usize> {
        named.iter().zip(3..).filter(|(name, _)| values.contains_key(**name)).map(|(_, at)| at).collect()
    };
    let clauses = actions.into_iter().zip(&values);
    let clauses = clauses.map(|(action, values)| Clause { action, columns: columns_of(values) });
    Ok((sql, clauses.collect()))
}
