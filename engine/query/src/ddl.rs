//! Statements about tables: making, changing, dropping, maintaining, describing them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::TableType;
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ColumnDef, ColumnOption, CreateTable, CreateTableLikeKind,
    Expr, Ident, IndexColumn, MySQLColumnPosition, ObjectName, ObjectType, Query as SqlQuery, SetExpr,
    SqlOption, Statement, TableConstraint, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use deltalite_format::predicate::Predicate;
use deltalite_table::log::LOG_FOLDER;
use deltalite_table::schema::change::Position;
use deltalite_table::schema::{
    CONSTRAINT_PREFIX, CURRENT_DEFAULT, GENERATION_EXPRESSION, IDENTITY_START, IDENTITY_STEP,
};
use deltalite_table::table::TableSnapshot;
use deltalite_table::table::alter::Change;
use deltalite_table::{DeltaLiteTable, OptimisticTransaction, Version};

use crate::cancel;
use crate::delta::export::Export;
use crate::delta::import::Import;
use crate::dml::{batches, blocking, change, count, ident, into_table, table_name};
use crate::error::{QueryError, Result};
use crate::pushdown::predicate_of;
use crate::query::Query;
use crate::session::Session;
use crate::statement::{Own, quoted, tokens};
use crate::understood;

fn table_of_columns<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    RecordBatch::try_from_iter(columns).map_err(|e| QueryError::Engine(e.to_string()))
}

