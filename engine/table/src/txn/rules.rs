//! The rules: whether a transaction can be put on top of a version that was committed since it read, and how it looks then.

use super::conflict::{Conflict, Remedy, Rule};
use super::isolation::Isolation;
use super::row_map::RowMap;
use super::schema::{Difference, differences};
use super::sets::{RowDelete, Rows, Transaction, WriteSet};
use super::winner::{Fate, RowChange, WinnerSummary};
use crate::log::action::{Add, Protocol};
use crate::version::Version;

/// Rows that a message names at most.
const ROWS_NAMED: usize = 5;
/// Domains that hold the current token of a lock or lease begin like this.
pub const FENCE_DOMAIN: &str = "deltalite.fence.";
/// The domain that says that a table is not there yet (`creating`), or not any more (`dropped`).
pub const LIFECYCLE_DOMAIN: &str = "deltalite.lifecycle";

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The transaction is on top of the winner now.
    Rebased,
    /// The winner *is* this transaction, or one that did the same work for the application: nothing is left to be done (R0, R4).
    AlreadyCommitted(Version),
}

/// Checks a transaction against the next version that won, in the order of the rules, and puts it on top of it.
///
/// `knows` tells whether this writer knows a protocol. Versions are to be checked one after the other; after a conflict the
/// transaction is spoilt.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(
    winner: &WinnerSummary,
    txn: &mut Transaction,
    knows: impl Fn(&Protocol) -> bool,
) -> Result<Checked, Box<Conflict>> {
    let case = Case { winner, level: txn.level() };
    if winner.commit.info.txn_id == txn.id {
        return Ok(Checked::AlreadyCommitted(winner.version()));
    }
    if winner.version() != txn.checked.next() {
        return Err(case.conflict(
            Rule::Horizon,
            format!("versions are missing between {} and it, to compare with", txn.checked),
        ));
    }
    case.protocol(&txn.writes, knows)?;
    case.metadata(txn)?;
    case.domains(txn)?;
    if case.app_transactions(txn)? {
        return Ok(Checked::AlreadyCommitted(winner.version()));
    }
    case.fences(&txn.writes)?;
    if case.level > Isolation::Snapshot {
        case.phantoms(txn)?;
        case.deleted_reads(txn)?;
    }
    case.row_level(txn)?;
    case.removals(&mut txn.writes)?;
    case.keys(&txn.writes)?;
    case.follow_reads(txn);
    txn.checked = winner.version();
    Ok(Checked::Rebased)
}

struct Case<'a> {
    winner: &'a WinnerSummary,
    level: Isolation,
}

type Checking<T = ()> = Result<T, Box<Conflict>>;

