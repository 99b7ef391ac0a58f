//! A table's versions: what they did, tags, going back, and what changed between two.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalite_format::reader::read_type;

use super::DeltaLiteTable;
use super::delete::ROW;
use super::snapshot::{TableFile, TableSnapshot};
use super::transaction::Outcome;
use super::update::CHANGED_TAG;
use super::write::{one, row_numbers};
use crate::error::{Result, TableError};
use crate::log::Commit;
use crate::log::action::{Add, CommitInfo};
use crate::txn::actions::ChangedRows;
use crate::version::Version;

/// The domain that names versions.
pub(crate) const TAGS_DOMAIN: &str = "deltalite.tags";

/// A version as the history has it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The version.
    pub version: Version,
    /// When it was committed, in milliseconds since 1970.
    pub timestamp: i64,
    /// Who, what, how much.
    pub info: CommitInfo,
}

/// The versions that tags name.
///
/// # Errors
/// When the domain is not understood.
pub(crate) fn tags_of(log: &crate::log::Snapshot) -> Result<BTreeMap<String, Version>> {
    match log.domains().get(TAGS_DOMAIN) {
        None => Ok(BTreeMap::new()),
        Some(domain) => serde_json::from_str(&domain.configuration)
            .map_err(|e| TableError::invalid("reading the tags", e.to_string())),
    }
}

impl DeltaLiteTable {
    /// The newest versions, the newest first.
    ///
    /// # Errors
    /// When a version is damaged.
    pub fn history(&self, limit: usize) -> Result<Vec<HistoryEntry>> {
        let mut versions = self.core.log().list(Version(0))?;
        versions.retain(|v| *v <= self.version());
        versions.reverse();
        versions
            .into_iter()
            .take(limit)
            .map(|version| {
                let info = Commit::read_info(self.core.log(), version)?;
                Ok(HistoryEntry { version, timestamp: info.in_commit_timestamp, info })
            })
            .collect()
    }

    /// The tags and their versions. A version with a tag is never vacuumed.
    ///
    /// # Errors
    /// When they are not understood.
    pub fn tags(&self) -> Result<BTreeMap<String, Version>> {
        tags_of(&self.snapshot().log)
    }

    /// Gives a version a tag, or takes a tag away.
    ///
    /// # Errors
    /// When there is no such version or tag, or another transaction has won.
    pub fn set_tag(&self, tag: &str, version: Option<Version>) -> Result<Outcome> {
        if let Some(version) = version {
            self.at_version(version)?;
        }
        self.run(|mut txn| {
            let mut tags = tags_of(&txn.snapshot().log)?;
            match version {
                Some(version) => drop(tags.insert(tag.to_owned(), version)),
                None if tags.remove(tag).is_none() => {
                    return Err(TableError::invalid("taking a tag away", format!("there is no tag {tag:?}")));
                }
                None => {}
            }
            let text = serde_json::to_string(&tags)
                .map_err(|e| TableError::invalid("writing the tags", e.to_string()))?;
            txn.set_domain(TAGS_DOMAIN, Some(text));
            txn.commit("SET TAG", [("tag", tag)])
        })
    }

    /// A handle of the version that a tag names, for reading.
    ///
    /// # Errors
    /// When there is no such tag.
    pub fn at_tag(&self, tag: &str) -> Result<DeltaLiteTable> {
        match self.tags()?.get(tag) {
            Some(version) => self.at_version(*version),
            None => Err(TableError::invalid("looking for a tag", format!("there is no tag {tag:?}"))),
        }
    }

    /// Makes a new version that is as an old one was.
    ///
    /// # Errors
    /// When there is no such version, its files are gone, or another transaction has won.
    pub fn restore(&self, version: Version) -> Result<Outcome> {
        let old = self.at_version(version)?.snapshot();
        let text = version.to_string();
        self.run(|mut txn| {
            let now = txn.snapshot().clone();
            txn.read_whole_table();
            for file in now.files(None)? {
                match old.log.files().get(&file.add.path) {
                    None => drop(txn.remove_file(&file)?),
                    Some(then) if then.dv_id() == file.add.dv_id() => {}
                    Some(then) => txn.replace_file(&file, then.to_add()?),
                }
            }
            for file in old.files(None)? {
                if now.log.files().get(&file.add.path).is_none() {
                    // It must be there: vacuum may have been faster.
                    file.open()?;
                    txn.add_existing(Add { data_change: true, ..file.add });
                }
            }
            if old.log.metadata() != now.log.metadata() {
                txn.set_metadata(old.log.metadata().as_ref().clone())?;
            }
            txn.commit("RESTORE", [("version", text.as_str())])
        })
    }

    /// The rows that versions changed, from one to another, both included.
    ///
    /// Columns of the table as they are now, then `_change_type` (`insert`, `delete`, `update_preimage`, `update_postimage`), `_commit_version`
    /// and `_commit_timestamp`. Versions that only moved rows change nothing. Of a row that a transaction of several statements changes
    /// and then deletes, only the `update_preimage` is told.
    ///
    /// # Errors
    /// When a version is no longer there, or reading fails.
    pub fn changes(&self, from: Version, to: Version) -> Result<Vec<RecordBatch>> {
        let pinned = self.at_version(from)?;
        let mut out = Vec::new();
        for version in (from.0..=to.0).map(Version) {
            out.extend(self.changes_of(version)?);
        }
        drop(pinned);
        Ok(out)
    }