fn text(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

/// Runs a statement that DataFusion does not have.
///
/// # Errors
/// When a name stands for nothing, or the table refuses.
pub(crate) async fn run_own(session: &Session, own: Own) -> Result<RecordBatch> {
    if let Own::Summarize { table } = &own {
        return summarize(session, table).await;
    }
    if session.in_transaction()
        && matches!(own, Own::Optimize { .. } | Own::Vacuum { .. } | Own::Restore { .. } | Own::Import { .. })
    {
        return Err(QueryError::NotSupported(
            "OPTIMIZE, VACUUM, RESTORE and IMPORT are transactions of their own; COMMIT or ROLLBACK this one first"
                .to_owned(),
        ));
    }
    let condition = match &own {
        Own::Optimize { table, condition: Some(condition), .. } => {
            Some(condition_on(session, table, condition)?)
        }
        _ => None,
    };
    let session = session.clone();
    let handle = tokio::runtime::Handle::current();
    let (_waiting, stop) = cancel::pair();
    let interrupt = stop.interrupt(&handle);
    blocking(move || {
        let open = |name: &str| session.names().open_table(name);
        match own {
            Own::Optimize { table, curve, .. } => {
                let mut optimize = open(&table)?.optimize().interrupt(interrupt);
                if let Some(condition) = condition {
                    optimize = optimize.filter(condition);
                }
                optimize = match curve {
                    None => optimize,
                    Some((false, columns)) => optimize.zorder_by(columns),
                    Some((true, columns)) => optimize.hilbert_by(columns),
                };
                let done = optimize.execute()?;
                let number = |name: &str| Arc::new(UInt64Array::from(vec![done.metric(name)])) as ArrayRef;
                table_of_columns([
                    ("version", Arc::new(UInt64Array::from(vec![done.version.0])) as ArrayRef),
                    ("files_added", number("numFiles")),
                    ("files_removed", number("numRemovedFiles")),
                    ("rows", number("numOutputRows")),
                ])
            }
            Own::Vacuum { table, hours, versions, dry_run } => {
                let mut vacuum = open(&table)?.vacuum().interrupt(interrupt);
                if let Some(hours) = hours {
                    vacuum = vacuum.retain_for(Duration::from_secs(hours.saturating_mul(3600)));
                }
                if let Some(versions) = versions {
                    vacuum = vacuum.retain_for(Duration::ZERO).retain_versions(versions);
                }
                if dry_run {
                    vacuum = vacuum.dry_run();
                }
                let report = vacuum.execute()?;
                table_of_columns([
                    ("first_version_kept", Arc::new(UInt64Array::from(vec![report.horizon.0])) as ArrayRef),
                    ("files", Arc::new(UInt64Array::from(vec![report.files.len() as u64])) as ArrayRef),
                    ("bytes", Arc::new(UInt64Array::from(vec![report.bytes])) as ArrayRef),
                ])
            }
            Own::Restore { table, to } => {
                let table = open(&table)?;
                let (kind, number) = to.split_at(1);
                let number: i64 = number.parse().unwrap_or(0);
                let version = match kind {
                    "v" => Version(number as u64),
                    _ => table.at_timestamp(number)?.version(),
                };
                let done = table.restore(version)?;
                table_of_columns([("version", Arc::new(UInt64Array::from(vec![done.version.0])) as ArrayRef)])
            }
            Own::Verify { table, rows } => {
                let report = open(&table)?.verify_until(rows, &interrupt)?;
                let mut lines: Vec<Option<String>> =
                    report.problems.iter().map(|p| Some(format!("{p} [{}]", p.code()))).collect();
                if lines.is_empty() {
                    let versions = report
                        .versions
                        .map_or(String::new(), |(first, last)| format!("versions {first} to {last}, "));
                    lines.push(Some(format!(
                        "intact: {versions}{} checkpoint(s), {} file(s)",
                        report.checkpoints, report.files
                    )));
                }
                table_of_columns([("result", text(lines))])
            }
            Own::History { table, limit } => history(&open(&table)?, limit),
            Own::Detail { table } => detail(&open(&table)?),
            Own::Summarize { .. } => count(0),
            Own::Export { table, version, to } => {
                let mut table = open(&table)?;
                if let Some(version) = version {
                    table = table.at_version(Version(version))?;
                }
                let snapshot = table.snapshot();
                let mut export = Export::new(Path::new(&to), snapshot.schema())?;
                for batch in snapshot.scan().execute()? {
                    export.write(&batch?)?;
                }
                count(export.finish(snapshot.log().metadata().name.as_deref())?)
            }
            Own::Import { from, table } => {
                let import = Import { session: session.clone(), handle, stop };
                import.run(&from, &table)
            }
        }
    })
    .await
}

fn history(table: &DeltaLiteTable, limit: usize) -> Result<RecordBatch> {
    let entries = table.history(limit)?;
    let versions = UInt64Array::from_iter_values(entries.iter().map(|e| e.version.0));
    let times = TimestampMillisecondArray::from_iter_values(entries.iter().map(|e| e.timestamp));
    let json = |map: Option<&deltalite_table::log::action::StringMap>| {
        map.map(|map| {
            let pairs =
                map.iter().map(|(k, v)| (k.to_owned(), v.map_or(serde_json::Value::Null, Into::into)));
            serde_json::Value::Object(pairs.collect()).to_string()
        })
    };
    table_of_columns([
        ("version", Arc::new(versions) as ArrayRef),
        ("timestamp", Arc::new(times.with_timezone("UTC")) as ArrayRef),
        ("operation", text(entries.iter().map(|e| Some(e.info.operation.clone())))),
        ("parameters", text(entries.iter().map(|e| json(Some(&e.info.operation_parameters))))),
        ("metrics", text(entries.iter().map(|e| json(e.info.operation_metrics.as_ref())))),
        ("isolation", text(entries.iter().map(|e| e.info.isolation_level.clone()))),
        ("user_metadata", text(entries.iter().map(|e| e.info.user_metadata.clone()))),
    ])
}

fn detail(table: &DeltaLiteTable) -> Result<RecordBatch> {
    let snapshot = table.snapshot();
    let log = snapshot.log();
    let metadata = log.metadata();
    let number = |n: u64| Arc::new(UInt64Array::from(vec![n])) as ArrayRef;
    let properties = metadata.configuration.iter().map(|(k, v)| format!("{k}={}", v.unwrap_or_default()));
    table_of_columns([
        ("name", text([metadata.name.clone()])),
        ("comment", text([metadata.description.clone()])),
        ("location", text([Some(table.path().display().to_string())])),
        ("version", number(snapshot.version().0)),
        ("files", number(log.files().len() as u64)),
        ("bytes", number(log.files().size_in_bytes())),
        ("rows", Arc::new(UInt64Array::from(vec![snapshot.count_rows()?])) as ArrayRef),
        ("partitioning", text([Some(snapshot.partitioning().to_string())])),
        ("properties", text([Some(properties.collect::<Vec<_>>().join(", "))])),
    ])
}

/// One row a column: type, how many values, the least and the greatest.
async fn summarize(session: &Session, table: &str) -> Result<RecordBatch> {
    let names = session.column_names(table).await;
    if names.is_empty() {
        let known = session.table_names();
        return Err(QueryError::name(format!("no table {table:?}"), table, &known, table));
    }
    let from = session.names().quoted(table);
    let each = names.iter().enumerate().map(|(at, name)| {
        let column = quoted(name);
        let label = name.replace('\'', "''");
        format!(
            "SELECT {at} AS n, '{label}' AS column_name, arrow_typeof((SELECT {column} FROM {from} LIMIT 1)) AS type, \
             count(*) AS rows, count(*) - count({column}) AS nulls, CAST(min({column}) AS VARCHAR) AS min, \
             CAST(max({column}) AS VARCHAR) AS max FROM {from}"
        )
    });
    let union = each.collect::<Vec<_>>().join(" UNION ALL ");
    let sql = format!("SELECT column_name, type, rows, nulls, min, max FROM ({union}) ORDER BY n");
    let query = session.plan(&sql, &sql).await?;
    let schema = query.schema().clone();
    let batches = query.collect().await?;
    datafusion::arrow::compute::concat_batches(&schema, &batches)
        .map_err(|e| QueryError::Engine(e.to_string()))
}

/// A condition on a table's columns, as scans evaluate it.
fn condition_on(session: &Session, table: &str, condition: &str) -> Result<Predicate> {
    let schema = session.names().open_table(table)?.schema();
    let explain = |e| QueryError::of(e, condition);
    let fields = datafusion::common::DFSchema::try_from(schema.as_ref().clone()).map_err(explain)?;
    let context = session.datafusion();
    let logical = context.parse_sql_expr(condition, &fields).map_err(explain)?;
    let physical = context.create_physical_expr(logical, &fields).map_err(explain)?;
    predicate_of(&physical).ok_or_else(|| {
        QueryError::NotSupported(format!(
            "{condition}: compare columns with literals, joined by AND, OR and NOT"
        ))
    })
}

/// The text without `PARTITIONED BY (…)`, and what stands in the parentheses.
fn without_partitioning(sql: &str) -> Result<(String, Vec<String>)> {
    let mut found = tokens(sql)?;
    found.retain(|(token, _)| !matches!(token, Token::Whitespace(_) | Token::EOF));
    let is = |at: usize, word: &str| matches!(found.get(at), Some((Token::Word(w), _)) if w.value.eq_ignore_ascii_case(word));
    let start = (0..found.len()).find(|at| {
        is(*at, "PARTITIONED") && is(at + 1, "BY") && matches!(found.get(at + 2), Some((Token::LParen, _)))
    });
    let Some(start) = start else { return Ok((sql.to_owned(), Vec::new())) };
    let (mut depth, mut fields, mut from) = (1, Vec::new(), found[start + 2].1.end);
    for (token, at) in &found[start + 3..] {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 1 => {
                fields.push(sql[from..at.start].trim().to_owned());
                from = at.end;
            }
            _ => {}
        }
        if depth == 0 {
            fields.push(sql[from..at.start].trim().to_owned());
            let rest = format!("{} {}", &sql[..found[start].1.start], &sql[at.end..]);
            let plain = |f: String| f.trim_matches('"').to_owned();
            return Ok((rest, fields.into_iter().map(plain).collect()));
        }
    }
    let message = "the parenthesis after PARTITIONED BY is not closed".to_owned();
    Err(QueryError::Syntax { message, place: Some(found[start].1.clone()) })
}

