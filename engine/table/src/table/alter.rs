//! Changing a table's columns, properties and constraints.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};

use super::DeltaLiteTable;
use super::keys::{KEYS_PROPERTY, check_all, keys_of, keys_property};
use super::snapshot::TableSnapshot;
use super::transaction::{OptimisticTransaction, Outcome};
use crate::error::{Result, TableError};
use crate::log::action::{Metadata, StringMap};
use crate::schema::change::Position;
use crate::schema::prepare::fit;
use crate::schema::{
    CONSTRAINT_PREFIX, CURRENT_DEFAULT, GENERATION_EXPRESSION, MAX_COLUMN_ID, Preparer, TableSchema,
};

/// One change of a table's metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Add a column, or a field of a struct by path. What `CURRENT_DEFAULT` in its metadata says, rows that are there have too.
    AddColumn {
        /// Its name or path.
        path: String,
        /// Its type, nullability and metadata.
        column: Field,
        /// Where it is put.
        position: Position,
    },
    /// Drop a column.
    DropColumn(String),
    /// Rename a column: its path, its new name.
    RenameColumn(String, String),
    /// Move a column among its siblings.
    MoveColumn(String, Position),
    /// Give a column a type that has all values of its own.
    WidenColumn(String, DataType),
    /// Say whether a column may be null.
    SetNullable(String, bool),
    /// What rows get in a column that they don't bring, as SQL.
    SetDefault(String, Option<String>),
    /// What a column is about.
    SetColumnComment(String, Option<String>),
    /// A condition that all rows fulfil: name and SQL.
    AddConstraint(String, String),
    /// Take a constraint away.
    DropConstraint(String),
    /// Columns in which no two rows have the same values, beside the keys that there are.
    AddKey(Vec<String>),
    /// Take the key of these columns away.
    DropKey(Vec<String>),
    /// Set or take away a property.
    SetProperty(String, Option<String>),
    /// The table's name.
    SetName(Option<String>),
    /// What the table is about.
    SetComment(Option<String>),
}

impl Change {
    /// What the history calls it.
    pub fn operation(&self) -> &'static str {
        match self {
            Change::AddColumn { .. } => "ADD COLUMNS",
            Change::DropColumn(_) => "DROP COLUMNS",
            Change::RenameColumn(..) => "RENAME COLUMN",
            Change::MoveColumn(..)
            | Change::WidenColumn(..)
            | Change::SetNullable(..)
            | Change::SetDefault(..)
            | Change::SetColumnComment(..) => "CHANGE COLUMN",
            Change::AddConstraint(..) => "ADD CONSTRAINT",
            Change::DropConstraint(_) => "DROP CONSTRAINT",
            Change::AddKey(_) | Change::DropKey(_) | Change::SetProperty(..) => "SET TBLPROPERTIES",
            Change::SetName(_) | Change::SetComment(_) => "SET TABLE COMMENT",
        }
    }
}

impl DeltaLiteTable {
    /// Changes columns, properties or constraints, all in one version.
    ///
    /// # Errors
    /// When a change can't be made, rows that are there contradict it, or another transaction has won.
    pub fn alter(&self, changes: &[Change]) -> Result<Outcome> {
        let Some(first) = changes.first() else {
            return Ok(Outcome { version: self.version(), ..Outcome::default() });
        };
        self.run(|mut txn| {
            txn.alter(changes)?;
            txn.commit(first.operation(), [])
        })
    }
}

impl OptimisticTransaction {
    /// Changes columns, properties or constraints. Rows inserted from now on are written under them.
    ///
    /// # Errors
    /// When a change can't be made, or rows that are there contradict it.
    pub fn alter(&mut self, changes: &[Change]) -> Result<()> {
        let base = self.snapshot().clone();
        let mut schema = base.schema.clone();
        let mut metadata = self.metadata().clone();
        for change in changes {
            schema = apply(change, &base, schema, &mut metadata)?;
        }
        metadata.schema_string = schema.to_json();
        let reads = changes.iter().any(|change| {
            matches!(change, Change::AddConstraint(..) | Change::SetNullable(_, false) | Change::AddKey(_))
        });
        if reads {
            self.read_whole_table();
        }
        self.set_metadata(metadata)
    }
}

