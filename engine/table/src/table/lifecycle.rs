//! Tables that are not there yet, or not any more.
//!
//! A domain says so, so that making and dropping a table are versions like others, and can be part of a transaction: a table made within one
//! is there when a version takes the domain away, and one is gone when a version sets it. Its folder is removed afterwards,
//! and if that is cut short, by whoever makes a table there next.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::context::TableContext;
use super::core::Core;
use super::{DeltaLiteTable, OptimisticTransaction};
use crate::error::{Result, TableError};
use crate::log::name::TEMP_FOLDER;
use crate::log::store::disk::Lock;
use crate::log::{LOG_FOLDER, LocalStore, Snapshot};
use crate::txn::rules::LIFECYCLE_DOMAIN;

const CREATING: &str = "creating";
const DROPPED: &str = "dropped";
/// Held by who makes the table, as long as it is not there.
const CREATING_LOCK: &str = "creating.lock";

/// What the domain says of a table; nothing of one that is there.
pub(crate) fn lifecycle(log: &Snapshot) -> Option<&str> {
    log.domains().get(LIFECYCLE_DOMAIN).map(|domain| domain.configuration.as_str())
}

/// Refuses a table that is not there.
///
/// # Errors
/// When the domain says so.
pub(crate) fn must_be_there(root: &Path, log: &Snapshot) -> Result<()> {
    let detail = match lifecycle(log) {
        None => return Ok(()),
        Some(CREATING) => "a transaction that makes one is not committed",
        Some(_) => "it was dropped",
    };
    Err(TableError::NoTable { place: root.display().to_string(), detail: detail.to_owned() })
}

/// A table that a transaction has made. Dropped before that is committed, its folder is removed.
#[derive(Debug)]
pub(crate) struct Made {
    root: PathBuf,
    keep: bool,
    _creating: Lock,
}

impl Made {
    /// The table stays.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = remove_folder(&self.root)
        {
            tracing::warn!(%error, table = %self.root.display(), "could not remove a table that was not committed");
        }
    }
}

/// The lock of who makes the table in a folder; `None` if somebody else has it.
fn creating_lock(context: &TableContext, root: &Path) -> Result<Option<Lock>> {
    let path = root.join(LOG_FOLDER).join(TEMP_FOLDER).join(CREATING_LOCK);
    context.disk.lock(&path, false).map_err(TableError::io("locking", &path))
}

/// Removes what is left of a table that was dropped, or whose transaction is gone. Whether there was any.
///
/// # Errors
/// When the system fails.
pub(crate) fn make_way(path: &Path, context: &TableContext) -> Result<bool> {
    if !path.join(LOG_FOLDER).is_dir() {
        return Ok(false);
    }
    // While this is held, nobody else who comes for the same removes the folder.
    let Some(_alone) = creating_lock(context, path)? else { return Ok(false) };
    let left =
        match LocalStore::open_read_only_on(context.disk.clone(), path).and_then(|s| Snapshot::open(&s)) {
            Ok(log) => lifecycle(&log).is_some(),
            Err(_) => false,
        };
    if left {
        remove_folder(path)?;
    }
    Ok(left)
}

/// Removes a table's folder: first its name, so that nothing that is half removed has it.
fn remove_folder(root: &Path) -> Result<()> {
    let name = root.file_name().and_then(|name| name.to_str()).unwrap_or("table");
    let away = root.with_file_name(format!(".{name}.{}", Uuid::new_v4()));
    std::fs::rename(root, &away).map_err(TableError::io("removing", root))?;
    std::fs::remove_dir_all(&away).map_err(TableError::io("removing", &away))
}

impl OptimisticTransaction {
    /// Begins a transaction on a table that it makes.
    pub(crate) fn on_new(core: std::sync::Arc<Core>, creating: Lock) -> Result<Self> {
        let made = Made { root: core.root.clone(), keep: false, _creating: creating };
        let (log, pin) = core.newest()?;
        let snapshot = super::TableSnapshot::new(core, log, pin)?;
        let mut txn = Self::new(snapshot)?.of_made(made);
        txn.set_domain(LIFECYCLE_DOMAIN, None);
        txn.advance()?;
        Ok(txn)
    }

    /// Drops the table. Whoever drops it removes its folder once this is committed: [`DeltaLiteTable::remove_dropped`].
    pub fn drop_table(&mut self) {
        self.set_domain(LIFECYCLE_DOMAIN, Some(DROPPED.to_owned()));
    }
}

/// What the first version of a table says that a transaction makes.
pub(crate) fn creating() -> crate::log::action::Action {
    crate::log::action::Action::DomainMetadata(crate::log::action::DomainMetadata {
        domain: LIFECYCLE_DOMAIN.to_owned(),
        configuration: CREATING.to_owned(),
        removed: false,
    })
}

/// Takes the lock of who makes a table, before its first version is there.
pub(crate) fn begin_creating(context: &TableContext, root: &Path) -> Result<Lock> {
    drop(LocalStore::create_on(context.disk.clone(), root)?);
    creating_lock(context, root)?.ok_or_else(|| {
        TableError::invalid(
            "making a table",
            format!("another transaction is making one in {}", root.display()),
        )
    })
}

impl DeltaLiteTable {
    /// Drops the table: it is gone for everybody at once, and then its files are removed.
    ///
    /// # Errors
    /// When another transaction has won, or the system fails.
    pub fn drop_table(self) -> Result<()> {
        self.run(|mut txn| {
            txn.drop_table();
            txn.commit("DROP TABLE", [])
        })
        .or_else(|error| match error {
            // Somebody else has dropped it.
            TableError::NoTable { .. } => Ok(super::Outcome::default()),
            error => Err(error),
        })?;
        self.remove_dropped()
    }

    /// Removes the files of a table that was dropped.
    ///
    /// # Errors
    /// When the system fails; the table is dropped nevertheless.
    pub fn remove_dropped(self) -> Result<()> {
        let root = self.core.root.clone();
        // Where this table decides of versions of others, they are to have them first.
        for table in self.core.store.unfinished()? {
            if table != root && table.join(LOG_FOLDER).is_dir() {
                drop(LocalStore::open_on(self.core.context.disk.clone(), &table)?);
            }
        }
        let context = self.core.context.clone();
        drop(self);
        make_way(&root, &context).map(drop)
    }
}