/// Runs `CREATE TABLE`; `None` for anything else, for external and for temporary tables.
///
/// # Errors
/// When the columns can't be, or there is a table already.
pub(crate) async fn create(session: &Session, sql: &str, shown: &str) -> Result<Option<RecordBatch>> {
    let head: String = sql.trim_start().chars().take(6).collect();
    if !head.eq_ignore_ascii_case("CREATE") {
        return Ok(None);
    }
    let (sql, partition_by) = without_partitioning(sql)?;
    let Ok(mut statements) = Parser::parse_sql(&GenericDialect {}, &sql) else { return Ok(None) };
    let Some(Statement::CreateTable(create)) = statements.pop() else { return Ok(None) };
    if create.external || create.temporary || !statements.is_empty() {
        return Ok(None);
    }
    create_table(session, create, partition_by, shown).await.map(Some)
}

/// `SELECT … INTO t`, as `CREATE TABLE t AS SELECT …`; `None` for any other query.
///
/// # Errors
/// As [`create`].
pub(crate) async fn select_into(
    session: &Session,
    query: &SqlQuery,
    shown: &str,
) -> Result<Option<RecordBatch>> {
    if !matches!(query.body.as_ref(), SetExpr::Select(select) if select.into.is_some()) {
        return Ok(None);
    }
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else { return Ok(None) };
    let Some(into) = select.into.take() else { return Ok(None) };
    if into.temporary || into.unlogged {
        return Err(QueryError::NotSupported(format!("{into}: a table is kept until it is dropped")));
    }
    let create = CreateTableBuilder::new(into.name).query(Some(Box::new(query))).build();
    create_table(session, create, Vec::new(), shown).await.map(Some)
}

