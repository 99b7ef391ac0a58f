//! The crate's one error type.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::ArrowError;
use deltalite_format::FormatError;
use deltalite_shard::ShardError;

use crate::txn::Conflict;
use crate::version::Version;

/// Shorthand for results of this crate.
pub type Result<T, E = TableError> = std::result::Result<T, E>;

/// What went wrong, where, what was found, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file system refused something; nothing is known to have changed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// There is no table.
    #[error("{place} holds no table: {detail}; check the path, or create the table first")]
    NoTable {
        /// Where it was looked for.
        place: String,
        /// What is missing.
        detail: String,
    },
    /// A line of the log is not what the specification says.
    #[error("{file}, line {line}, field {field}: {detail}; run `verify` to see what is affected")]
    Malformed {
        /// The file.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The field, as a path from the line's outermost object; empty for the line itself.
        field: String,
        /// What was found and what was expected.
        detail: String,
    },
    /// A stored hash or count contradicts what it is of.
    #[error(
        "version {version} ({file}): {what} is {found}, but {expected} was recorded; the log was damaged or edited: restore {file} from a copy"
    )]
    Mismatch {
        /// The version being read.
        version: Version,
        /// The file.
        file: String,
        /// Which hash or count.
        what: &'static str,
        /// What was computed.
        found: String,
        /// What was stored.
        expected: String,
    },
    /// A file of the log is damaged or contradicts itself.
    #[error("{file}: {detail}; restore the file from a copy, or remove it if it is a checkpoint")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// A file that the log refers to is not there.
    #[error("{file} is missing ({detail}); restore it from a copy")]
    Missing {
        /// The file.
        file: String,
        /// Who refers to it.
        detail: String,
    },
    /// A sidecar could not be read or written.
    #[error("sidecar {file}: {source}")]
    Sidecar {
        /// The sidecar.
        file: String,
        /// What the file format says.
        source: FormatError,
    },
    /// A commit did not happen; nothing of it is visible.
    #[error(
        "versions {first} to {last} were not committed: {what} failed: {source}; the commit can be tried again"
    )]
    NotCommitted {
        /// First version of the group.
        first: Version,
        /// Last version of the group.
        last: Version,
        /// The step that failed.
        what: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// A commit may or may not have happened.
    #[error(
        "the outcome of versions {first} to {last} is unknown: {what} failed: {source}; open the table again and look for the commit's txnId in these versions"
    )]
    OutcomeUnknown {
        /// First version in doubt.
        first: Version,
        /// Last version in doubt.
        last: Version,
        /// The step that failed.
        what: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// A store that met an unknown outcome takes no more commits.
    #[error("this store takes no more commits, because {reason}; open the table again")]
    Poisoned {
        /// What happened.
        reason: String,
    },
    /// Actions contradict the state they apply to.
    #[error(
        "version {version}: {detail}; refresh the snapshot and build the commit again, or report the writer that made it"
    )]
    Inconsistent {
        /// The version made of these actions.
        version: Version,
        /// What contradicts what.
        detail: String,
    },
    /// A version that can't be read.
    #[error("version {asked} is not available: {detail}")]
    NoSuchVersion {
        /// The version asked for.
        asked: Version,
        /// Which ones are.
        detail: String,
    },
    /// No version is that old.
    #[error(
        "no version is as old as timestamp {asked} ms; the oldest available, {oldest}, was committed at {oldest_ms} ms"
    )]
    NoSuchTime {
        /// The time asked for, in milliseconds since 1970.
        asked: i64,
        /// The oldest version.
        oldest: Version,
        /// When it was committed, in milliseconds since 1970.
        oldest_ms: i64,
    },
    /// The table needs something this version of DeltaLite does not have.
    #[error(
        "the table needs {feature}, which this version of DeltaLite does not know; read it with a newer one"
    )]
    Unsupported {
        /// The feature or protocol version.
        feature: String,
    },
    /// Another transaction has won, and this one can't be put on top of it.
    #[error(transparent)]
    Conflict(#[from] Box<Conflict>),
    /// A statement was run again and again, and each time another transaction had won.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// How often it was run.
        attempts: usize,
        /// What ended the last attempt.
        last: Box<Conflict>,
    },
    /// The commit of a group that this transaction was in failed.
    #[error(transparent)]
    Group(Arc<TableError>),
    /// A data file can't be read or written.
    #[error(transparent)]
    Data(#[from] ShardError),
    /// Rows can't be computed.
    #[error("{what}: {source}")]
    Compute {
        /// What was attempted.
        what: &'static str,
        /// Arrow's answer.
        source: ArrowError,
    },
    /// A row breaks a constraint.
    #[error("row {row} breaks constraint {name:?}, {condition}: {values}")]
    Constraint {
        /// The constraint.
        name: String,
        /// What must hold.
        condition: String,
        /// The row, counted from 0 in its batch.
        row: u64,
        /// Its first values.
        values: String,
    },
    /// A row has a key that the table has already.
    #[error("{columns} = {key} is there already, and must be unique; update the row, or merge")]
    DuplicateKey {
        /// The key's columns.
        columns: String,
        /// Its values.
        key: String,
    },
    /// A row has a null where there must be none.
    #[error("row {row} has a null in column {column}, which must not be null")]
    NotNull {
        /// The column, or the path of a struct's field.
        column: String,
        /// The row, counted from 0 in its batch.
        row: u64,
    },
    /// Work that was asked to stop.
    #[error("{what} was stopped before it was done; run it again to go on")]
    Interrupted {
        /// The work.
        what: &'static str,
    },
    /// A value that can't be used.
    #[error("{what}: {detail}")]
    Invalid {
        /// What was attempted.
        what: &'static str,
        /// Why it can't be done and what to do.
        detail: String,
    },
    /// Something is larger than the format allows.
    #[error("{what} is {found}, at most {max} is allowed; {advice}")]
    TooLarge {
        /// What.
        what: String,
        /// Its size.
        found: u64,
        /// The limit, in the same unit.
        max: u64,
        /// What to do.
        advice: &'static str,
    },
}

