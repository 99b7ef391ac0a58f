//! A version of a table, as it is read.

use std::path::Path;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use deltalite_format::predicate::{Predicate, Pruned};
use deltalite_shard::scan::ScanFile;

use super::DeltaLiteTable;
use super::core::Core;
use super::pins::Pin;
use super::scan::TableScan;
use super::transaction::OptimisticTransaction;
use crate::error::{Result, TableError};
use crate::log::action::Add;
use crate::log::{FileView, Snapshot};
use crate::partition::Partitioning;
use crate::schema::TableSchema;
use crate::stats::Pruner;
use crate::txn::{Isolation, Rows};
use crate::version::Version;

/// Property: at which level transactions commit unless they say otherwise.
pub const ISOLATION_PROPERTY: &str = "delta.isolationLevel";

/// A version of a table. As long as it lives, vacuum leaves its files alone.
#[derive(Debug)]
pub struct TableSnapshot {
    pub(crate) core: Arc<Core>,
    pub(crate) log: Snapshot,
    pub(crate) schema: TableSchema,
    pub(crate) partitioning: Partitioning,
    _pin: Pin,
}

/// A data file of a version.
#[derive(Debug, Clone)]
pub struct TableFile {
    core: Arc<Core>,
    schema: Arc<deltalite_format::schema::EvolvedSchema>,
    /// As in the log.
    pub add: Add,
    /// Whether all of its rows match the condition it was selected by, judged by statistics.
    pub all_match: bool,
}

impl TableFile {
    /// A file as some version has or had it, to be read under a version's schema.
    pub(crate) fn of_add(snapshot: &TableSnapshot, add: Add) -> Result<Self> {
        let (core, schema) = (snapshot.core.clone(), snapshot.schema.evolved()?);
        Ok(Self { core, schema, add, all_match: false })
    }

    /// Its rows that are deleted.
    ///
    /// # Errors
    /// When the deletion vector can't be read.
    pub fn deleted(&self) -> Result<Arc<Rows>> {
        self.core.vectors.rows(self.add.deletion_vector.as_deref())
    }

    /// Opens it for scanning, under the table's schema.
    ///
    /// # Errors
    /// When it is missing or damaged, or its deletion vector is.
    pub fn open(&self) -> Result<ScanFile> {
        let deleted = match &self.add.deletion_vector {
            None => None,
            Some(vector) => Some(self.core.vectors.rows(Some(vector))?),
        };
        let file = self.core.data_file(&self.add)?;
        Ok(ScanFile { file, schema: Some(self.schema.clone()), deleted, split: None })
    }
}

impl TableSnapshot {
    pub(crate) fn new(core: Arc<Core>, log: Snapshot, pin: Pin) -> Result<Arc<Self>> {
        let metadata = log.metadata();
        let schema = TableSchema::parse(&metadata.schema_string)?;
        let partitioning = Partitioning::of_metadata(metadata, schema.arrow())?;
        Ok(Arc::new(Self { core, schema, partitioning, log, _pin: pin }))
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.log.version()
    }

    /// The state that the log has of it.
    pub fn log(&self) -> &Snapshot {
        &self.log
    }

    /// The columns, with their ids and what else the table knows of them.
    pub fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The columns, for Arrow. Scans yield strings and binaries as views.
    pub fn schema(&self) -> &SchemaRef {
        self.schema.arrow()
    }

    /// How its rows are kept apart.
    pub fn partitioning(&self) -> &Partitioning {
        &self.partitioning
    }

    /// A property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.log.metadata().configuration.value(key)
    }

    /// A property that is a number.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                TableError::invalid("reading a property", format!("{key} is {text:?}, not a whole number"))
            })
        };
        self.property(key).map(parse).transpose()
    }

    /// At which level transactions commit unless they say otherwise.
    ///
    /// # Errors
    /// When the property names none.
    pub fn isolation(&self) -> Result<Isolation> {
        let Some(name) = self.property(ISOLATION_PROPERTY) else { return Ok(Isolation::default()) };
        Isolation::parse(name).ok_or_else(|| {
            let detail = format!(
                "{ISOLATION_PROPERTY} is {name:?}; it can be Serializable, WriteSerializable or SnapshotIsolation"
            );
            TableError::invalid("reading a property", detail)
        })
    }

    /// The files that may hold a matching row; all without a condition.
    ///
    /// # Errors
    /// When the condition doesn't fit the columns, or statistics can't be read.
    pub fn files(&self, predicate: Option<&Predicate>) -> Result<Vec<TableFile>> {
        let schema = self.schema.evolved()?;
        let file = |view: FileView<'_>, all_match| -> Result<TableFile> {
            let (core, schema) = (self.core.clone(), schema.clone());
            Ok(TableFile { core, schema, add: view.to_add()?, all_match })
        };
        let Some(predicate) = predicate else {
            return self.log.files().iter().map(|view| file(view, true)).collect();
        };
        let selected = self.pruner(predicate)?.select(self.log.files().iter())?;
        selected.into_iter().map(|(view, verdict)| file(view, verdict == Pruned::All)).collect()
    }

    /// Which of some files may hold a matching row, by position.
    ///
    /// # Errors
    /// When the condition doesn't fit the columns, or statistics can't be read.
    pub fn select(&self, files: &[TableFile], predicate: &Predicate) -> Result<Vec<usize>> {
        let pruner = self.pruner(predicate)?;
        let mut kept = Vec::new();
        for (at, file) in files.iter().enumerate() {
            if pruner.verdict(&FileView::of(&file.add))? != Pruned::None {
                kept.push(at);
            }
        }
        Ok(kept)
    }

    /// A file by its path in the log.
    ///
    /// # Errors
    /// When this version has no such file.
    pub fn file(&self, path: &str) -> Result<TableFile> {
        let view = self.log.files().get(path).ok_or_else(|| {
            TableError::invalid(
                "looking for a file",
                format!("version {} has no file {path}", self.version()),
            )
        })?;
        Ok(TableFile {
            core: self.core.clone(),
            schema: self.schema.evolved()?,
            add: view.to_add()?,
            all_match: false,
        })
    }

    pub(crate) fn pruner(&self, predicate: &Predicate) -> Result<Pruner> {
        Pruner::new(predicate, self.schema.arrow(), &self.partitioning)
    }

    /// Begins a transaction on this version, which others may have gone beyond.
    ///
    /// # Errors
    /// When the table can't be written.
    pub fn begin(self: &Arc<Self>) -> Result<OptimisticTransaction> {
        OptimisticTransaction::new(self.clone())
    }

    /// A handle of the table that sees this version.
    pub fn table(self: &Arc<Self>) -> DeltaLiteTable {
        DeltaLiteTable::of_snapshot(self.clone())
    }

    /// The table's folder.
    pub fn path(&self) -> &Path {
        &self.core.root
    }

    /// Reads rows.
    pub fn scan(self: &Arc<Self>) -> TableScan {
        TableScan::new(self.clone())
    }

    /// The number of rows, from the log; `None` if some file does not say.
    ///
    /// # Errors
    /// When statistics can't be read.
    pub fn count_rows(&self) -> Result<Option<u64>> {
        let mut rows = 0;
        for file in self.log.files().iter() {
            let Some(stored) = file.stats()?.and_then(|s| s.num_records) else { return Ok(None) };
            rows += stored - file.deletion_vector().map_or(0, |dv| dv.cardinality).min(stored);
        }
        Ok(Some(rows))
    }
}