async fn create_table(
    session: &Session,
    create: CreateTable,
    partition_by: Vec<String>,
    shown: &str,
) -> Result<RecordBatch> {
    understood::create(&create)?;
    if create.or_replace && create.if_not_exists {
        return Err(QueryError::NotSupported(
            "OR REPLACE and IF NOT EXISTS contradict each other".to_owned(),
        ));
    }
    let names = session.names();
    let name = table_name(session, &create.name)?;
    let path: PathBuf = match &create.location {
        Some(location) => location.into(),
        None => names.path_of(&name)?,
    };
    let place = path.to_string_lossy().into_owned();
    let there = (create.if_not_exists || create.or_replace)
        && path.join(LOG_FOLDER).is_dir()
        && (names.transaction().has(&path)
            || DeltaLiteTable::open(&path).context(names.context()).execute().is_ok());
    if there && create.if_not_exists {
        return count(0);
    }
    if let Some(source) = &create.clone {
        if session.in_transaction() {
            return Err(QueryError::NotSupported(
                "CREATE TABLE … CLONE is a transaction of its own; COMMIT or ROLLBACK this one first"
                    .to_owned(),
            ));
        }
        let (session, source) = (session.clone(), table_name(session, source)?);
        return blocking(move || {
            session.names().open_table(&source)?.shallow_clone(&path)?;
            count(0)
        })
        .await;
    }
    let mut planned = None;
    let schema = match (&create.query, &create.like) {
        (Some(_), _) if create.columns.is_empty() => {
            planned.insert(rows_of(session, &create, shown).await?).schema().clone()
        }
        (None, Some(CreateTableLikeKind::Plain(like) | CreateTableLikeKind::Parenthesized(like))) => {
            names.open_table(&table_name(session, &like.name)?)?.schema()
        }
        _ => columns(session, &create.columns, shown).await?,
    };
    let keys = keys(&create)?;
    let schema = with_key_not_null(&schema, &keys);
    let mut new = DeltaLiteTable::create(&path, &schema).context(names.context()).partition_by(partition_by);
    for (name, condition) in checks(&create) {
        new = new.constraint(name, condition);
    }
    for key in keys {
        new = new.key(key.columns);
    }
    for option in understood::properties(&create) {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(QueryError::NotSupported(format!("the option {option} of a new table")));
        };
        new = new.property(&key.value, literal(value));
    }
    if let Some(comment) = understood::comment(&create) {
        new = new.comment(comment);
    }
    if create.if_not_exists {
        new = new.if_not_exists();
    }
    // What replaces a table may read it, and is planned on the version that it replaces.
    let replaces = there && create.or_replace;
    let mut planned = planned.filter(|_| !replaces);
    let (session, shown) = (session.clone(), shown.to_owned());
    let handle = tokio::runtime::Handle::current();
    let (_waiting, stop) = cancel::pair();
    blocking(move || {
        let mut insert = |txn: &mut OptimisticTransaction| -> Result<u64> {
            if create.query.is_none() {
                return Ok(0);
            }
            let rows = match planned.take() {
                Some(rows) => rows,
                None => handle.block_on(rows_of(&session, &create, &shown))?,
            };
            let rows = batches(rows.into_stream()?, handle.clone(), stop.clone())
                .map(|batch| batch.map_err(into_table));
            Ok(txn.insert(rows)?)
        };
        if replaces {
            let operation = "CREATE OR REPLACE TABLE";
            return change(&session, &place, &stop, operation, ("path", &place), |txn| {
                txn.replace_table(&new)?;
                count(insert(txn)?)
            });
        }
        if create.query.is_none() && !session.in_transaction() {
            new.execute()?;
            return count(0);
        }
        // Until it is committed there is no table, and if it is not, nothing is left.
        let mut txn = new.begin()?;
        let rows = insert(&mut txn)?;
        stop.check()?;
        if session.in_transaction() {
            session.names().transaction().made(txn)?;
        } else {
            txn.commit("CREATE TABLE AS SELECT", [])?;
        }
        count(rows)
    })
    .await
}

