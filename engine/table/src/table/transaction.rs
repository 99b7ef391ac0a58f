//! A transaction on a table: reads one version, gathers what to write, commits on top of what others have committed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use deltalite_format::WriterOptions;
use deltalite_format::predicate::Predicate;

use super::identity;
use super::keys::{AddedKeys, Keys};
use super::snapshot::{TableFile, TableSnapshot};
use super::update::changed_tag;
use crate::commit::Pending;
use crate::data::writer::{NewFiles, WriteAs};
use crate::data::{DataWriter, Written};
use crate::error::{Result, TableError};
use crate::log::action::{Add, CommitInfo, DomainMetadata, Metadata, Protocol, StringMap, Txn};
use crate::partition::Partitioning;
use crate::schema::{Preparer, TableSchema};
use crate::txn::sets::{DomainWrite, RowDelete};
use crate::txn::{Columns, Isolation, Removal, RowMap, Rows, Transaction};
use crate::version::Version;

/// Property: bytes after which a data file is closed.
pub const FILE_BYTES_PROPERTY: &str = "delta.targetFileSize";
/// Bytes after which a data file is closed, unless the property says otherwise.
const FILE_BYTES_DEFAULT: u64 = 512 << 20;
/// Property: columns that statistics are kept of.
const INDEXED_COLUMNS_PROPERTY: &str = "delta.dataSkippingNumIndexedCols";
const INDEXED_COLUMNS_DEFAULT: u64 = 32;
/// Property: rows are never changed or deleted.
const APPEND_ONLY_PROPERTY: &str = "delta.appendOnly";

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The version it made, or the one that was there if it had nothing to do.
    pub version: Version,
    /// Whether a version was made by it. Not when nothing matched, or an earlier commit of the same application did the same.
    pub committed: bool,
    /// How much was done, by the names that `commitInfo.operationMetrics` uses.
    pub metrics: BTreeMap<&'static str, u64>,
}

impl Outcome {
    /// One of the metrics; 0 if it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        self.metrics.get(name).copied().unwrap_or(0)
    }
}

/// A transaction that is being put together.
///
/// ```no_run
/// # fn main() -> Result<(), deltalite_table::TableError> {
/// # let batch: arrow_array::RecordBatch = todo!();
/// use deltalite_table::DeltaLiteTable;
/// let table = DeltaLiteTable::open("orders").execute()?;
/// let mut txn = table.begin()?;
/// txn.insert([Ok(batch)])?;
/// let outcome = txn.commit("WRITE", [("mode", "Append")])?;
/// println!("version {}", outcome.version);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OptimisticTransaction {
    base: Arc<TableSnapshot>,
    txn: Transaction,
    info: CommitInfo,
    files: NewFiles,
    folders: BTreeSet<PathBuf>,
    metrics: BTreeMap<&'static str, u64>,
    /// The schema and partitioning that rows are written with: new ones once this transaction has changed them.
    schema: TableSchema,
    partitioning: Partitioning,
    configuration: StringMap,
    keys: Option<Keys>,
}

impl OptimisticTransaction {
    pub(crate) fn new(base: Arc<TableSnapshot>) -> Result<Self> {
        if base.core.store.session().is_none() {
            return Err(TableError::invalid(
                "beginning a transaction",
                format!(
                    "{} could only be opened for reading; check its permissions",
                    base.core.root.display()
                ),
            ));
        }
        let txn = Transaction::new(base.version(), base.isolation()?);
        let mut info = CommitInfo::new("");
        info.txn_id.clone_from(&txn.id);
        let configuration = base.log.metadata().configuration.clone();
        Ok(Self {
            files: NewFiles::new(base.core.clone()),
            keys: Keys::of_table(&base)?,
            schema: base.schema.clone(),
            partitioning: base.partitioning.clone(),
            configuration,
            base,
            txn,
            info,
            folders: BTreeSet::new(),
            metrics: BTreeMap::new(),
        })
    }