    /// The rows that one version changed, as [`DeltaLiteTable::changes`] tells them. Whoever asks for one after the other keeps a handle of the first
    /// ([`DeltaLiteTable::at_version`]), so that none is removed meanwhile.
    ///
    /// # Errors
    /// As [`DeltaLiteTable::changes`].
    pub fn changes_of(&self, version: Version) -> Result<Vec<RecordBatch>> {
        let pinned = self.at_version(version)?;
        let snapshot = self.snapshot();
        let mut out = Vec::new();
        let commit = Commit::read(self.core.log(), version)?;
        let mut updates = false;
        let before: BTreeMap<&str, _> = commit.removes.iter().map(|r| (&*r.path, r)).collect();
        let after: BTreeMap<&str, _> = commit.adds.iter().map(|a| (&*a.path, a)).collect();
        let mut tell = |add: &Add, kind: &dyn Fn(u64) -> Option<&'static str>| -> Result<()> {
            out.extend(rows_of(&snapshot, add, kind, &commit.info)?);
            Ok(())
        };
        for remove in commit.removes.iter().filter(|r| r.data_change) {
            let gone = self.core.vectors.rows(remove.deletion_vector.as_deref())?;
            let of_remove = ChangedRows::of(remove)?;
            updates |= of_remove != ChangedRows::None;
            let changed = match &of_remove {
                ChangedRows::These(vector) => Some(self.core.vectors.rows(Some(vector))?),
                ChangedRows::None | ChangedRows::All => None,
            };
            let is_changed = |row| match &changed {
                Some(rows) => rows.contains(row),
                None => of_remove == ChangedRows::All,
            };
            let (path, tags) = (remove.path.clone(), remove.tags.clone());
            let add = Add { path, size: remove.size.unwrap_or(0), tags, ..Add::default() };
            let add = after.get(&*remove.path).copied().unwrap_or(&add);
            let now = match after.get(&*remove.path) {
                Some(add) => Some(self.core.vectors.rows(add.deletion_vector.as_deref())?),
                None => None,
            };
            tell(add, &|row| match (gone.contains(row), now.as_ref().is_none_or(|now| now.contains(row))) {
                (false, true) => Some(if is_changed(row) { "update_preimage" } else { "delete" }),
                (true, false) => Some("insert"),
                _ => None,
            })?;
        }
        for add in commit.adds.iter().filter(|a| a.data_change && !before.contains_key(&*a.path)) {
            let changed = add.tags.as_ref().is_some_and(|tags| tags.value(CHANGED_TAG).is_some());
            let gone = self.core.vectors.rows(add.deletion_vector.as_deref())?;
            let kind = if changed && updates { "update_postimage" } else { "insert" };
            tell(add, &|row| (!gone.contains(row)).then_some(kind))?;
        }
        drop(pinned);
        Ok(out)
    }

    /// The schema of [`DeltaLiteTable::changes`].
    pub fn changes_schema(&self) -> SchemaRef {
        changes_schema(&self.snapshot())
    }
}

fn changes_schema(snapshot: &TableSnapshot) -> SchemaRef {
    let read = |f: &Arc<Field>| f.as_ref().clone().with_data_type(read_type(f.data_type()));
    let mut fields: Vec<Field> = snapshot.schema().fields().iter().map(read).collect();
    fields.push(Field::new("_change_type", DataType::Utf8, false));
    fields.push(Field::new("_commit_version", DataType::UInt64, false));
    fields.push(Field::new("_commit_timestamp", DataType::Int64, false));
    Arc::new(Schema::new(fields))
}

/// Rows of a file, each told as changed in its way; those that are not changed are left out.
fn rows_of(
    snapshot: &Arc<TableSnapshot>,
    add: &Add,
    kind: &dyn Fn(u64) -> Option<&'static str>,
    info: &CommitInfo,
) -> Result<Vec<RecordBatch>> {
    let file = TableFile::of_add(snapshot, Add { deletion_vector: None, ..add.clone() })?;
    let schema = changes_schema(snapshot);
    let mut out = Vec::new();
    for batch in snapshot.scan().row_numbers(ROW).of_files(one(&file))? {
        let mut batch = batch?;
        let told = row_numbers(&batch).enumerate().filter_map(|(at, row)| Some((at as u32, kind(row)?)));
        let (rows, kinds): (Vec<u32>, Vec<&str>) = told.unzip();
        if rows.is_empty() {
            continue;
        }
        batch.remove_column(batch.num_columns() - 1);
        let count = rows.len();
        let taken = arrow_select::take::take_record_batch(&batch, &UInt32Array::from(rows))
            .map_err(TableError::compute("taking changed rows"))?;
        let mut columns = taken.columns().to_vec();
        columns.push(Arc::new(StringArray::from(kinds)));
        columns.push(Arc::new(UInt64Array::from(vec![info.version.0; count])));
        columns.push(Arc::new(Int64Array::from(vec![info.in_commit_timestamp; count])));
        out.push(
            RecordBatch::try_new(schema.clone(), columns).map_err(TableError::compute("telling changes"))?,
        );
    }
    Ok(out)
}