/// The rows of `CREATE TABLE … AS`, with the columns' names and types if they are given.
async fn rows_of(session: &Session, create: &CreateTable, shown: &str) -> Result<Query> {
    // Planning looks for a table of that name.
    let name = ObjectName::from(vec![Ident::new("__new_table")]);
    let rows = CreateTableBuilder::new(name)
        .columns(create.columns.iter().map(|def| ColumnDef { options: Vec::new(), ..def.clone() }).collect())
        .query(create.query.clone())
        .build();
    session.plan_rows_of(&rows.to_string(), shown).await
}

/// Columns of a primary key are not null.
fn with_key_not_null(schema: &SchemaRef, keys: &[Key]) -> SchemaRef {
    let primary = |name: &String| keys.iter().any(|key| key.primary && key.columns.contains(name));
    let fields = schema.fields().iter().map(|field| {
        let nullable = field.is_nullable() && !primary(field.name());
        field.as_ref().clone().with_nullable(nullable)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

async fn columns(session: &Session, defs: &[ColumnDef], shown: &str) -> Result<SchemaRef> {
    if defs.is_empty() {
        return Err(QueryError::Syntax {
            message: "a table needs columns, or a query after AS".to_owned(),
            place: None,
        });
    }
    let casts = defs.iter().enumerate().map(|(at, def)| format!("CAST(NULL AS {}) AS c{at}", def.data_type));
    let plan = session.plan(&format!("SELECT {}", casts.collect::<Vec<_>>().join(", ")), shown).await?;
    let types = plan.schema().fields().iter().map(|f| f.data_type().clone());
    let fields =
        defs.iter().zip(types).map(|(def, data_type)| field(def, data_type)).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn field(def: &ColumnDef, data_type: DataType) -> Result<Field> {
    let mut metadata = std::collections::HashMap::new();
    let mut nullable = true;
    for option in &def.options {
        match &option.option {
            ColumnOption::Null | ColumnOption::Check(_) | ColumnOption::Unique(_) => {}
            ColumnOption::NotNull | ColumnOption::PrimaryKey(_) => nullable = false,
            ColumnOption::Default(value) => {
                drop(metadata.insert(CURRENT_DEFAULT.to_owned(), value.to_string()));
            }
            ColumnOption::Comment(comment) => drop(metadata.insert("comment".to_owned(), comment.clone())),
            ColumnOption::Generated { generation_expr: Some(expr), .. } => {
                metadata.insert(GENERATION_EXPRESSION.to_owned(), expr.to_string());
            }
            ColumnOption::Generated { generation_expr: None, .. } | ColumnOption::Identity(_) => {
                metadata.insert(format!("json:{IDENTITY_START}"), "1".to_owned());
                metadata.insert(format!("json:{IDENTITY_STEP}"), "1".to_owned());
            }
            other => {
                return Err(QueryError::NotSupported(format!("column {}: {other}", def.name)));
            }
        }
    }
    Ok(Field::new(ident(&def.name), data_type, nullable).with_metadata(metadata))
}

/// Conditions that all rows fulfil, by name.
fn checks(create: &CreateTable) -> Vec<(String, String)> {
    let of_table = create.constraints.iter().filter_map(|constraint| match constraint {
        TableConstraint::Check(check) => Some((check.name.as_ref().map(ident), check.expr.to_string())),
        _ => None,
    });
    let of_columns = create.columns.iter().flat_map(|column| {
        column.options.iter().filter_map(|option| match &option.option {
            ColumnOption::Check(check) => {
                let name = option.name.as_ref().or(check.name.as_ref());
                Some((name.map(ident), check.expr.to_string()))
            }
            _ => None,
        })
    });
    let all = of_table.chain(of_columns).enumerate();
    all.map(|(at, (name, sql))| (name.unwrap_or_else(|| format!("check_{at}")), sql)).collect()
}

/// A `PRIMARY KEY` or `UNIQUE`.
struct Key {
    primary: bool,
    columns: Vec<String>,
}

/// The keys of a new table, each once.
fn keys(create: &CreateTable) -> Result<Vec<Key>> {
    let mut keys: Vec<Key> = Vec::new();
    let mut add =
        |primary: bool, columns: Vec<String>| match keys.iter_mut().find(|key| key.columns == columns) {
            Some(known) => known.primary |= primary,
            None => keys.push(Key { primary, columns }),
        };
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::PrimaryKey(key) => add(true, key_columns(&key.columns)),
            TableConstraint::Unique(key) => add(false, key_columns(&key.columns)),
            TableConstraint::Check(_) => {}
            other => return Err(QueryError::NotSupported(format!("the constraint {other}"))),
        }
    }
    for def in &create.columns {
        for option in &def.options {
            match &option.option {
                ColumnOption::PrimaryKey(_) => add(true, vec![ident(&def.name)]),
                ColumnOption::Unique(_) => add(false, vec![ident(&def.name)]),
                _ => {}
            }
        }
    }
    if keys.iter().filter(|key| key.primary).count() > 1 {
        return Err(QueryError::NotSupported(
            "more than one PRIMARY KEY: a table has one, and as many UNIQUE as are wanted".to_owned(),
        ));
    }
    Ok(keys)
}

/// The primary key of a table: its only key, or the only one whose columns have no nulls.
fn primary_key(table: &TableSnapshot) -> Result<Vec<String>> {
    let schema = table.schema();
    let required = |name: &String| schema.field_with_name(name).is_ok_and(|field| !field.is_nullable());
    let mut keys = table.keys()?;
    if keys.len() > 1 {
        keys.retain(|key| key.iter().all(required));
    }
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (None, _) => Err(QueryError::NotSupported("the table has no PRIMARY KEY".to_owned())),
        (Some(key), false) => Err(QueryError::NotSupported(format!(
            "several keys of the table have no nulls; DROP CONSTRAINT {} drops one of them",
            key_name(&key)
        ))),
    }
}

/// What a key is called where it is dropped.
fn key_name(columns: &[String]) -> String {
    format!("{}_key", columns.join("_"))
}

/// What drops a constraint: a condition, or a key by its name.
fn dropped_constraint(table: &TableSnapshot, name: String) -> Result<Change> {
    let condition = table.property(&format!("{CONSTRAINT_PREFIX}{name}")).is_some();
    let key = table.keys()?.into_iter().find(|key| !condition && key_name(key) == name);
    Ok(key.map_or(Change::DropConstraint(name), Change::DropKey))
}

fn key_columns(columns: &[IndexColumn]) -> Vec<String> {
    columns.iter().map(|c| unquoted(&c.column.expr.to_string())).collect()
}

fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
        Some(quoted) => quoted.to_owned(),
        None => name.to_lowercase(),
    }
}