impl From<FormatError> for TableError {
    fn from(error: FormatError) -> Self {
        TableError::Data(error.into())
    }
}

impl TableError {
    /// The stable code of this error, for `explain-error` and for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            TableError::Io { .. } => "DL-0601",
            TableError::NoTable { .. } => "DL-0602",
            TableError::Malformed { .. } => "DL-0603",
            TableError::Mismatch { .. } => "DL-0604",
            TableError::Corrupt { .. } => "DL-0605",
            TableError::Missing { .. } => "DL-0606",
            TableError::Sidecar { .. } => "DL-0607",
            TableError::NotCommitted { .. } => "DL-0608",
            TableError::OutcomeUnknown { .. } => "DL-0609",
            TableError::Poisoned { .. } => "DL-0610",
            TableError::Inconsistent { .. } => "DL-0611",
            TableError::NoSuchVersion { .. } => "DL-0612",
            TableError::NoSuchTime { .. } => "DL-0613",
            TableError::Unsupported { .. } => "DL-0614",
            TableError::Invalid { .. } => "DL-0615",
            TableError::TooLarge { .. } => "DL-0616",
            TableError::Constraint { .. } => "DL-0617",
            TableError::NotNull { .. } => "DL-0618",
            TableError::DuplicateKey { .. } => "DL-0619",
            TableError::Conflict(_) => "DL-0620",
            TableError::GaveUp { .. } => "DL-0621",
            TableError::Group(error) => error.code(),
            TableError::Data(error) => error.code(),
            TableError::Compute { .. } => "DL-0622",
            TableError::Interrupted { .. } => "DL-0623",
        }
    }

    /// Whether the bytes read are wrong, rather than the system or the caller.
    pub fn is_damage(&self) -> bool {
        if let TableError::Group(error) = self {
            return error.is_damage();
        }
        matches!(
            self,
            TableError::Malformed { .. }
                | TableError::Mismatch { .. }
                | TableError::Corrupt { .. }
                | TableError::Missing { .. }
                | TableError::Sidecar { .. }
                | TableError::Inconsistent { .. }
        )
    }

    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TableError {
        move |source| TableError::Io { what, path: path.to_owned(), source }
    }

    pub(crate) fn sidecar(file: impl fmt::Display) -> impl FnOnce(FormatError) -> TableError {
        move |source| TableError::Sidecar { file: file.to_string(), source }
    }

    pub(crate) fn corrupt(file: impl fmt::Display, detail: impl Into<String>) -> TableError {
        TableError::Corrupt { file: file.to_string(), detail: detail.into() }
    }

    pub(crate) fn compute(what: &'static str) -> impl FnOnce(ArrowError) -> TableError {
        move |source| TableError::Compute { what, source }
    }

    pub(crate) fn invalid(what: &'static str, detail: impl Into<String>) -> TableError {
        TableError::Invalid { what, detail: detail.into() }
    }
}
