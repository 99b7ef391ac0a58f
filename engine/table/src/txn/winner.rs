//! What a version did that was committed while a transaction was at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::row_map::RowMap;
use super::sets::Rows;
use crate::log::action::{Add, Metadata, Remove};
use crate::log::snapshot::Commit;
use crate::version::Version;

/// Which rows of a file were deleted before a version and after it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowChange {
    /// Before.
    pub before: Rows,
    /// After.
    pub after: Rows,
}

impl RowChange {
    /// Rows that the version deleted.
    pub fn deleted(&self) -> Rows {
        &self.after - &self.before
    }

    /// Whether rows came back, as when an older version is restored.
    pub fn brings_back(&self) -> bool {
        !self.before.is_subset(&self.after)
    }
}

/// A version that won, with what its actions only refer to.
#[derive(Debug, Clone, Default)]
pub struct WinnerSummary {
    /// Its actions.
    pub commit: Commit,
    /// The metadata before it.
    pub metadata_before: Arc<Metadata>,
    /// For each file that it removed and added again with another deletion vector: the rows.
    pub changes: BTreeMap<Box<str>, RowChange>,
    /// For each new file with a deletion vector: its deleted rows.
    pub deleted_in_new: BTreeMap<Box<str>, Rows>,
    /// Of a compaction: where rows went.
    pub row_map: Option<RowMap>,
    /// Encoded keys of its new rows; `None` when they are not known.
    pub keys: Option<BTreeSet<Vec<u8>>>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate<'a> {
    /// Nothing.
    Untouched,
    /// Some more of its rows are deleted; it is this now.
    RowsDeleted(&'a RowChange, &'a Add),
    /// Its rows are in other files.
    Compacted(&'a RowMap),
    /// It is gone, with its rows, or rows of it came back.
    Gone,
}

impl WinnerSummary {
    /// Which version it is.
    pub fn version(&self) -> Version {
        self.commit.info.version
    }

    pub(super) fn added(&self, path: &str) -> Option<&Add> {
        self.commit.adds.iter().find(|add| &*add.path == path)
    }

    fn removed(&self, path: &str) -> Option<&Remove> {
        self.commit.removes.iter().find(|remove| &*remove.path == path)
    }

    pub(super) fn fate(&self, path: &str) -> Fate<'_> {
        match (self.removed(path), self.added(path)) {
            (None, _) => Fate::Untouched,
            (Some(_), Some(add)) => match self.changes.get(path) {
                Some(change) if !change.brings_back() => Fate::RowsDeleted(change, add),
                _ => Fate::Gone,
            },
            (Some(_), None) => match &self.row_map {
                Some(map) if map.has(path) => Fate::Compacted(map),
                _ => Fate::Gone,
            },
        }
    }

    /// Files with rows that were not in the table before.
    pub(super) fn new_rows(&self) -> impl Iterator<Item = &Add> {
        self.commit.adds.iter().filter(|add| {
            add.data_change
                && match self.removed(&add.path) {
                    None => true,
                    Some(_) => self.changes.get(&add.path).is_none_or(RowChange::brings_back),
                }
        })
    }

    /// Whether rows are new, changed or gone, rather than moved.
    pub(super) fn changes_data(&self) -> bool {
        let commit = &self.commit;
        commit.adds.iter().any(|add| add.data_change)
            || commit.removes.iter().any(|remove| remove.data_change)
    }

    /// Whether it added rows without looking at any.
    pub(super) fn is_blind_append(&self) -> bool {
        self.commit.info.is_blind_append == Some(true) && self.commit.removes.is_empty()
    }
}
