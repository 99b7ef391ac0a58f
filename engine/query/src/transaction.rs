//! A session's transaction: statements between BEGIN and COMMIT, on as many tables as they name.
//!
//! Each table is read as it was when the transaction began (one that is not in the catalog's folder: when it was first named), with what
//! the transaction itself has written on top. COMMIT checks and commits all of them at once; what fails takes back itself alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use deltalite_format::predicate::Predicate;
use deltalite_table::table::{Savepoint, TableSnapshot};
use deltalite_table::txn::Isolation;
use deltalite_table::{DeltaLiteTable, OptimisticTransaction, TableError};
use parking_lot::Mutex;

use crate::error::{QueryError, Result};
use crate::scan::FilesSource;

/// Tables of the catalog's folder that BEGIN looks at; of a larger folder, tables are read as they are when they are first named.
const TABLES_PINNED_MAX: usize = 256;
/// How often BEGIN looks again because somebody commits meanwhile.
const LOOKS_MAX: usize = 8;

/// The transaction of a session, if one is open.
#[derive(Debug, Default)]
pub(crate) struct Current(Mutex<Option<Open>>);

#[derive(Debug)]
struct Open {
    isolation: Option<Isolation>,
    tables: BTreeMap<PathBuf, Entry>,
    /// Tables that the statement being planned names.
    named: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Entry {
    /// What statements read.
    seen: Arc<TableSnapshot>,
    reads: Vec<Read>,
    state: State,
    made: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing was written.
    Read,
    Written(Box<OptimisticTransaction>),
    /// A statement is writing.
    Busy,
    Dropped(Box<OptimisticTransaction>),
}

#[derive(Debug, Clone)]
enum Read {
    Whole,
    Where(Predicate),
}

/// A table that a statement writes, within a transaction. Dropped before it is done, what it wrote is taken back.
pub(crate) struct Writing<'a> {
    current: &'a Current,
    path: PathBuf,
    txn: Option<Box<OptimisticTransaction>>,
    savepoint: Option<Savepoint>,
}

impl Writing<'_> {
    pub(crate) fn txn(&mut self) -> Result<&mut OptimisticTransaction> {
        self.txn.as_deref_mut().ok_or_else(ended)
    }

    /// What was written is part of the transaction.
    pub(crate) fn done(mut self) -> Result<()> {
        self.txn()?.advance()?;
        self.savepoint = None;
        Ok(())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let Some(mut txn) = self.txn.take() else { return };
        if let Some(savepoint) = self.savepoint.take() {
            txn.roll_back(savepoint);
        }
        let mut open = self.current.0.lock();
        if let Some(entry) = open.as_mut().and_then(|open| open.tables.get_mut(&self.path)) {
            entry.seen = txn.snapshot().clone();
            entry.state = State::Written(txn);
        }
    }
}

fn ended() -> QueryError {
    QueryError::NotSupported("the transaction was ended by another statement of this session".to_owned())
}

fn none_open() -> QueryError {
    QueryError::NotSupported("no transaction is open; BEGIN one first".to_owned())
}

fn no_table(name: &Path) -> QueryError {
    let name = name.display().to_string();
    QueryError::Name {
        message: format!("no table {name:?}: this transaction dropped it"),
        suggestion: None,
        place: None,
    }
}

/// Snapshots of tables at one moment: looked at until nobody has committed between two looks.
fn at_one_moment(tables: &[DeltaLiteTable]) -> Result<Vec<Arc<TableSnapshot>>> {
    for _ in 0..LOOKS_MAX {
        let before: Vec<_> = tables.iter().map(DeltaLiteTable::version).collect();
        for table in tables {
            table.refresh()?;
        }
        if tables.iter().map(DeltaLiteTable::version).eq(before) {
            break;
        }
    }
    Ok(tables.iter().map(DeltaLiteTable::snapshot).collect())
}