fn apply(
    change: &Change,
    base: &std::sync::Arc<TableSnapshot>,
    schema: TableSchema,
    metadata: &mut Metadata,
) -> Result<TableSchema> {
    let used = in_use(&schema, metadata, base)?;
    Ok(match change {
        Change::AddColumn { path, column, position } => {
            let max_id = max_column_id(metadata, &schema)?;
            let schema = schema.add_column(path, column, position, max_id)?;
            let highest = max_id.max(schema.max_id()).to_string();
            set_property(metadata, MAX_COLUMN_ID, Some(&highest));
            schema
        }
        Change::DropColumn(path) => schema.drop_column(path, &used)?,
        Change::RenameColumn(path, to) => schema.rename_column(path, to, &used)?,
        Change::MoveColumn(path, position) => schema.move_column(path, position)?,
        Change::WidenColumn(path, to) => schema.widen_column(path, to)?,
        Change::SetNullable(path, nullable) => {
            if !nullable {
                no_nulls(base, path)?;
            }
            schema.set_nullable(path, *nullable)?
        }
        Change::SetDefault(path, sql) => {
            if let Some(sql) = sql {
                base.core.context.expressions.compile(sql, schema.arrow())?;
            }
            schema.set_column_metadata(path, CURRENT_DEFAULT, sql.as_deref())?
        }
        Change::SetColumnComment(path, text) => {
            schema.set_column_metadata(path, "comment", text.as_deref())?
        }
        Change::AddConstraint(name, sql) => {
            let key = format!("{CONSTRAINT_PREFIX}{name}");
            if metadata.configuration.get(&key).is_some() {
                let detail = format!("there is a constraint {name:?} already; drop it first");
                return Err(TableError::invalid("adding a constraint", detail));
            }
            let only: StringMap = [(key.as_str(), Some(sql.as_str()))].into_iter().collect();
            let checker = Preparer::new(&schema, &only, base.core.context.expressions.as_ref())?;
            for batch in base.scan().execute()? {
                checker.check(&as_stored(&base.schema, &batch?)?)?;
            }
            set_property(metadata, &key, Some(sql));
            schema
        }
        Change::DropConstraint(name) => {
            let key = format!("{CONSTRAINT_PREFIX}{name}");
            if metadata.configuration.get(&key).is_none() {
                let detail = format!("there is no constraint {name:?}");
                return Err(TableError::invalid("dropping a constraint", detail));
            }
            set_property(metadata, &key, None);
            schema
        }
        Change::AddKey(columns) => {
            let mut keys = keys_of(&metadata.configuration)?;
            if columns.is_empty() || keys.contains(columns) {
                let detail = match columns.as_slice() {
                    [] => "a key has columns".to_owned(),
                    _ => format!("there is a key of ({}) already", columns.join(", ")),
                };
                return Err(TableError::invalid("adding a key", detail));
            }
            check_all(base, columns)?;
            keys.push(columns.clone());
            set_property(metadata, KEYS_PROPERTY, keys_property(&keys).as_deref());
            schema
        }
        Change::DropKey(columns) => {
            let mut keys = keys_of(&metadata.configuration)?;
            let Some(at) = keys.iter().position(|key| key == columns) else {
                let detail = format!("there is no key of ({})", columns.join(", "));
                return Err(TableError::invalid("dropping a key", detail));
            };
            keys.remove(at);
            set_property(metadata, KEYS_PROPERTY, keys_property(&keys).as_deref());
            schema
        }
        Change::SetProperty(key, value) => {
            set_property(metadata, key, value.as_deref());
            schema
        }
        Change::SetName(name) => {
            metadata.name.clone_from(name);
            schema
        }
        Change::SetComment(text) => {
            metadata.description.clone_from(text);
            schema
        }
    })
}

/// Rows as they are read, in the table's types.
fn as_stored(schema: &TableSchema, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = schema.arrow().fields().iter().zip(batch.columns());
    let arrays = columns.map(|(field, array)| fit(array, field)).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.arrow().clone(), arrays).map_err(TableError::compute("checking rows"))
}

fn no_nulls(base: &std::sync::Arc<TableSnapshot>, path: &str) -> Result<()> {
    let nulls = base.scan().filter(deltalite_format::predicate::col(path).is_null()).limit(1).execute()?;
    for batch in nulls {
        if batch?.num_rows() > 0 {
            let detail = format!("column {path:?} has nulls; change or delete those rows first");
            return Err(TableError::invalid("changing a table's columns", detail));
        }
    }
    Ok(())
}

/// Columns that constraints, keys, partitioning and generated columns refer to.
fn in_use(schema: &TableSchema, metadata: &Metadata, base: &TableSnapshot) -> Result<Vec<String>> {
    let mut used = keys_of(&metadata.configuration)?.concat();
    used.extend(base.partitioning.fields().iter().map(|f| f.column.clone()));
    let constraints = metadata.configuration.iter().filter(|(key, _)| key.starts_with(CONSTRAINT_PREFIX));
    let generated = schema.arrow().fields().iter().filter_map(|f| f.metadata().get(GENERATION_EXPRESSION));
    let texts: Vec<&str> =
        constraints.filter_map(|(_, sql)| sql).chain(generated.map(String::as_str)).collect();
    for field in schema.arrow().fields() {
        let is_word = |text: &&str| {
            text.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word.eq_ignore_ascii_case(field.name()))
        };
        if texts.iter().any(is_word) {
            used.push(field.name().clone());
        }
    }
    Ok(used)
}

/// The highest id that a column of the table ever had.
///
/// # Errors
/// When the property is no number.
pub(crate) fn max_column_id(metadata: &Metadata, schema: &TableSchema) -> Result<u32> {
    let Some(text) = metadata.configuration.value(MAX_COLUMN_ID) else { return Ok(schema.max_id()) };
    let recorded: u32 = text.parse().map_err(|_| {
        TableError::invalid("reading a property", format!("{MAX_COLUMN_ID} is {text:?}, not a number"))
    })?;
    Ok(recorded.max(schema.max_id()))
}

/// Sets a property, or takes it away.
pub(crate) fn set_property(metadata: &mut Metadata, key: &str, value: Option<&str>) {
    let kept = metadata.configuration.iter().filter(|(known, _)| *known != key);
    let pairs: Vec<(&str, Option<&str>)> = kept.chain(value.map(|v| (key, Some(v)))).collect();
    metadata.configuration = pairs.into_iter().collect();
}
