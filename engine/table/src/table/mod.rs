//! Tables: what people use.
//!
//! * [`context`] – the process that tables are opened in; `core` – what handles of a table share; [`pins`] – versions being read;
//! * [`snapshot`] – a version; [`scan`] – reading it; [`transaction`] – writing the next; [`rows`] – its rows; [`run`] – waiting, and running again;
//! * [`interrupt`] – stopping it;
//! * [`create`] – new tables; [`lifecycle`] – tables that are not there yet, or not any more; [`write`](mod@write) – append and overwrite; [`delete`], [`update`], [`merge`] – changing rows;
//! * [`alter`] – columns, properties, constraints; [`keys`], [`identity`] – enforced keys, identity columns;
//! * [`optimize`], [`cluster`] – fewer, ordered files; [`vacuum`] – removing files that nothing reads; [`retention`] – and old versions of the log;
//! * [`history`] – versions, tags, restoring, changes between versions; [`clone`] – copies.

pub mod alter;
pub mod clone;
mod cluster;
pub mod context;
pub(crate) mod core;
pub mod create;
pub mod delete;
pub mod history;
mod identity;
pub mod interrupt;
pub mod keys;
pub mod lifecycle;
pub mod merge;
pub mod optimize;
pub(crate) mod pins;
pub mod retention;
pub mod rows;
pub(crate) mod run;
pub mod scan;
pub mod snapshot;
pub mod transaction;
pub mod update;
pub mod vacuum;
pub mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::SchemaRef;
use parking_lot::Mutex;

pub use context::TableContext;
pub use interrupt::Interrupt;
pub use rows::{RowWriter, RowsAdded};
pub use scan::{AsyncTableStream, TableScan, TableStream};
pub use snapshot::{TableFile, TableSnapshot};
pub use transaction::{OptimisticTransaction, Outcome, Savepoint};

use self::core::Core;
use crate::error::{Result, TableError};
use crate::log::{Snapshot, VerifyReport, verify};
use crate::version::Version;
use run::builder_future;

/// A table.
///
/// A handle sees one version; what is written through it, and [`DeltaLiteTable::refresh`], move it on. Builders run with `execute`,
/// or are awaited.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use deltalite_format::predicate::col;
/// use deltalite_table::DeltaLiteTable;
///
/// let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
/// let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// let folder = tempfile::tempdir()?;
/// let table = DeltaLiteTable::create(folder.path().join("ids"), &batch.schema()).execute()?;
/// table.append([batch]).execute()?;
/// table.delete().filter(col("id").lt(10)).execute()?;
/// assert_eq!(table.scan().execute()?.collect_batch()?.num_rows(), 990);
/// assert_eq!(table.version().0, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeltaLiteTable {
    core: Arc<Core>,
    snapshot: Arc<Mutex<Arc<TableSnapshot>>>,
    /// Set where the handle is of a version of the past.
    past: bool,
}

/// Opening a table.
#[derive(Debug, Clone)]
#[must_use]
pub struct OpenTable {
    path: PathBuf,
    context: Option<TableContext>,
    at: At,
}

/// Which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Newest,
    Version(Version),
    Timestamp(i64),
}

impl OpenTable {
    /// That version, for reading.
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.at = At::Version(version.into());
        self
    }

    /// The version that was the newest at a time, in milliseconds since 1970, for reading.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.at = At::Timestamp(milliseconds);
        self
    }

    /// What it needs of the process; shards started for all tables of the process without.
    pub fn context(mut self, context: &TableContext) -> Self {
        self.context = Some(context.clone());
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// When there is no table or no such version, or it can't be read.
    pub fn execute(self) -> Result<DeltaLiteTable> {
        let context = self.context.map_or_else(TableContext::of_process, Ok)?;
        let core = Core::open(&self.path, &context)?;
        let table = DeltaLiteTable::newest(core)?;
        match self.at {
            At::Newest => Ok(table),
            At::Version(version) => table.at_version(version),
            At::Timestamp(milliseconds) => table.at_timestamp(milliseconds),
        }
    }
}

builder_future!(OpenTable => DeltaLiteTable, OpenTable::execute);

impl DeltaLiteTable {
    /// Opens the table in a folder.
    pub fn open(path: impl AsRef<Path>) -> OpenTable {
        OpenTable { path: path.as_ref().to_owned(), context: None, at: At::Newest }
    }

    pub(crate) fn newest(core: Arc<Core>) -> Result<Self> {
        let (log, pin) = core.newest()?;
        lifecycle::must_be_there(&core.root, &log)?;
        let snapshot = TableSnapshot::new(core.clone(), log, pin)?;
        Ok(Self { core, snapshot: Arc::new(Mutex::new(snapshot)), past: false })
    }