    /// The version that it reads.
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.base
    }

    /// Commits at another level than the table's.
    #[must_use]
    pub fn isolation(mut self, level: Isolation) -> Self {
        self.txn.isolation = level;
        self
    }

    /// What the person who commits wants to be remembered.
    #[must_use]
    pub fn user_metadata(mut self, text: impl Into<String>) -> Self {
        self.info.user_metadata = Some(text.into());
        self
    }

    /// Its result depends on all rows.
    pub fn read_whole_table(&mut self) {
        self.txn.reads.whole_table = true;
        self.txn.reads.columns = Columns::All;
    }

    /// Its result depends on which rows match a condition.
    ///
    /// # Errors
    /// When the condition doesn't fit the columns.
    pub fn read_where(&mut self, predicate: &Predicate) -> Result<()> {
        let pruner = self.base.pruner(predicate)?;
        self.txn.reads.predicates.push(Arc::new(pruner));
        self.read_columns(predicate.columns());
        Ok(())
    }

    /// Its result depends on columns.
    pub fn read_columns<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        if let Columns::Only(known) = &mut self.txn.reads.columns {
            known.extend(names.into_iter().map(ToOwned::to_owned));
        }
    }

    /// Its result depends on all rows of a file.
    pub fn read_file(&mut self, path: &str) {
        self.txn.reads.files.insert(path.into());
        self.txn.reads.rows.remove(path);
    }

    /// Its result depends on these rows of a file only.
    pub fn read_rows(&mut self, path: &str, rows: &Rows) {
        if self.txn.reads.files.insert(path.into()) {
            self.txn.reads.rows.insert(path.into(), rows.clone());
        } else if let Some(known) = self.txn.reads.rows.get_mut(path) {
            *known |= rows;
        }
    }

    /// Appends rows, brought to the table's columns. Returns how many.
    ///
    /// # Errors
    /// When rows don't fit the columns or break a constraint, or writing fails; the transaction must be dropped then.
    pub fn insert(&mut self, batches: impl IntoIterator<Item = Result<RecordBatch>>) -> Result<u64> {
        self.insert_rows(batches, false)
    }

    /// As [`OptimisticTransaction::insert`], of rows that were in the table and are changed: they keep the values that count by themselves.
    ///
    /// # Errors
    /// As [`OptimisticTransaction::insert`].
    pub fn insert_changed(&mut self, batches: impl IntoIterator<Item = Result<RecordBatch>>) -> Result<u64> {
        self.insert_rows(batches, true)
    }

    fn insert_rows(
        &mut self,
        batches: impl IntoIterator<Item = Result<RecordBatch>>,
        changed: bool,
    ) -> Result<u64> {
        let mut preparer =
            Preparer::new(&self.schema, &self.configuration, self.base.core.context.expressions.as_ref())?;
        let mut writer = DataWriter::new(self.base.core.clone(), self.write_as()?);
        if changed {
            preparer = preparer.of_changed_rows();
            writer = writer.tagged(changed_tag());
        }
        let base = self.base.clone();
        let mut identity = |column: &str, rows: u64| identity::take(&base, column, rows);
        let mut added = self.keys.as_ref().map(|_| AddedKeys::default());
        for batch in batches {
            let rows = preparer.prepare(&batch?, &mut identity)?;
            if let (Some(keys), Some(added)) = (&self.keys, &mut added) {
                keys.gather(&rows, added)?;
            }
            writer.write(&rows)?;
        }
        let written = writer.finish()?;
        if let (Some(keys), Some(added)) = (&self.keys, added) {
            let deleted: HashMap<&str, &Rows> =
                self.txn.writes.deletes.iter().map(|(path, d)| (&**path, &d.rows)).collect();
            keys.check(&self.base, &added, &deleted, &self.txn.writes.removes)?;
            self.txn.writes.keys.extend(added.into_keys());
        }
        self.txn.writes.columns = Columns::All;
        let rows = written.rows;
        self.add_written(written);
        Ok(rows)
    }

    pub(crate) fn add_written(&mut self, written: Written) {
        self.count("numFiles", written.adds.len() as u64);
        self.count("numOutputBytes", written.adds.iter().map(|add| add.size).sum());
        self.count("numOutputRows", written.rows);
        self.txn.writes.adds.extend(written.adds);
        self.folders.extend(written.folders);
        self.files.append(written.files);
    }

    pub(crate) fn write_as(&self) -> Result<WriteAs> {
        let indexed = self.base.number(INDEXED_COLUMNS_PROPERTY)?.unwrap_or(INDEXED_COLUMNS_DEFAULT);
        Ok(WriteAs {
            schema: self.schema.file_schema(),
            partitioning: self.partitioning.clone(),
            file_bytes: self.base.number(FILE_BYTES_PROPERTY)?.unwrap_or(FILE_BYTES_DEFAULT),
            indexed_columns: indexed as usize,
            format: WriterOptions { threads: self.base.core.context.threads, ..WriterOptions::default() },
        })
    }

    /// Deletes rows of a file, by their numbers. Rows that are deleted already don't count. Returns how many are.
    ///
    /// # Errors
    /// When there is no such file, or rows of the table must not be deleted.
    pub fn delete_rows(&mut self, file: &TableFile, rows: &Rows) -> Result<u64> {
        self.may_remove()?;
        let before = file.deleted()?;
        let path = &file.add.path;
        let entry = self.txn.writes.deletes.entry(path.clone()).or_insert_with(|| RowDelete {
            file: file.add.clone(),
            before: before.as_ref().clone(),
            rows: Rows::new(),
        });
        let had = entry.rows.len();
        entry.rows |= rows - before.as_ref();
        let deleted = entry.rows.len() - had;
        let left = file.add.stats()?.and_then(|s| s.num_records).map(|n| n - entry.rows.len() - before.len());
        if entry.rows.is_empty() {
            self.txn.writes.deletes.remove(path);
        } else if left == Some(0) {
            self.txn.writes.deletes.remove(path);
            self.txn.writes.removes.insert(path.clone(), Removal { file: file.add.clone() });
            self.count("numRemovedFiles", 1);
        }
        self.count("numDeletedRows", deleted);
        Ok(deleted)
    }

    /// Removes a file with all its rows. Returns how many of them there were, as far as that is known.
    ///
    /// # Errors
    /// When rows of the table must not be deleted, or its statistics can't be read.
    pub fn remove_file(&mut self, file: &TableFile) -> Result<u64> {
        self.may_remove()?;
        let deleted = file.add.deletion_vector.as_ref().map_or(0, |dv| dv.cardinality);
        let rows = file.add.stats()?.and_then(|s| s.num_records).unwrap_or(deleted) - deleted;
        self.txn.writes.deletes.remove(&file.add.path);
        self.txn.writes.removes.insert(file.add.path.clone(), Removal { file: file.add.clone() });
        self.count("numRemovedFiles", 1);
        self.count("numDeletedRows", rows);
        Ok(rows)
    }

    fn may_remove(&self) -> Result<()> {
        if self.txn.writes.data_change && self.base.property(APPEND_ONLY_PROPERTY) == Some("true") {
            return Err(TableError::invalid(
                "deleting rows",
                format!("the table only takes appends; set {APPEND_ONLY_PROPERTY} to false first"),
            ));
        }
        Ok(())
    }

    /// Rows are moved, not changed: files that are removed have their rows in those added, where the map says.
    pub(crate) fn moves(&mut self, map: RowMap) {
        self.txn.writes.data_change = false;
        self.txn.writes.row_map = Some(map);
    }

    /// Adds a file that is there already.
    pub(crate) fn add_existing(&mut self, add: Add) {
        self.count("numFiles", 1);
        self.txn.writes.adds.push(add);
    }

    /// A file is as it was, with other rows deleted.
    pub(crate) fn replace_file(&mut self, file: &TableFile, by: Add) {
        let by = Add { data_change: true, ..by };
        self.txn.writes.restores.insert(file.add.path.clone(), (Removal { file: file.add.clone() }, by));
    }

    /// Whether rows are new, changed or gone, rather than moved.
    pub(crate) fn set_data_change(&mut self, data_change: bool) {
        self.txn.writes.data_change = data_change;
    }

    /// New metadata. Rows inserted from now on are written under it.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub fn set_metadata(&mut self, metadata: Metadata) -> Result<()> {
        self.schema = TableSchema::parse(&metadata.schema_string)?;
        self.partitioning = Partitioning::of_metadata(&metadata, self.schema.arrow())?;
        self.configuration = metadata.configuration.clone();
        self.txn.writes.metadata = Some(metadata);
        Ok(())
    }

    /// The metadata as it will be.
    pub fn metadata(&self) -> &Metadata {
        self.txn.writes.metadata.as_ref().unwrap_or_else(|| self.base.log.metadata())
    }

    /// A new protocol.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.txn.writes.protocol = Some(protocol);
    }

    /// Says how far an application is. If the table says that it is as far already, committing does nothing: that is how a writer
    /// that repeats itself after a failure writes exactly once.
    pub fn application(&mut self, app_id: impl Into<String>, version: i64) {
        let app_id = app_id.into();
        self.txn.writes.txns.retain(|txn| txn.app_id != app_id);
        self.txn.writes.txns.push(Txn { app_id, version, last_updated: Some(self.info.timestamp) });
    }

    /// Sets a domain; `None` takes it away.
    pub fn set_domain(&mut self, domain: impl Into<String>, configuration: Option<String>) {
        let domain = DomainMetadata {
            domain: domain.into(),
            removed: configuration.is_none(),
            configuration: configuration.unwrap_or_default(),
        };
        self.txn.writes.domains.retain(|d| d.domain.domain != domain.domain);
        self.txn.writes.domains.push(DomainWrite { domain, merge: None });
    }

    /// Counts something that was done, for the commit's `operationMetrics`.
    pub fn count(&mut self, metric: &'static str, by: u64) {
        *self.metrics.entry(metric).or_default() += by;
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        let writes = &self.txn.writes;
        writes.adds.is_empty()
            && writes.removes.is_empty()
            && writes.deletes.is_empty()
            && writes.restores.is_empty()
            && writes.metadata.is_none()
            && writes.protocol.is_none()
            && writes.txns.is_empty()
            && writes.domains.is_empty()
            && writes.cdcs.is_empty()
    }

    /// Commits; returns when it is durable. One that would change nothing is not committed.
    ///
    /// # Errors
    /// [`TableError::Conflict`] when it can't be put on top of what others have committed meanwhile; else when the system fails.
    pub fn commit<'a>(
        self,
        operation: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Outcome> {
        let unchanged =
            Outcome { version: self.base.version(), committed: false, metrics: self.metrics.clone() };
        if self.is_empty() || self.done_before() {
            return Ok(unchanged);
        }
        let Self { base, txn, mut info, files, folders, metrics, .. } = self;
        operation.clone_into(&mut info.operation);
        info.operation_parameters = parameters.into_iter().map(|(k, v)| (k, Some(v))).collect();
        let texts: Vec<(&str, String)> = metrics.iter().map(|(k, v)| (*k, v.to_string())).collect();
        info.operation_metrics = Some(texts.iter().map(|(k, v)| (*k, Some(v.as_str()))).collect());
        let pending = Pending { txn, info, unsynced: folders };
        let committed = match base.core.commit(pending) {
            Ok(committed) => committed,
            Err(error) => {
                // Only where nothing can have happened may the files go.
                if !matches!(error, TableError::Conflict(_)) {
                    files.keep();
                }
                return Err(error);
            }
        };
        if committed.already {
            return Ok(Outcome { version: committed.version, ..unchanged });
        }
        files.keep();
        Ok(Outcome { version: committed.version, committed: true, metrics })
    }

    /// Partition values of the rows inserted.
    pub(crate) fn partitions_written(&self) -> HashSet<StringMap> {
        self.txn.writes.adds.iter().map(|add| add.partition_values.clone()).collect()
    }

    /// Whether the version it read says that its application is as far already.
    pub(crate) fn done_before(&self) -> bool {
        let known = self.base.log.txns();
        self.txn
            .writes
            .txns
            .iter()
            .any(|ours| known.get(&ours.app_id).is_some_and(|theirs| ours.version <= theirs.version))
    }
}
