//! From a write set to the actions of a version.

use std::collections::BTreeSet;

use super::conflict::Rule;
use super::sets::{Changed, Rows, Transaction};
use crate::error::{Result, TableError};
use crate::log::action::{Action, Add, CommitInfo, DeletionVector, DomainMetadata, Remove};
use crate::log::inline::Inlined;

/// The domain in which Delta keeps the highest row id.
const ROW_TRACKING_DOMAIN: &str = "delta.rowTracking";
/// Tag of a removed file, or of one before more of its rows were deleted: which of the rows that went are written anew, changed.
/// [`CHANGED_ALL`], or the descriptor of a vector as JSON.
const CHANGED_ROWS_TAG: &str = "deltalite.changedRows";
const CHANGED_ALL: &str = "all";

/// Completes and checks what a transaction writes, on top of the version that it was checked against last.
///
/// `store_rows` puts the deleted rows of a file somewhere, or finds where they were put before. `high_water` is the highest row id
/// of the table, where it tracks rows (R11): new files get the ids after it.
///
/// # Errors
/// What `store_rows` says; and when the actions contradict each other (R15): a path twice, a row deleted twice, rows in a file that
/// is not added.
pub fn actions_of(
    txn: &Transaction,
    info: &mut CommitInfo,
    high_water: Option<i64>,
    mut store_rows: impl FnMut(&str, &Rows) -> Result<DeletionVector>,
) -> Result<Vec<Action>> {
    let writes = &txn.writes;
    let now = info.timestamp;
    let wrong = |detail: String| {
        TableError::invalid("building a commit", format!("{detail} [{}]", Rule::Shape.name()))
    };
    let mut paths = BTreeSet::new();
    let mut actions = Vec::new();
    actions.extend(writes.protocol.clone().map(Action::Protocol));
    actions.extend(writes.metadata.clone().map(|m| Action::Metadata(Box::new(m))));
    actions.extend(writes.txns.iter().cloned().map(Action::Txn));
    actions.extend(writes.domains.iter().map(|d| Action::DomainMetadata(d.domain.clone())));
    actions.extend(writes.cdcs.iter().cloned().map(Action::Cdc));
    for (path, removal) in &writes.removes {
        if **path != *removal.file.path || !paths.insert(&**path) {
            return Err(wrong(format!("{path} is removed as {}", removal.file.path)));
        }
        let mut remove = removal.file.to_remove(now, writes.data_change);
        tell_changed(&mut remove, &removal.changed, &mut store_rows)?;
        actions.push(Action::Remove(remove));
    }
    for (path, delete) in &writes.deletes {
        if **path != *delete.file.path || !paths.insert(&**path) {
            return Err(wrong(format!("{path} is removed and has rows deleted")));
        }
        if !delete.before.is_disjoint(&delete.rows) {
            return Err(wrong(format!("rows of {path} are deleted twice")));
        }
        if delete.rows.is_empty() {
            continue;
        }
        let mut remove = delete.file.to_remove(now, true);
        tell_changed(&mut remove, &Changed::of(&delete.changed, &delete.rows), &mut store_rows)?;
        actions.push(Action::Remove(remove));
        let vector = store_rows(path, &(&delete.before | &delete.rows))?;
        actions.push(Action::Add(Add {
            deletion_vector: Some(Box::new(vector)),
            data_change: true,
            ..delete.file.clone()
        }));
    }
    for (path, (removal, by)) in &writes.restores {
        if **path != *removal.file.path || *path != by.path || !paths.insert(&**path) {
            return Err(wrong(format!("{path} is brought back and changed otherwise")));
        }
        actions.push(Action::Remove(removal.file.to_remove(now, true)));
        actions.push(Action::Add(by.clone()));
    }
    let mut next_id = high_water.map(|highest| highest + 1);
    let mut moved = 0;
    for add in &writes.adds {
        if !paths.insert(&*add.path) {
            return Err(wrong(format!("{} is added twice, or added and removed", add.path)));
        }
        let mut add = Add { data_change: writes.data_change, ..add.clone() };
        if let Some(file) = writes.small.get(&add.path) {
            Inlined { version: txn.checked.next(), hash: file.hash }.note(&mut add);
        }
        if let Some(rows) = writes.deleted_in_adds.get(&add.path) {
            moved += 1;
            add.deletion_vector = Some(Box::new(store_rows(&add.path, rows)?));
        }
        if let (Some(next), None) = (&mut next_id, add.base_row_id) {
            let rows = add.stats()?.and_then(|s| s.num_records).ok_or_else(|| {
                wrong(format!("{} has no number of rows, which a table that tracks rows needs", add.path))
            })?;
            add.base_row_id = Some(*next);
            add.default_row_commit_version = Some(txn.checked.next().0 as i64);
            *next = next.saturating_add_unsigned(rows);
        }
        actions.push(Action::Add(add));
    }
    if moved != writes.deleted_in_adds.len() {
        return Err(wrong("rows are deleted in a file that the compaction does not add".to_owned()));
    }
    if let (Some(next), Some(highest)) = (next_id, high_water)
        && next > highest + 1
    {
        actions.push(Action::DomainMetadata(DomainMetadata {
            domain: ROW_TRACKING_DOMAIN.to_owned(),
            configuration: format!(r#"{{"rowIdHighWaterMark":{}}}"#, next - 1),
            removed: false,
        }));
    }
    info.txn_id.clone_from(&txn.id);
    info.read_version = Some(txn.base);
    info.isolation_level = Some(txn.level().name().to_owned());
    info.is_blind_append = Some(txn.is_blind_append());
    Ok(actions)
}

fn tell_changed(
    remove: &mut Remove,
    changed: &Changed,
    store_rows: &mut impl FnMut(&str, &Rows) -> Result<DeletionVector>,
) -> Result<()> {
    let text = match changed {
        Changed::None => return Ok(()),
        Changed::All => CHANGED_ALL.to_owned(),
        Changed::Some(rows) => serde_json::to_string(&store_rows(&remove.path, rows)?)
            .map_err(|e| TableError::invalid("telling which rows are changed", e.to_string()))?,
    };
    let known = remove.tags.take().unwrap_or_default();
    remove.tags = Some(known.iter().chain([(CHANGED_ROWS_TAG, Some(text.as_str()))]).collect());
    Ok(())
}

/// Which rows that went from a file are changed, as its removal says; where they are said by a vector, its descriptor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChangedRows {
    None,
    All,
    These(DeletionVector),
}

impl ChangedRows {
    /// # Errors
    /// When the tag is not understood.
    pub(crate) fn of(remove: &Remove) -> Result<Self> {
        match remove.tags.as_ref().and_then(|tags| tags.value(CHANGED_ROWS_TAG)) {
            None => Ok(ChangedRows::None),
            Some(CHANGED_ALL) => Ok(ChangedRows::All),
            Some(text) => serde_json::from_str(text).map(ChangedRows::These).map_err(|e| {
                TableError::corrupt(
                    format!("the removal of {}", remove.path),
                    format!("{CHANGED_ROWS_TAG}: {e}"),
                )
            }),
        }
    }
}