impl Current {
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Begins one, over these tables and any other that is named.
    pub(crate) fn begin(&self, isolation: Option<Isolation>, tables: &[DeltaLiteTable]) -> Result<()> {
        if self.is_open() {
            return Err(QueryError::NotSupported(
                "a transaction is open already; COMMIT or ROLLBACK it first".to_owned(),
            ));
        }
        let tables = tables.get(..TABLES_PINNED_MAX.min(tables.len())).unwrap_or_default();
        let snapshots = at_one_moment(tables)?;
        let entry = |seen: Arc<TableSnapshot>| {
            let path = seen.path().to_owned();
            (path, Entry { seen, reads: Vec::new(), state: State::Read, made: false })
        };
        let tables = snapshots.into_iter().map(entry).collect();
        *self.0.lock() = Some(Open { isolation, tables, named: BTreeSet::new() });
        Ok(())
    }

    /// What a statement reads of a table; `None` outside a transaction.
    pub(crate) fn snapshot(
        &self,
        path: &Path,
        open_table: impl FnOnce() -> Result<DeltaLiteTable>,
    ) -> Result<Option<Arc<TableSnapshot>>> {
        if !self.is_open() {
            return Ok(None);
        }
        let root = self.admit(path, open_table)?;
        let mut open = self.0.lock();
        let open = open.as_mut().ok_or_else(ended)?;
        open.named.insert(root.clone());
        let entry = open.tables.get(&root).ok_or_else(ended)?;
        match entry.state {
            State::Dropped(_) => Err(no_table(path)),
            _ => Ok(Some(entry.seen.clone())),
        }
    }

    /// Takes a table in that was not known; returns its folder.
    fn admit(&self, path: &Path, open_table: impl FnOnce() -> Result<DeltaLiteTable>) -> Result<PathBuf> {
        let known = |root: &Path| self.0.lock().as_ref().is_some_and(|open| open.tables.contains_key(root));
        let root = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if known(&root) {
            return Ok(root);
        }
        let seen = open_table()?.snapshot();
        let root = seen.path().to_owned();
        let mut open = self.0.lock();
        let open = open.as_mut().ok_or_else(ended)?;
        open.tables.entry(root.clone()).or_insert(Entry {
            seen,
            reads: Vec::new(),
            state: State::Read,
            made: false,
        });
        Ok(root)
    }