impl Case<'_> {
    fn conflict(&self, rule: Rule, detail: impl Into<String>) -> Box<Conflict> {
        let info = &self.winner.commit.info;
        Box::new(Conflict {
            rule,
            version: info.version,
            operation: info.operation.clone(),
            path: None,
            rows: None,
            predicate: None,
            detail: detail.into(),
            rebase_tried: false,
            remedy: Remedy::RunAgain,
        })
    }

    fn of_file(&self, rule: Rule, path: &str, detail: &str) -> Box<Conflict> {
        Box::new(Conflict { path: Some(path.into()), ..*self.conflict(rule, detail) })
    }

    fn of_rows(&self, rule: Rule, path: &str, rows: &Rows, detail: &str) -> Box<Conflict> {
        let named = rows.iter().take(ROWS_NAMED).collect();
        Box::new(Conflict {
            rows: Some((named, rows.len())),
            rebase_tried: true,
            ..*self.of_file(rule, path, detail)
        })
    }

    /// R1.
    fn protocol(&self, writes: &WriteSet, knows: impl Fn(&Protocol) -> bool) -> Checking {
        match &self.winner.commit.protocol {
            None => Ok(()),
            Some(_) if writes.protocol.is_some() => {
                Err(self.conflict(Rule::Protocol, "both change the protocol"))
            }
            Some(protocol) if knows(protocol) => Ok(()),
            Some(_) => Err(Box::new(Conflict {
                remedy: Remedy::Change,
                ..*self.conflict(
                    Rule::Protocol,
                    "it changed the protocol to one that this version of DeltaLite can't write",
                )
            })),
        }
    }

    /// R2.
    fn metadata(&self, txn: &Transaction) -> Checking {
        let Some(after) = &self.winner.commit.metadata else { return Ok(()) };
        if txn.writes.metadata.is_some() {
            return Err(self.conflict(Rule::Metadata, "both change the metadata"));
        }
        for difference in differences(&self.winner.metadata_before, after) {
            let detail = match difference {
                Difference::Harmless | Difference::NewNullable(_) => continue,
                Difference::Widened(column) if !txn.writes.columns.has(&column) => continue,
                Difference::Widened(column) => {
                    format!("it widened the type of column {column}, which this transaction writes")
                }
                Difference::Dropped(column)
                    if !txn.writes.columns.has(&column) && !txn.reads.columns.has(&column) =>
                {
                    continue;
                }
                Difference::Dropped(column) => {
                    format!("it dropped column {column}, which this transaction uses")
                }
                Difference::Other(detail) => detail,
            };
            return Err(self.conflict(Rule::Metadata, detail));
        }
        Ok(())
    }

    /// R3, and domains that were only read.
    fn domains(&self, txn: &mut Transaction) -> Checking {
        for theirs in &self.winner.commit.domains {
            if theirs.domain == LIFECYCLE_DOMAIN && !theirs.removed {
                return Err(self.conflict(Rule::Domain, "it dropped the table".to_owned()));
            }
            if txn.reads.domains.contains(&theirs.domain) {
                return Err(self.conflict(Rule::Domain, format!("it set domain {}", theirs.domain)));
            }
            for ours in txn.writes.domains.iter_mut().filter(|ours| ours.domain.domain == theirs.domain) {
                let merged = ours
                    .merge
                    .filter(|_| !ours.domain.removed && !theirs.removed)
                    .and_then(|merge| merge(&ours.domain.configuration, &theirs.configuration));
                ours.domain.configuration = merged.ok_or_else(|| {
                    self.conflict(Rule::Domain, format!("both set domain {}", theirs.domain))
                })?;
            }
        }
        Ok(())
    }

    /// R4: whether the application's work is done already.
    fn app_transactions(&self, txn: &Transaction) -> Checking<bool> {
        for theirs in &self.winner.commit.txns {
            if txn
                .writes
                .txns
                .iter()
                .any(|ours| ours.app_id == theirs.app_id && ours.version <= theirs.version)
            {
                return Ok(true);
            }
            let ours = txn.writes.txns.iter().any(|ours| ours.app_id == theirs.app_id);
            if ours || txn.reads.app_ids.contains(&theirs.app_id) {
                return Err(self.conflict(
                    Rule::AppTransaction,
                    format!("it says that application {:?} is at {}", theirs.app_id, theirs.version),
                ));
            }
        }
        Ok(false)
    }

    /// R14.
    fn fences(&self, writes: &WriteSet) -> Checking {
        for theirs in &self.winner.commit.domains {
            let Some(name) = theirs.domain.strip_prefix(FENCE_DOMAIN) else { continue };
            if let Some(token) = writes.fences.get(name)
                && (theirs.removed || theirs.configuration != *token)
            {
                return Err(self.conflict(Rule::Fence, format!("it gave {name} to somebody else")));
            }
        }
        Ok(())
    }

    /// R6. Where a blind append may be reordered, the transaction comes before it, and so before all that may have seen it.
    fn phantoms(&self, txn: &mut Transaction) -> Checking {
        let info = &self.winner.commit.info;
        if let Some(appended) = txn.comes_before
            && self.winner.changes_data()
            && !self.winner.is_blind_append()
            && info.read_version.is_none_or(|read| read >= appended)
        {
            let detail = format!(
                "it may have seen what version {appended} appended, which this transaction has not, and so has to come after it"
            );
            return Err(self.conflict(Rule::PhantomAdd, detail));
        }
        let found = self.winner.new_rows().find_map(|add| {
            if txn.reads.whole_table {
                let detail = "it added rows to the table, all of which was read";
                return Some(self.of_file(Rule::PhantomAdd, &add.path, detail));
            }
            let predicate = txn.reads.predicates.iter().find(|p| p.may_match(add))?;
            let detail = "it added rows that may be among those looked for";
            let of_file = self.of_file(Rule::PhantomAdd, &add.path, detail);
            Some(Box::new(Conflict { predicate: Some(predicate.text()), ..*of_file }))
        });
        match found {
            None => Ok(()),
            Some(_) if self.level == Isolation::WriteSerializable && self.winner.is_blind_append() => {
                txn.comes_before.get_or_insert(info.version);
                Ok(())
            }
            Some(conflict) => Err(conflict),
        }
    }

    /// R7.
    fn deleted_reads(&self, txn: &Transaction) -> Checking {
        for remove in &self.winner.commit.removes {
            if !txn.reads.whole_table && !txn.reads.files.contains(&remove.path) {
                continue;
            }
            match self.winner.fate(&remove.path) {
                Fate::Untouched | Fate::Compacted(_) => {}
                Fate::Gone => {
                    return Err(self.of_file(
                        Rule::DeleteRead,
                        &remove.path,
                        "it removed a file that was read",
                    ));
                }
                Fate::RowsDeleted(change, _) => {
                    let deleted = change.deleted();
                    let both = match txn.reads.rows.get(&remove.path) {
                        Some(rows) if !txn.reads.whole_table => rows & &deleted,
                        _ => deleted,
                    };
                    if !both.is_empty() {
                        let detail = "it deleted rows that the result depends on";
                        return Err(self.of_rows(Rule::DeleteRead, &remove.path, &both, detail));
                    }
                }
            }
        }
        Ok(())
    }

    /// R9: rows that this transaction deletes.
    fn row_level(&self, txn: &mut Transaction) -> Checking {
        let paths: Vec<Box<str>> = txn.writes.deletes.keys().cloned().collect();
        for path in paths {
            match self.winner.fate(&path) {
                Fate::Untouched => {}
                Fate::Gone => {
                    return Err(self.of_file(
                        Rule::DeleteDelete,
                        &path,
                        "it removed a file of which this transaction deletes rows",
                    ));
                }
                Fate::RowsDeleted(change, now) => {
                    if let Some(ours) = txn.writes.deletes.get_mut(&path) {
                        self.unite(&path, ours, change, now)?;
                    }
                }
                Fate::Compacted(map) => {
                    if let Some(ours) = txn.writes.deletes.remove(&path) {
                        self.follow(&path, &ours, map, &mut txn.writes)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Both deleted rows of a file: the union, if they are others.
    fn unite(&self, path: &str, ours: &mut RowDelete, change: &RowChange, now: &Add) -> Checking {
        let both = &ours.rows & &change.after;
        if !both.is_empty() {
            return Err(self.of_rows(Rule::RowLevel, path, &both, "both change the same rows"));
        }
        ours.before.clone_from(&change.after);
        ours.file = now.clone();
        Ok(())
    }

    /// The winner compacted a file of which this transaction deletes rows: they are deleted where they are now.
    fn follow(&self, path: &str, ours: &RowDelete, map: &RowMap, writes: &mut WriteSet) -> Checking {
        let lost = |row: u64| {
            let rows: Rows = [row].into_iter().collect();
            self.of_rows(
                Rule::RowLevel,
                path,
                &rows,
                "rows to be deleted were gone when it compacted the file",
            )
        };
        let changed = map.places(path, &ours.changed).map_err(lost)?;
        for (output, rows) in map.places(path, &ours.rows).map_err(lost)? {
            let Some(add) = self.winner.added(&output) else {
                return Err(self.of_file(
                    Rule::RowLevel,
                    &output,
                    "it says that rows are in a file that it does not add",
                ));
            };
            let before = self.winner.deleted_in_new.get(&output).cloned().unwrap_or_default();
            let both = &rows & &before;
            if !both.is_empty() {
                return Err(self.of_rows(Rule::RowLevel, &output, &both, "both change the same rows"));
            }
            let here = writes.deletes.entry(output.clone()).or_insert_with(|| RowDelete {
                file: add.clone(),
                before,
                rows: Rows::new(),
                changed: Rows::new(),
            });
            here.rows |= rows;
            if let Some(changed) = changed.get(&output) {
                here.changed |= changed;
            }
        }
        Ok(())
    }

    /// R8, and R9 of a compaction: files that this transaction removes.
    fn removals(&self, writes: &mut WriteSet) -> Checking {
        for path in writes.restores.keys() {
            if !matches!(self.winner.fate(path), Fate::Untouched) {
                let detail = "it changed a file that this transaction brings back";
                return Err(self.of_file(Rule::DeleteDelete, path, detail));
            }
        }
        let WriteSet { removes, row_map, deleted_in_adds, .. } = writes;
        for (path, ours) in removes.iter_mut() {
            match (self.winner.fate(path), &*row_map) {
                (Fate::Untouched, _) => {}
                (Fate::RowsDeleted(change, now), Some(map)) if map.has(path) => {
                    let places = map.places(path, &change.deleted()).map_err(|row| {
                        let rows: Rows = [row].into_iter().collect();
                        self.of_rows(
                            Rule::RowLevel,
                            path,
                            &rows,
                            "it deleted rows that the compaction has not seen",
                        )
                    })?;
                    for (output, rows) in places {
                        *deleted_in_adds.entry(output).or_default() |= rows;
                    }
                    ours.file = now.clone();
                }
                (Fate::RowsDeleted(..), _) => {
                    let detail = "it deleted rows of a file that this transaction removes";
                    return Err(self.of_file(Rule::DeleteDelete, path, detail));
                }
                (Fate::Compacted(_) | Fate::Gone, _) => {
                    return Err(self.of_file(Rule::DeleteDelete, path, "both remove a file"));
                }
            }
        }
        Ok(())
    }

    /// R10.
    fn keys(&self, writes: &WriteSet) -> Checking {
        if writes.keys.is_empty() || self.winner.new_rows().next().is_none() {
            return Ok(());
        }
        match &self.winner.keys {
            None => Err(self.conflict(Rule::Keys, "it added rows whose keys are not known")),
            Some(theirs) if theirs.is_disjoint(&writes.keys) => Ok(()),
            Some(theirs) => {
                let twice = theirs.intersection(&writes.keys).count();
                Err(Box::new(Conflict {
                    remedy: Remedy::Change,
                    ..*self.conflict(
                        Rule::Keys,
                        format!("it added {twice} of the keys that this transaction adds"),
                    )
                }))
            }
        }
    }

    /// What was read of files that the winner compacted is read of their outputs from now on.
    fn follow_reads(&self, txn: &mut Transaction) {
        let Some(map) = &self.winner.row_map else { return };
        for source in map.sources() {
            if !matches!(self.winner.fate(source), Fate::Compacted(_)) || !txn.reads.files.remove(source) {
                continue;
            }
            let outputs: Vec<Box<str>> = map.outputs_of(source).map(Into::into).collect();
            match txn.reads.rows.remove(source).map(|rows| map.places(source, &rows)) {
                // Rows that are gone already were no rows that the result depends on.
                Some(Ok(places)) => {
                    for (output, rows) in places {
                        if txn.reads.files.insert(output.clone()) {
                            txn.reads.rows.insert(output, rows);
                        } else if let Some(known) = txn.reads.rows.get_mut(&output) {
                            *known |= rows;
                        }
                    }
                }
                Some(Err(_)) | None => {
                    for output in outputs {
                        txn.reads.rows.remove(&output);
                        txn.reads.files.insert(output);
                    }
                }
            }
        }
    }
}