/// Runs a parsed statement about tables; `None` for any other.
///
/// # Errors
/// When a name stands for nothing, or the table refuses.
pub(crate) async fn run_statement(
    session: &Session,
    statement: Statement,
    shown: &str,
) -> Result<Option<RecordBatch>> {
    match statement {
        Statement::Truncate(truncate) => {
            understood::truncate(&truncate)?;
            let mut rows = 0;
            for target in &truncate.table_names {
                let (session, name) = (session.clone(), table_name(session, &target.name)?);
                let (_waiting, stop) = cancel::pair();
                let delete = move || {
                    change(&session, &name, &stop, "TRUNCATE", ("predicate", "TRUE"), |txn| {
                        Ok(txn.delete_where(None)?)
                    })
                };
                rows += blocking(delete).await?;
            }
            count(rows).map(Some)
        }
        Statement::Drop { object_type: ObjectType::Table, names, if_exists, .. } => {
            for name in &names {
                let name = table_name(session, name)?;
                if let Some(known) = session.names().registered(&name) {
                    if known.table_type() == TableType::View {
                        return Err(QueryError::NotSupported(format!("{name} is a view: DROP VIEW {name}")));
                    }
                    session.names().forget(&name);
                    continue;
                }
                let session = session.clone();
                let drop_it = move || {
                    let names = session.names();
                    let dropped = if session.in_transaction() {
                        names.transaction().drop_table(&names.path_of(&name)?, || names.open_table(&name))
                    } else {
                        names.open_table(&name).and_then(|table| Ok(table.drop_table()?))
                    };
                    match dropped {
                        Err(QueryError::Name { .. }) if if_exists => Ok(()),
                        dropped => dropped,
                    }
                };
                blocking(drop_it).await?;
            }
            count(0).map(Some)
        }
        Statement::AlterTable(alter) => {
            let name = table_name(session, &alter.name)?;
            let mut changes = Vec::new();
            for operation in &alter.operations {
                changes.extend(changes_of(session, &name, operation, shown).await?);
            }
            let session = session.clone();
            let (_waiting, stop) = cancel::pair();
            blocking(move || {
                let operation = changes.first().map_or("ALTER TABLE", Change::operation);
                change(&session, &name, &stop, operation, ("changes", &changes.len().to_string()), |txn| {
                    Ok(txn.alter(&changes)?)
                })
            })
            .await?;
            count(0).map(Some)
        }
        _ => Ok(None),
    }
}