    /// Begins a statement that writes a table; `None` outside a transaction.
    pub(crate) fn write(
        &self,
        path: &Path,
        open_table: impl FnOnce() -> Result<DeltaLiteTable>,
    ) -> Result<Option<Writing<'_>>> {
        if !self.is_open() {
            return Ok(None);
        }
        let root = self.admit(path, open_table)?;
        let mut open = self.0.lock();
        let open = open.as_mut().ok_or_else(ended)?;
        let isolation = open.isolation;
        let entry = open.tables.get_mut(&root).ok_or_else(ended)?;
        let txn = match std::mem::replace(&mut entry.state, State::Busy) {
            State::Written(txn) => txn,
            State::Read => match entry.seen.begin() {
                Ok(txn) => Box::new(at_level(txn, isolation)),
                Err(error) => {
                    entry.state = State::Read;
                    return Err(error.into());
                }
            },
            State::Busy => {
                return Err(QueryError::NotSupported(format!(
                    "another statement of this transaction is writing {}; let it end first",
                    root.display()
                )));
            }
            dropped @ State::Dropped(_) => {
                entry.state = dropped;
                return Err(no_table(path));
            }
        };
        let savepoint = Some(txn.savepoint());
        Ok(Some(Writing { current: self, path: root, txn: Some(txn), savepoint }))
    }

    /// Whether the transaction has made a table in this folder.
    pub(crate) fn has(&self, path: &Path) -> bool {
        let root = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let open = self.0.lock();
        open.as_ref().and_then(|open| open.tables.get(&root)).is_some_and(|entry| entry.made)
    }

    /// Takes in a table that a statement has made.
    pub(crate) fn made(&self, mut txn: OptimisticTransaction) -> Result<()> {
        txn.advance()?;
        let mut open = self.0.lock();
        let open = open.as_mut().ok_or_else(ended)?;
        let seen = txn.snapshot().clone();
        let path = seen.path().to_owned();
        let txn = at_level(txn, open.isolation);
        let entry = Entry { seen, reads: Vec::new(), state: State::Written(Box::new(txn)), made: true };
        open.tables.insert(path, entry);
        Ok(())
    }

    /// Drops a table once the transaction commits.
    pub(crate) fn drop_table(
        &self,
        path: &Path,
        open_table: impl FnOnce() -> Result<DeltaLiteTable>,
    ) -> Result<()> {
        let Some(mut writing) = self.write(path, open_table)? else { return Err(none_open()) };
        writing.txn()?.drop_table();
        let (root, txn) = (writing.path.clone(), writing.txn.take());
        let mut open = self.0.lock();
        let open = open.as_mut().ok_or_else(ended)?;
        match open.tables.get_mut(&root) {
            // As if it had never been there.
            Some(entry) if entry.made => drop(open.tables.remove(&root)),
            Some(entry) => {
                if let Some(txn) = txn {
                    entry.state = State::Dropped(txn);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Notes what a statement's plan reads.
    pub(crate) fn note(&self, plan: &Arc<dyn ExecutionPlan>) {
        let mut open = self.0.lock();
        let Some(open) = open.as_mut() else { return };
        let mut named = std::mem::take(&mut open.named);
        let mut read = Vec::new();
        reads_of(plan, &mut read);
        for (path, predicate) in read {
            named.remove(&path);
            if let Some(entry) = open.tables.get_mut(&path) {
                entry.reads.push(predicate.map_or(Read::Whole, Read::Where));
            }
        }
        // What was planned without a scan, such as a count, depends on all rows.
        for path in named {
            if let Some(entry) = open.tables.get_mut(&path) {
                entry.reads.push(Read::Whole);
            }
        }
    }

    /// Commits it. Whatever comes of it, it is over.
    pub(crate) fn commit(&self) -> Result<()> {
        let open = self.0.lock().take().ok_or_else(none_open)?;
        let (mut txns, mut gone, mut writes) = (Vec::new(), Vec::new(), false);
        for (path, entry) in open.tables {
            let mut txn = match entry.state {
                State::Busy => {
                    return Err(QueryError::NotSupported(format!(
                        "a statement was still writing {}; the transaction was rolled back",
                        path.display()
                    )));
                }
                State::Read if entry.reads.is_empty() => continue,
                State::Read => match entry.seen.begin() {
                    Ok(txn) => at_level(txn, open.isolation),
                    // A table that this process can't write takes no part.
                    Err(_) => continue,
                },
                State::Written(txn) => {
                    writes |= !txn.is_empty();
                    *txn
                }
                State::Dropped(txn) => {
                    writes = true;
                    gone.push(path);
                    *txn
                }
            };
            for read in entry.reads {
                match read {
                    Read::Whole => txn.read_whole_table(),
                    Read::Where(predicate) => txn.read_where(&predicate)?,
                }
            }
            txns.push(txn);
        }
        if !writes {
            return Ok(());
        }
        let tables: Vec<DeltaLiteTable> = txns
            .iter()
            .filter(|txn| gone.iter().any(|path| path == txn.snapshot().path()))
            .map(|txn| txn.snapshot().table())
            .collect();
        OptimisticTransaction::commit_all(txns, "TRANSACTION").map_err(|error| match error {
            error @ TableError::OutcomeUnknown { .. } => QueryError::Table(error),
            error => QueryError::RolledBack(error),
        })?;
        for table in tables {
            table.remove_dropped()?;
        }
        Ok(())
    }

    /// Gives it up.
    pub(crate) fn rollback(&self) -> Result<()> {
        self.0.lock().take().map(drop).ok_or_else(none_open)
    }
}

fn at_level(txn: OptimisticTransaction, isolation: Option<Isolation>) -> OptimisticTransaction {
    match isolation {
        Some(level) => txn.isolation(level),
        None => txn,
    }
}

/// Tables that a plan scans, and with which conditions.
fn reads_of(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<(PathBuf, Option<Predicate>)>) {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>()
        && let Some(source) = scan.data_source().downcast_ref::<FilesSource>()
    {
        found.extend(source.reads());
    }
    for child in plan.children() {
        reads_of(child, found);
    }
}
