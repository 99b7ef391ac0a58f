//! Versions as the rules want them: what their actions only refer to is looked up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::row_maps;
use super::vectors::Vectors;
use crate::error::Result;
use crate::log::action::{DeletionVector, Metadata};
use crate::log::{Commit, LogStore, Snapshot};
use crate::txn::{RowChange, RowMap, WinnerSummary};
use crate::version::Version;

/// Summaries kept: a transaction that took longer reads the log.
const KEPT: usize = 2048;

/// What a version needs beside its actions to be summarised.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) metadata_before: Arc<Metadata>,
    pub(crate) row_map: Option<RowMap>,
    pub(crate) keys: Option<BTreeSet<Vec<u8>>>,
}

/// Summarises a version.
///
/// # Errors
/// When a deletion vector can't be read.
pub(crate) fn summarise(commit: Commit, known: Known, vectors: &Vectors) -> Result<WinnerSummary> {
    let removed: BTreeMap<&str, Option<&DeletionVector>> =
        commit.removes.iter().map(|r| (&*r.path, r.deletion_vector.as_deref())).collect();
    let (mut changes, mut deleted_in_new) = (BTreeMap::new(), BTreeMap::new());
    for add in &commit.adds {
        let after = add.deletion_vector.as_deref();
        match removed.get(&*add.path) {
            Some(before) => {
                let change = RowChange {
                    before: vectors.rows(*before)?.as_ref().clone(),
                    after: vectors.rows(after)?.as_ref().clone(),
                };
                changes.insert(add.path.clone(), change);
            }
            None if after.is_some() => {
                deleted_in_new.insert(add.path.clone(), vectors.rows(after)?.as_ref().clone());
            }
            None => {}
        }
    }
    let Known { metadata_before, row_map, keys } = known;
    Ok(WinnerSummary { commit, metadata_before, changes, deleted_in_new, row_map, keys })
}

/// Summaries of the last versions.
#[derive(Debug, Default)]
pub(crate) struct Winners {
    known: Mutex<BTreeMap<Version, Arc<WinnerSummary>>>,
}

impl Winners {
    /// Remembers a version of this process.
    pub(crate) fn remember(&self, summary: Arc<WinnerSummary>) {
        let mut known = self.known.lock();
        known.insert(summary.version(), summary);
        while known.len() > KEPT {
            known.pop_first();
        }
    }

    /// A version's summary.
    ///
    /// # Errors
    /// When the version, or what it refers to, is not there any more or is damaged.
    pub(crate) fn get(
        &self,
        store: &dyn LogStore,
        vectors: &Vectors,
        version: Version,
    ) -> Result<Arc<WinnerSummary>> {
        if let Some(summary) = self.known.lock().get(&version) {
            return Ok(summary.clone());
        }
        let commit = Commit::read(store, version)?;
        let metadata_before = match (&commit.metadata, version.previous()) {
            (Some(_), Some(before)) => Snapshot::open_at(store, before)?.metadata().clone(),
            _ => Arc::default(),
        };
        let row_map = row_maps::get(store, &commit.info)?;
        let known = Known { metadata_before, row_map, keys: None };
        let summary = Arc::new(summarise(commit, known, vectors)?);
        self.remember(summary.clone());
        Ok(summary)
    }
}
