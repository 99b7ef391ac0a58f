//! Adding rows, and replacing rows by others.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{Schema, SchemaRef};
use deltalite_format::predicate::Predicate;
use deltalite_shard::scan::{DataFile, Scan};

use super::run::{builder_future, until_committed};
use super::transaction::{OptimisticTransaction, Outcome};
use super::{DeltaLiteTable, TableFile};
use crate::error::{Result, TableError};
use crate::log::action::StringMap;
use crate::schema::{MAX_COLUMN_ID, TableSchema};
use crate::txn::Isolation;

/// Rows that come one batch after the other, once.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// Where rows come from.
pub enum Input {
    /// Memory: a statement that meets a conflict can be run again.
    Memory(SchemaRef, Vec<RecordBatch>),
    /// Somewhere, once: after a conflict the rows are gone.
    Once(SchemaRef, Option<Batches>),
    /// Data files of this format.
    Files(SchemaRef, Vec<PathBuf>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Input::Memory(_, batches) => write!(f, "{} batches", batches.len()),
            Input::Once(..) => f.write_str("a stream"),
            Input::Files(_, files) => write!(f, "{files:?}"),
        }
    }
}

impl Input {
    fn of_batches(batches: Vec<RecordBatch>) -> Self {
        let schema = batches.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        Input::Memory(schema, batches)
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        match self {
            Input::Memory(schema, _) | Input::Once(schema, _) | Input::Files(schema, _) => schema,
        }
    }

    /// The rows; `None` if they were taken before and can't be had again.
    pub(crate) fn take(&mut self, table: &DeltaLiteTable) -> Result<Option<Batches>> {
        match self {
            Input::Memory(_, batches) => Ok(Some(Box::new(batches.clone().into_iter().map(Ok)))),
            Input::Once(_, batches) => Ok(batches.take()),
            Input::Files(_, files) => {
                let open = files.iter().map(DataFile::open).collect::<Result<Vec<_>, _>>()?;
                let scan = Scan::over(open).start(&table.core.context.shards)?;
                Ok(Some(Box::new(scan.map(|batch| batch.map_err(TableError::from)))))
            }
        }
    }
}

/// What an append or an overwrite replaces.
#[derive(Debug, Clone, PartialEq)]
enum Replaces {
    Nothing,
    All,
    Where(Predicate),
    Partitions,
}

/// Adding rows, possibly instead of others.
#[derive(Debug)]
#[must_use]
pub struct WriteTable {
    table: DeltaLiteTable,
    input: Input,
    replaces: Replaces,
    merge_schema: bool,
    overwrite_schema: bool,
    application: Option<(String, i64)>,
    isolation: Option<Isolation>,
    user_metadata: Option<String>,
}

impl DeltaLiteTable {
    fn write(&self, input: Input, replaces: Replaces) -> WriteTable {
        WriteTable {
            table: self.clone(),
            input,
            replaces,
            merge_schema: false,
            overwrite_schema: false,
            application: None,
            isolation: None,
            user_metadata: None,
        }
    }

    /// Adds rows.
    pub fn append(&self, batches: impl IntoIterator<Item = RecordBatch>) -> WriteTable {
        self.write(Input::of_batches(batches.into_iter().collect()), Replaces::Nothing)
    }

    /// Adds rows that come one batch after the other.
    pub fn append_stream(&self, reader: impl RecordBatchReader + Send + 'static) -> WriteTable {
        let schema = reader.schema();
        let batches = reader.map(|batch| batch.map_err(TableError::compute("reading rows to be added")));
        self.write(Input::Once(schema, Some(Box::new(batches))), Replaces::Nothing)
    }

    /// Adds the rows of DeltaLite files.
    ///
    /// # Errors
    /// When the first of them can't be opened.
    pub fn append_files(&self, files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Result<WriteTable> {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        let schema = match files.first() {
            Some(first) => DataFile::open(first)?.meta().schema()?.arrow().clone(),
            None => Arc::new(Schema::empty()),
        };
        Ok(self.write(Input::Files(schema, files), Replaces::Nothing))
    }

    /// Adds rows instead of all there are, or of those that [`WriteTable::replace_where`] or [`WriteTable::dynamic_partitions`] says.
    pub fn overwrite(&self, batches: impl IntoIterator<Item = RecordBatch>) -> WriteTable {
        self.write(Input::of_batches(batches.into_iter().collect()), Replaces::All)
    }

    /// As [`DeltaLiteTable::overwrite`], with rows that come one batch after the other.
    pub fn overwrite_stream(&self, reader: impl RecordBatchReader + Send + 'static) -> WriteTable {
        WriteTable { replaces: Replaces::All, ..self.append_stream(reader) }
    }
}

impl WriteTable {
    /// Replace only rows for which this is true. The new rows must fulfil it too.
    pub fn replace_where(mut self, predicate: Predicate) -> Self {
        self.replaces = Replaces::Where(predicate);
        self
    }

    /// Replace only the partitions that new rows are in.
    pub fn dynamic_partitions(mut self) -> Self {
        self.replaces = Replaces::Partitions;
        self
    }

    /// Add columns that rows bring and the table does not have, and widen types as needed.
    pub fn merge_schema(mut self) -> Self {
        self.merge_schema = true;
        self
    }

