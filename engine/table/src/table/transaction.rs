//! A transaction on a table: reads one version, gathers what to write, commits on top of what others have committed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use deltalite_format::WriterOptions;
use deltalite_format::predicate::Predicate;

use super::core::Core;
use super::keys::Keys;
use super::lifecycle::Made;
use super::snapshot::{TableFile, TableSnapshot};
use crate::commit::queue::row_id_high_water;
use crate::commit::together::{Member, commit_together};
use crate::commit::{Committed, Pending};
use crate::data::Written;
use crate::data::writer::{NewFiles, WriteAs};
use crate::deletion_vector::{VectorFile, inline};
use crate::error::{Result, TableError};
use crate::log::action::{Add, CommitInfo, DomainMetadata, Metadata, Protocol, StringMap, Txn};
use crate::log::limits::INLINE_DATA_BYTES_MAX;
use crate::partition::Partitioning;
use crate::schema::TableSchema;
use crate::txn::actions::actions_of;
use crate::txn::sets::{DomainWrite, RowDelete, WriteSet};
use crate::txn::{Changed, Columns, Isolation, Removal, RowMap, Rows, Transaction};
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
    pub(super) base: Arc<TableSnapshot>,
    /// What its statements read: the base, and on it what those before have written.
    pub(super) seen: Arc<TableSnapshot>,
    pub(super) txn: Transaction,
    info: CommitInfo,
    files: NewFiles,
    /// Deletion vectors that only its own statements read.
    scratch: NewFiles,
    /// The table, where this transaction made it.
    made: Option<Made>,
    folders: BTreeSet<PathBuf>,
    metrics: BTreeMap<&'static str, u64>,
    /// The schema and partitioning that rows are written with: new ones once this transaction has changed them.
    pub(super) schema: TableSchema,
    partitioning: Partitioning,
    pub(super) configuration: StringMap,
    pub(super) keys: Option<Arc<Keys>>,
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
            scratch: NewFiles::new(base.core.clone()),
            made: None,
            seen: base.clone(),
            keys: Keys::of_table(&base)?.map(Arc::new),
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

    /// What it reads: a version, and on it what was written before the last [`OptimisticTransaction::advance`].
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.seen
    }

    /// Lets statements that follow see what those so far have written. Nobody else does until it is committed.
    ///
    /// # Errors
    /// When what was written contradicts itself, or the system fails.
    pub fn advance(&mut self) -> Result<()> {
        let core = &self.base.core;
        let mut vectors = VectorFile::default();
        let high_water = row_id_high_water(&self.base.log);
        let actions = actions_of(&self.txn, &mut self.info.clone(), high_water, |_, rows| {
            let vector = match inline(rows)? {
                Some(vector) => vector,
                None => vectors.push(rows)?,
            };
            core.vectors.remember(&vector, rows.clone());
            Ok(vector)
        })?;
        if !vectors.is_empty() {
            let (name, bytes) = vectors.finish();
            let path = core.root.join(name);
            self.scratch.push(path.clone());
            let write = || core.context.disk.create(&path)?.append(&bytes);
            write().map_err(TableError::io("writing deletion vectors to", &path))?;
        }
        let sealed = self.base.log.seal(self.info.clone(), actions)?;
        let pin = core.pins.pin(self.base.version())?;
        self.seen = TableSnapshot::new(core.clone(), sealed.snapshot().clone(), pin)?;
        self.keys = Keys::of_table(&self.seen)?.map(Arc::new);
        Ok(())
    }

    /// Where to come back to when a statement fails; see [`OptimisticTransaction::roll_back`].
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            writes: self.txn.writes.clone(),
            metrics: self.metrics.clone(),
            schema: self.schema.clone(),
            partitioning: self.partitioning.clone(),
            configuration: self.configuration.clone(),
            files: self.files.len(),
        }
    }

    /// Forgets what was written since a savepoint. What was read stays read.
    pub fn roll_back(&mut self, to: Savepoint) {
        let Savepoint { writes, metrics, schema, partitioning, configuration, files } = to;
        self.txn.writes = writes;
        self.metrics = metrics;
        self.schema = schema;
        self.partitioning = partitioning;
        self.configuration = configuration;
        self.files.discard_after(files);
    }

    /// Whether a file is one that this transaction adds.
    fn is_new(&self, path: &str) -> bool {
        self.base.log.files().get(path).is_none()
    }

    /// A file that this transaction would add is not added.
    fn drop_new(&mut self, path: &str) {
        self.txn.writes.adds.retain(|add| *add.path != *path);
        self.txn.writes.small.remove(path);
        self.txn.writes.deleted_in_adds.remove(path);
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
        let pruner = self.seen.pruner(predicate)?;
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

    /// Takes in files.
    ///
    /// # Errors
    /// When the log can't keep all that is small and the system fails to sync it.
    pub(crate) fn add_written(&mut self, written: Written) -> Result<()> {
        self.count("numFiles", written.adds.len() as u64);
        self.count("numOutputBytes", written.adds.iter().map(|add| add.size).sum());
        self.count("numOutputRows", written.rows);
        self.txn.writes.adds.extend(written.adds);
        self.txn.writes.small.extend(written.small);
        self.folders.extend(written.folders);
        self.files.append(written.files);
        if self.txn.writes.small.values().map(|file| file.bytes.len()).sum::<usize>() > INLINE_DATA_BYTES_MAX
        {
            let core = &self.base.core;
            for path in self.txn.writes.small.keys() {
                let place = core.path_of(path)?;
                core.context
                    .disk
                    .sync_file(&place)
                    .map_err(TableError::io("syncing the data file", &place))?;
                self.folders.extend(place.parent().map(ToOwned::to_owned));
            }
            self.txn.writes.small.clear();
        }
        Ok(())
    }

    pub(crate) fn write_as(&self) -> Result<WriteAs> {
        let indexed = self.seen.number(INDEXED_COLUMNS_PROPERTY)?.unwrap_or(INDEXED_COLUMNS_DEFAULT);
        Ok(WriteAs {
            schema: self.schema.file_schema(),
            partitioning: self.partitioning.clone(),
            file_bytes: self.seen.number(FILE_BYTES_PROPERTY)?.unwrap_or(FILE_BYTES_DEFAULT),
            indexed_columns: indexed as usize,
            format: WriterOptions { threads: self.base.core.context.threads, ..WriterOptions::default() },
        })
    }

    /// Deletes rows of a file, by their numbers. Rows that are deleted already don't count. Returns how many are.
    ///
    /// # Errors
    /// When there is no such file, or rows of the table must not be deleted.
    pub fn delete_rows(&mut self, file: &TableFile, rows: &Rows) -> Result<u64> {
        self.take_rows(file, rows, &Rows::new())
    }

    /// As [`OptimisticTransaction::delete_rows`], where some of the rows are changed: the transaction writes what they become
    /// ([`RowWriter::write_changed`](super::RowWriter::write_changed)). Readers of changes are told.
    ///
    /// # Errors
    /// As [`OptimisticTransaction::delete_rows`].
    pub fn take_rows(&mut self, file: &TableFile, rows: &Rows, changed: &Rows) -> Result<u64> {
        self.may_remove()?;
        let before = file.deleted()?;
        let path = &file.add.path;
        let records = file.add.stats()?.and_then(|s| s.num_records);
        if self.is_new(path) {
            let gone = self.txn.writes.deleted_in_adds.entry(path.clone()).or_default();
            let had = gone.len();
            *gone |= rows;
            let (gone, deleted) = (gone.len(), gone.len() - had);
            if records == Some(gone) {
                self.drop_new(path);
            }
            self.count("numDeletedRows", deleted);
            return Ok(deleted);
        }
        // Where statements before have deleted rows of the file, `before` has those too.
        let entry = self.txn.writes.deletes.entry(path.clone()).or_insert_with(|| RowDelete {
            file: file.add.clone(),
            before: before.as_ref().clone(),
            rows: Rows::new(),
            changed: Rows::new(),
        });
        let had = entry.rows.len();
        entry.changed |= changed - &entry.before - &entry.rows;
        entry.rows |= rows - &entry.before;
        let deleted = entry.rows.len() - had;
        let left = records.map(|n| n - entry.rows.len() - entry.before.len());
        if entry.rows.is_empty() {
            self.txn.writes.deletes.remove(path);
        } else if left == Some(0)
            && let Some(RowDelete { file, rows, changed, .. }) = self.txn.writes.deletes.remove(path)
        {
            let changed = Changed::of(&changed, &rows);
            self.txn.writes.removes.insert(path.clone(), Removal { file, changed });
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
        self.take_file(file, false)
    }

    /// Removes a file with all its rows, which are changed or deleted.
    pub(super) fn take_file(&mut self, file: &TableFile, changed: bool) -> Result<u64> {
        self.may_remove()?;
        let deleted = file.add.deletion_vector.as_ref().map_or(0, |dv| dv.cardinality);
        let records = file.add.stats()?.and_then(|s| s.num_records);
        let rows = records.unwrap_or(deleted) - deleted;
        if self.is_new(&file.add.path) {
            self.drop_new(&file.add.path);
        } else {
            let removal = match (self.txn.writes.deletes.remove(&file.add.path), changed) {
                (None, false) => Removal { file: file.add.clone(), changed: Changed::None },
                (None, true) => Removal { file: file.add.clone(), changed: Changed::All },
                // Statements before have taken rows of it.
                (Some(known), changed) => {
                    let mut all = Rows::new();
                    all.insert_range(0..records.unwrap_or(0));
                    let gone = all - known.before;
                    let rows = if changed { &gone - &(known.rows - &known.changed) } else { known.changed };
                    Removal { file: known.file, changed: Changed::of(&rows, &gone) }
                }
            };
            self.txn.writes.removes.insert(file.add.path.clone(), removal);
            self.count("numRemovedFiles", 1);
        }
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
        let removal = Removal { file: file.add.clone(), changed: Changed::None };
        self.txn.writes.restores.insert(file.add.path.clone(), (removal, by));
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

    /// After every row was removed and the metadata set: rows that are inserted have the new table's key.
    pub(super) fn keys_of_replaced(&mut self) -> Result<()> {
        self.keys = Keys::of_replaced(&self.schema, &self.configuration)?.map(Arc::new);
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
        if self.is_empty() || self.done_before() {
            return Ok(self.unchanged());
        }
        let (rest, pending) = self.into_pending(operation, parameters);
        let result = rest.core.commit(pending);
        rest.finish(result.map(Some))
    }

    /// Commits transactions of several tables; returns when all of them are durable. Either all of them are committed or none; nobody sees some of
    /// them without the others. The operation is what the history of each table says.
    ///
    /// A transaction that only read is checked like the others, so that all of them together see one state where their level asks for it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), deltalite_table::TableError> {
    /// # let (entry, balance): (arrow_array::RecordBatch, arrow_array::RecordBatch) = todo!();
    /// use deltalite_table::{DeltaLiteTable, OptimisticTransaction};
    /// let mut entries = DeltaLiteTable::open("entries").execute()?.begin()?;
    /// let mut balances = DeltaLiteTable::open("balances").execute()?.begin()?;
    /// entries.insert([Ok(entry)])?;
    /// balances.insert([Ok(balance)])?;
    /// let outcomes = OptimisticTransaction::commit_all(vec![entries, balances], "BOOK")?;
    /// assert_eq!(outcomes.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`OptimisticTransaction::commit`]; then none is committed, unless the error is [`TableError::OutcomeUnknown`].
    pub fn commit_all(transactions: Vec<Self>, operation: &str) -> Result<Vec<Outcome>> {
        let alone = transactions.len() == 1;
        let (mut rests, mut members) = (Vec::new(), Vec::new());
        for mut transaction in transactions {
            if transaction.done_before() {
                transaction.txn.writes =
                    WriteSet { txns: transaction.txn.writes.txns, ..WriteSet::default() };
            }
            // The order that lets writers of one table pass each other may not be the order in another.
            if !alone && transaction.txn.isolation == Isolation::WriteSerializable {
                transaction.txn.isolation = Isolation::Serializable;
            }
            let writes = !transaction.is_empty();
            let (rest, pending) = transaction.into_pending(operation, []);
            members.push((rest.core.clone(), pending, writes));
            rests.push(rest);
        }
        let members: Vec<Member<'_>> = members
            .iter()
            .map(|(core, pending, writes)| Member {
                table: &core.root,
                committer: &core.committer,
                store: &core.store,
                pending,
                writes: *writes,
            })
            .collect();
        let mut committed = match commit_together(&members) {
            Ok(committed) => committed,
            Err(error) => {
                let safe = is_harmless(&error);
                for rest in rests {
                    rest.end(safe);
                }
                return Err(error);
            }
        };
        let ends = rests.into_iter().zip(committed.drain(..));
        ends.map(|(rest, committed)| rest.finish(Ok(committed))).collect()
    }

    fn unchanged(&self) -> Outcome {
        Outcome { version: self.base.version(), committed: false, metrics: self.metrics.clone() }
    }

    fn into_pending<'a>(
        self,
        operation: &str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Rest, Pending) {
        let unchanged = self.unchanged();
        let Self { base, txn, mut info, mut files, folders, metrics, made, .. } = self;
        // Files that one statement added and another removed again.
        let writes = &txn.writes;
        if files.len() > writes.adds.len() + writes.cdcs.len() {
            let paths =
                writes.adds.iter().map(|add| &*add.path).chain(writes.cdcs.iter().map(|cdc| &*cdc.path));
            let kept: HashSet<PathBuf> = paths.filter_map(|path| base.core.path_of(path).ok()).collect();
            files.discard_unless(|path| kept.contains(path));
        }
        operation.clone_into(&mut info.operation);
        info.operation_parameters = parameters.into_iter().map(|(k, v)| (k, Some(v))).collect();
        let texts: Vec<(&str, String)> = metrics.iter().map(|(k, v)| (*k, v.to_string())).collect();
        info.operation_metrics = Some(texts.iter().map(|(k, v)| (*k, Some(v.as_str()))).collect());
        let rest = Rest { core: base.core.clone(), files, made, unchanged, _base: base };
        (rest, Pending { txn, info, unsynced: folders })
    }

    /// Partition values of the rows inserted.
    pub(crate) fn partitions_written(&self) -> HashSet<StringMap> {
        self.txn.writes.adds.iter().map(|add| add.partition_values.clone()).collect()
    }

    /// The table is one that this transaction made: it goes with it.
    pub(crate) fn of_made(mut self, made: Made) -> Self {
        self.made = Some(made);
        self
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

/// What a transaction had written at some point.
#[derive(Debug)]
pub struct Savepoint {
    writes: WriteSet,
    metrics: BTreeMap<&'static str, u64>,
    schema: TableSchema,
    partitioning: Partitioning,
    configuration: StringMap,
    files: usize,
}

/// What is left of a transaction while it commits.
struct Rest {
    core: Arc<Core>,
    files: NewFiles,
    made: Option<Made>,
    unchanged: Outcome,
    /// Keeps what it read from being vacuumed.
    _base: Arc<TableSnapshot>,
}

/// Whether nothing can have happened, so that the files may go.
fn is_harmless(error: &TableError) -> bool {
    matches!(error, TableError::Conflict(_))
}

impl Rest {
    fn finish(self, committed: Result<Option<Committed>>) -> Result<Outcome> {
        let committed = match committed {
            Ok(committed) => committed,
            Err(error) => {
                self.end(is_harmless(&error));
                return Err(error);
            }
        };
        let unchanged = self.unchanged.clone();
        match committed {
            None => Ok(unchanged),
            Some(committed) if committed.already => Ok(Outcome { version: committed.version, ..unchanged }),
            Some(committed) => {
                self.end(false);
                Ok(Outcome { version: committed.version, committed: true, ..unchanged })
            }
        }
    }

    /// Removes what was written, or leaves it.
    fn end(self, remove: bool) {
        if !remove {
            self.files.keep();
            if let Some(made) = self.made {
                made.keep();
            }
        }
    }
}