    pub(crate) fn of_snapshot(snapshot: Arc<TableSnapshot>) -> Self {
        Self { core: snapshot.core.clone(), snapshot: Arc::new(Mutex::new(snapshot)), past: false }
    }

    /// A handle of an older version, for reading.
    ///
    /// # Errors
    /// When there is no such version, or its files may have been vacuumed.
    pub fn at_version(&self, version: Version) -> Result<Self> {
        let horizon = vacuum::horizon(self.core.committer.tip().domains())?;
        if version < horizon && !history::tags_of(&self.core.committer.tip())?.values().any(|v| *v == version)
        {
            return Err(TableError::NoSuchVersion {
                asked: version,
                detail: format!("files of versions before {horizon} have been vacuumed"),
            });
        }
        self.core.pins.announce(version)?;
        let pin = self.core.pins.pin(version)?;
        let log = Snapshot::open_at(self.core.log(), version)?;
        let snapshot = TableSnapshot::new(self.core.clone(), log, pin)?;
        Ok(Self { core: self.core.clone(), snapshot: Arc::new(Mutex::new(snapshot)), past: true })
    }

    /// A handle of the version that was the newest at a time, in milliseconds since 1970, for reading.
    ///
    /// # Errors
    /// As [`DeltaLiteTable::at_version`].
    pub fn at_timestamp(&self, milliseconds: i64) -> Result<Self> {
        self.at_version(Snapshot::version_at(self.core.log(), milliseconds)?)
    }

    /// Moves on to the newest version. A handle of an older version stays there.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn refresh(&self) -> Result<Version> {
        if self.past {
            return Ok(self.version());
        }
        let (log, pin) = self.core.newest()?;
        let mut current = self.snapshot.lock();
        if log.version() > current.version() {
            *current = TableSnapshot::new(self.core.clone(), log, pin)?;
        }
        Ok(current.version())
    }

    /// The version that this handle sees.
    pub fn snapshot(&self) -> Arc<TableSnapshot> {
        self.snapshot.lock().clone()
    }

    /// Its number.
    pub fn version(&self) -> Version {
        self.snapshot.lock().version()
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.snapshot.lock().schema().clone()
    }

    /// The table's folder.
    pub fn path(&self) -> &Path {
        &self.core.root
    }

    /// Reads rows.
    pub fn scan(&self) -> TableScan {
        self.snapshot().scan()
    }

    /// Begins a transaction on the newest version.
    ///
    /// # Errors
    /// When the handle is of a version of the past, or the table can't be written.
    pub fn begin(&self) -> Result<OptimisticTransaction> {
        if self.past {
            return Err(TableError::invalid(
                "beginning a transaction",
                format!(
                    "this handle reads version {}; open the newest, or restore that version",
                    self.version()
                ),
            ));
        }
        let (log, pin) = self.core.newest()?;
        lifecycle::must_be_there(&self.core.root, &log)?;
        OptimisticTransaction::new(TableSnapshot::new(self.core.clone(), log, pin)?)
    }

    /// Writes a checkpoint, so that opening reads less of the log. It is also done by itself, every 100 versions.
    ///
    /// # Errors
    /// When the system fails.
    pub fn checkpoint(&self) -> Result<()> {
        self.core.checkpoint()
    }

    /// Runs a statement until it is committed, and moves on to its version.
    pub(crate) fn run(
        &self,
        mut statement: impl FnMut(OptimisticTransaction) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let outcome = run::until_committed(|| statement(self.begin()?))?;
        self.refresh()?;
        Ok(outcome)
    }

    /// Proves the log: every hash, every version, every checkpoint; and that data files are there in their size. With `rows`, every
    /// page of every data file too.
    ///
    /// # Errors
    /// When the system fails. What is damaged is in the report.
    pub fn verify(&self, rows: bool) -> Result<VerifyReport> {
        self.verify_until(rows, &Interrupt::default())
    }

    /// As [`DeltaLiteTable::verify`], unless it is stopped.
    ///
    /// # Errors
    /// As [`DeltaLiteTable::verify`], and when it is stopped.
    pub fn verify_until(&self, rows: bool, interrupt: &Interrupt) -> Result<VerifyReport> {
        let mut report = verify(self.core.log())?;
        let snapshot = self.snapshot();
        for file in snapshot.files(None)? {
            interrupt.check("verifying")?;
            if let Err(error) = self::core::check_file(&self.core, &file, rows) {
                report.problems.push(error);
            }
        }
        Ok(report)
    }
}