    /// Replace the columns by those of the rows. Only when all rows are replaced.
    pub fn overwrite_schema(mut self) -> Self {
        self.overwrite_schema = true;
        self
    }

    /// Write exactly once: do nothing if the table says that the application is at this version of its own, or past it.
    pub fn application(mut self, app_id: impl Into<String>, version: i64) -> Self {
        self.application = Some((app_id.into(), version));
        self
    }

    /// Commit at another level than the table's.
    pub fn isolation(mut self, level: Isolation) -> Self {
        self.isolation = Some(level);
        self
    }

    /// What is to be remembered with the version.
    pub fn user_metadata(mut self, text: impl Into<String>) -> Self {
        self.user_metadata = Some(text.into());
        self
    }

    /// Writes and commits.
    ///
    /// # Errors
    /// When rows don't fit, another transaction has won, or the system fails.
    pub fn execute(mut self) -> Result<Outcome> {
        let table = self.table.clone();
        let outcome = until_committed(|| self.attempt(&table))?;
        table.refresh()?;
        Ok(outcome)
    }

    fn attempt(&mut self, table: &DeltaLiteTable) -> Result<Outcome> {
        let mut txn = table.begin()?;
        if let Some(level) = self.isolation {
            txn = txn.isolation(level);
        }
        if let Some(text) = &self.user_metadata {
            txn = txn.user_metadata(text);
        }
        if let Some((app_id, version)) = &self.application {
            txn.application(app_id, *version);
            if txn.done_before() {
                return txn.commit("WRITE", []);
            }
        }
        self.adapt_schema(&mut txn)?;
        let Some(batches) = self.input.take(table)? else {
            return Err(TableError::invalid(
                "writing rows again after a conflict",
                "they came from a stream, which is used up; run the statement again with a new one",
            ));
        };
        let base = txn.snapshot().clone();
        let mode = match &self.replaces {
            Replaces::Nothing => {
                txn.insert(batches)?;
                "Append"
            }
            Replaces::All => {
                txn.read_whole_table();
                for file in base.files(None)? {
                    txn.remove_file(&file)?;
                }
                txn.insert(batches)?;
                "Overwrite"
            }
            Replaces::Where(predicate) => {
                txn.delete_where(Some(predicate))?;
                txn.insert(all_match(batches, predicate))?;
                "Overwrite"
            }
            Replaces::Partitions => {
                txn.read_whole_table();
                txn.insert(batches)?;
                let written: HashSet<StringMap> = txn.partitions_written();
                for file in base.files(None)?.iter().filter(|f| written.contains(&f.add.partition_values)) {
                    txn.remove_file(file)?;
                }
                "Overwrite"
            }
        };
        let condition = match &self.replaces {
            Replaces::Where(predicate) => Some(predicate.to_string()),
            _ => None,
        };
        let parameters = [("mode", mode)].into_iter().chain(condition.as_deref().map(|c| ("predicate", c)));
        txn.commit("WRITE", parameters)
    }

    fn adapt_schema(&self, txn: &mut OptimisticTransaction) -> Result<()> {
        let incoming = self.input.schema();
        if self.overwrite_schema {
            if self.replaces != Replaces::All {
                return Err(TableError::invalid(
                    "replacing the columns",
                    "rows that stay would lose theirs; replace all rows, or merge the schema",
                ));
            }
            let mut metadata = txn.metadata().clone();
            let known = super::alter::max_column_id(&metadata, &txn.snapshot().schema)?;
            let schema = TableSchema::create_after(incoming, known)?;
            metadata.schema_string = schema.to_json();
            let highest = schema.max_id().to_string();
            super::alter::set_property(&mut metadata, MAX_COLUMN_ID, Some(&highest));
            return txn.set_metadata(metadata);
        }
        if !self.merge_schema {
            return Ok(());
        }
        let mut metadata = txn.metadata().clone();
        let schema = txn.snapshot().schema.clone();
        let max_id = super::alter::max_column_id(&metadata, &schema)?;
        if let Some(merged) = schema.merge(incoming, max_id)? {
            metadata.schema_string = merged.to_json();
            let highest = max_id.max(merged.max_id()).to_string();
            super::alter::set_property(&mut metadata, MAX_COLUMN_ID, Some(&highest));
            txn.set_metadata(metadata)?;
        }
        Ok(())
    }
}

builder_future!(WriteTable => Outcome, WriteTable::execute);

/// Refuses rows for which a condition is not true.
fn all_match(batches: Batches, predicate: &Predicate) -> impl Iterator<Item = Result<RecordBatch>> + '_ {
    batches.map(move |batch| {
        let batch = batch?;
        let bound = deltalite_format::predicate::bind(predicate, &batch.schema())?;
        let matching = bound.evaluate_batch(&batch)?;
        if let Some(row) = (0..batch.num_rows()).find(|row| !matching.get(*row)) {
            let detail = format!("row {row} does not fulfil {predicate}, by which rows are replaced");
            return Err(TableError::invalid("writing rows", detail));
        }
        Ok(batch)
    })
}

/// Numbers of the rows of a file that a scan of it yields in its last column.
pub(crate) fn row_numbers(batch: &RecordBatch) -> impl Iterator<Item = u64> + '_ {
    batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>().values().iter().copied()
}

/// Files as one: used where a statement reads them one after the other.
pub(crate) fn one(file: &TableFile) -> &[TableFile] {
    std::slice::from_ref(file)
}