async fn changes_of(
    session: &Session,
    table: &str,
    operation: &AlterTableOperation,
    shown: &str,
) -> Result<Vec<Change>> {
    let one = |change| Ok(vec![change]);
    match operation {
        AlterTableOperation::AddColumn { column_def, column_position, .. } => {
            let schema = columns(session, std::slice::from_ref(column_def), shown).await?;
            let position = match column_position {
                None => Position::Last,
                Some(MySQLColumnPosition::First) => Position::First,
                Some(MySQLColumnPosition::After(other)) => Position::After(ident(other)),
            };
            one(Change::AddColumn {
                path: ident(&column_def.name),
                column: schema.field(0).clone(),
                position,
            })
        }
        AlterTableOperation::DropColumn { column_names, .. } => {
            Ok(column_names.iter().map(|name| Change::DropColumn(ident(name))).collect())
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            one(Change::RenameColumn(ident(old_column_name), ident(new_column_name)))
        }
        AlterTableOperation::AlterColumn { column_name, op } => {
            let name = ident(column_name);
            match op {
                AlterColumnOperation::SetNotNull => one(Change::SetNullable(name, false)),
                AlterColumnOperation::DropNotNull => one(Change::SetNullable(name, true)),
                AlterColumnOperation::SetDefault { value } => {
                    one(Change::SetDefault(name, Some(value.to_string())))
                }
                AlterColumnOperation::DropDefault => one(Change::SetDefault(name, None)),
                AlterColumnOperation::SetDataType { data_type, using: None, .. } => {
                    let cast = format!("SELECT CAST(NULL AS {data_type}) AS c");
                    let plan = session.plan(&cast, shown).await?;
                    one(Change::WidenColumn(name, plan.schema().field(0).data_type().clone()))
                }
                other => Err(QueryError::NotSupported(format!("ALTER COLUMN {name} {other}"))),
            }
        }
        AlterTableOperation::AddConstraint { constraint: TableConstraint::Check(check), .. } => {
            let name = check.name.as_ref().map_or_else(|| "check".to_owned(), ident);
            one(Change::AddConstraint(name, check.expr.to_string()))
        }
        AlterTableOperation::AddConstraint { constraint: TableConstraint::PrimaryKey(key), .. } => {
            let columns = key_columns(&key.columns);
            let not_null = columns.iter().map(|name| Change::SetNullable(name.clone(), false));
            Ok(not_null.chain([Change::AddKey(columns.clone())]).collect())
        }
        AlterTableOperation::AddConstraint { constraint: TableConstraint::Unique(key), .. } => {
            one(Change::AddKey(key_columns(&key.columns)))
        }
        AlterTableOperation::DropConstraint { name, .. } => {
            let now = session.names().snapshot_of(table)?;
            one(dropped_constraint(&now, ident(name))?)
        }
        AlterTableOperation::DropPrimaryKey { .. } => {
            let now = session.names().snapshot_of(table)?;
            one(Change::DropKey(primary_key(&now)?))
        }
        AlterTableOperation::SetTblProperties { table_properties } => Ok(table_properties
            .iter()
            .filter_map(|option| match option {
                SqlOption::KeyValue { key, value } => {
                    Some(Change::SetProperty(key.value.clone(), Some(literal(value))))
                }
                _ => None,
            })
            .collect()),
        other => Err(QueryError::NotSupported(format!("ALTER TABLE … {other}"))),
    }
}

fn literal(expr: &Expr) -> String {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}
