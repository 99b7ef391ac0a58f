//! The crate's one error type.

use std::path::PathBuf;

use deltalite_format::FormatError;
use deltalite_net::RpcError;
use deltalite_query::QueryError;
use deltalite_shard::ShardError;
use deltalite_table::TableError;

use crate::where_clause::WhereError;

/// What went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The format refused or found damage.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A shard refused or failed.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// A condition can't be understood, or does not fit the columns.
    #[error(transparent)]
    Where(#[from] WhereError),
    /// A table refuses, or its log is damaged.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A server, or the way to it, refuses or fails.
    #[error(transparent)]
    Remote(#[from] RpcError),
    /// A statement can't be understood, planned or run.
    #[error("{rendered}")]
    Statement {
        /// What is wrong, with the statement's line and a caret.
        rendered: String,
        /// The error's code.
        code: String,
    },
    /// A file of another format can't be read or written.
    #[error("{path}: {detail}")]
    Foreign {
        /// The file.
        path: String,
        /// What its reader or writer said.
        detail: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A value or combination of arguments that makes no sense.
    #[error("{what}: {detail}")]
    Usage {
        /// Which argument.
        what: String,
        /// Why, and what can be given.
        detail: String,
    },
    /// Rows of a source do not fit the schema.
    #[error("{path}, line {line}: {detail}")]
    Row {
        /// The file.
        path: String,
        /// Line, counted from 1.
        line: u64,
        /// What does not fit.
        detail: String,
    },
    /// Sources that should become one file differ in their columns.
    #[error(
        "{path} has other columns than {first}: {detail}; import it into a file of its own, or give --schema"
    )]
    SchemaMismatch {
        /// The source that differs.
        path: String,
        /// The first source.
        first: String,
        /// How they differ.
        detail: String,
    },
}

impl EngineError {
    /// The stable code that `deltalite explain-error` expands.
    pub fn code(&self) -> &str {
        match self {
            Self::Format(e) => e.code(),
            Self::Shard(e) => e.code(),
            Self::Where(e) => e.code(),
            Self::Table(e) => e.code(),
            Self::Remote(e) => e.code(),
            Self::Statement { code, .. } => code,
            Self::Foreign { .. } => "DL-0401",
            Self::Io { .. } => "DL-0402",
            Self::Usage { .. } => "DL-0403",
            Self::Row { .. } => "DL-0404",
            Self::SchemaMismatch { .. } => "DL-0405",
        }
    }

    /// An error of a statement, with the place in it.
    pub fn statement(error: &QueryError, statement: &str) -> Self {
        let rendered = error.render(statement);
        let suffix = format!(" [{}]", error.code());
        Self::Statement { rendered: rendered.replacen(&suffix, "", 1), code: error.code().to_owned() }
    }

    /// Wraps an operating system's error with the file it is about.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Wraps another format's error with the file it is about.
    pub fn foreign(path: &str) -> impl Fn(String) -> Self + use<> {
        let path = path.to_owned();
        move |detail| Self::Foreign { path: path.clone(), detail }
    }

    /// An argument that makes no sense.
    pub fn usage(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), detail: detail.into() }
    }
}

/// The crate's result.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;
