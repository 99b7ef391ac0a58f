//! Rows on their way into a transaction.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::identity;
use super::keys::{AddedKeys, Keys};
use super::snapshot::TableSnapshot;
use super::transaction::OptimisticTransaction;
use super::update::changed_tag;
use crate::data::DataWriter;
use crate::data::writer::WriteAs;
use crate::error::Result;
use crate::schema::Preparer;
use crate::txn::{Columns, Rows};

/// What a [`RowWriter`] has brought a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowsAdded {
    /// How many rows were not in the table.
    pub new: u64,
    /// How many were, and are changed.
    pub changed: u64,
    /// The files of new rows, by their paths in the log, and how many each has: of one partition, they have them in the order in which they were written.
    pub files: Vec<(Box<str>, u64)>,
}

/// Writes rows to files that a transaction takes over once all are written ([`OptimisticTransaction::add`]). Dropped before, it removes them.
///
/// It does not borrow the transaction: a statement that changes rows learns which ones while it writes what they become, and says both at the end. That
/// is also when keys are compared, so that changed rows may keep theirs. In memory are the rows that files' blocks are made of, and the
/// keys of new rows where the table enforces some.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use deltalite_table::DeltaLiteTable;
///
/// let rows = |ids: [i64; 2]| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef)]);
/// let folder = tempfile::tempdir()?;
/// let table = DeltaLiteTable::create(folder.path().join("ids"), &rows([1, 2])?.schema()).execute()?;
/// table.append([rows([1, 2])?]).execute()?;
///
/// let mut txn = table.begin()?;
/// let mut writer = txn.writer()?;
/// writer.write_changed(&rows([10, 20])?)?;
/// writer.write(&rows([3, 4])?)?;
/// for file in txn.snapshot().clone().files(None)? {
///     txn.remove_file(&file)?;
/// }
/// let added = txn.add(writer)?;
/// assert_eq!((added.new, added.changed), (2, 2));
/// txn.commit("MERGE", [])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "rows are only in the transaction once it is given them"]
pub struct RowWriter {
    base: Arc<TableSnapshot>,
    how: WriteAs,
    preparer: Preparer,
    keys: Option<(Arc<Keys>, AddedKeys)>,
    new: Option<Part>,
    changed: Option<Part>,
}

impl std::fmt::Debug for RowWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowWriter").field("table", &self.base.path()).finish_non_exhaustive()
    }
}

/// Files of rows of one kind.
struct Part {
    preparer: Preparer,
    writer: DataWriter,
}

impl RowWriter {
    pub(super) fn new(
        base: Arc<TableSnapshot>,
        how: WriteAs,
        preparer: Preparer,
        keys: Option<Arc<Keys>>,
    ) -> Self {
        let keys = keys.map(|keys| (keys, AddedKeys::default()));
        Self { base, how, preparer, keys, new: None, changed: None }
    }

    /// Writes new rows, brought to the table's columns.
    ///
    /// # Errors
    /// When rows don't fit the columns, break a constraint or have a key twice, or writing fails; the writer must be dropped then.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.write_as(batch, false)
    }

    /// As [`RowWriter::write`], of rows that were in the table and are changed: they bring the values of columns that count by themselves.
    ///
    /// # Errors
    /// As [`RowWriter::write`].
    pub fn write_changed(&mut self, batch: &RecordBatch) -> Result<()> {
        self.write_as(batch, true)
    }

    fn write_as(&mut self, batch: &RecordBatch, changed: bool) -> Result<()> {
        let part = if changed { &mut self.changed } else { &mut self.new };
        let part = part.get_or_insert_with(|| {
            let writer = DataWriter::new(self.base.core.clone(), self.how.clone());
            let preparer = self.preparer.clone();
            if changed {
                Part { preparer: preparer.of_changed_rows(), writer: writer.tagged(changed_tag()) }
            } else {
                Part { preparer, writer }
            }
        });
        let base = &self.base;
        let rows = part.preparer.prepare(batch, &mut |column, rows| identity::take(base, column, rows))?;
        if let Some((keys, added)) = &mut self.keys {
            keys.gather(&rows, added)?;
        }
        part.writer.write(&rows)
    }
}

impl OptimisticTransaction {
    /// A writer of rows for this transaction. Its rows are in it after [`OptimisticTransaction::add`].
    ///
    /// # Errors
    /// When an expression of the table is not understood.
    pub fn writer(&self) -> Result<RowWriter> {
        let preparer =
            Preparer::new(&self.schema, &self.configuration, self.base.core.context.expressions.as_ref())?;
        Ok(RowWriter::new(self.seen.clone(), self.write_as()?, preparer, self.keys.clone()))
    }

    /// Takes over the rows of a writer of this transaction. Rows that it deletes don't have their keys any more, wherever that was said before.
    ///
    /// # Errors
    /// When a row has the key of one that stays, or writing fails; the transaction must be dropped then.
    pub fn add(&mut self, rows: RowWriter) -> Result<RowsAdded> {
        let RowWriter { keys, new, changed, .. } = rows;
        let (mut files, mut added) = (Vec::new(), RowsAdded::default());
        if let Some(part) = changed {
            let written = part.writer.finish()?;
            added.changed = written.rows;
            files.push(written);
        }
        if let Some(part) = new {
            let written = part.writer.finish()?;
            added.new = written.rows;
            for add in &written.adds {
                let rows = add.stats()?.and_then(|stats| stats.num_records).unwrap_or(0);
                added.files.push((add.path.clone(), rows));
            }
            files.push(written);
        }
        if let Some((keys, of_rows)) = keys {
            let writes = &self.txn.writes;
            let of_known = writes.deletes.iter().map(|(path, d)| (&**path, &d.rows));
            let of_new = writes.deleted_in_adds.iter().map(|(path, rows)| (&**path, rows));
            let deleted: HashMap<&str, &Rows> = of_known.chain(of_new).collect();
            keys.check(&self.seen, &of_rows, &deleted, &writes.removes)?;
            self.txn.writes.keys.extend(of_rows.into_keys());
        }
        self.txn.writes.columns = Columns::All;
        for written in files {
            self.add_written(written)?;
        }
        Ok(added)
    }

    /// Appends rows, brought to the table's columns. Returns how many.
    ///
    /// # Errors
    /// When rows don't fit the columns or break a constraint, or writing fails; the transaction must be dropped then.
    pub fn insert(&mut self, batches: impl IntoIterator<Item = Result<RecordBatch>>) -> Result<u64> {
        let mut writer = self.writer()?;
        for batch in batches {
            writer.write(&batch?)?;
        }
        Ok(self.add(writer)?.new)
    }
}
