//! The one error type of the harness.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// A result of the harness.
pub type Result<T, E = BenchError> = std::result::Result<T, E>;

/// What can go wrong while comparing formats. Every variant has a stable code, see [`BenchError::code`].
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A file of the benchmark could not be read or written.
    #[error("[DL-0901] {doing} {}: {source}", path.display())]
    Io {
        /// What was attempted, for example `"creating"`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A format, ours or a peer's, failed while doing what a case asked of it.
    #[error("[DL-0902] {format}: {doing}: {message}")]
    Format {
        /// Name of the format, as in the report.
        format: String,
        /// What was attempted.
        doing: String,
        /// What the format said.
        message: String,
    },
    /// Two formats did not return the same rows, so timing them would compare different work.
    #[error(
        "[DL-0903] {case} on {data}: {format} returned {found}, the source has {expected}; nothing was timed"
    )]
    Different {
        /// The case.
        case: String,
        /// The table.
        data: String,
        /// The format that differs.
        format: String,
        /// Digest of what it returned.
        found: String,
        /// Digest of what should have been returned.
        expected: String,
    },
    /// The command line asks for something that isn't there.
    #[error("[DL-0904] {0}")]
    Usage(String),
    /// A format does not offer what a case needs; the case is left out for it and the report says so.
    #[error("[DL-0905] {format} has no {what}")]
    Unsupported {
        /// Name of the format.
        format: String,
        /// What it lacks.
        what: String,
    },
    /// The machine or the container refused something a measurement needs.
    #[error("[DL-0906] {doing}: {source}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl BenchError {
    /// The stable code, for example `DL-0903`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "DL-0901",
            Self::Format { .. } => "DL-0902",
            Self::Different { .. } => "DL-0903",
            Self::Usage(_) => "DL-0904",
            Self::Unsupported { .. } => "DL-0905",
            Self::System { .. } => "DL-0906",
        }
    }

    /// A file operation failed; made for `map_err`.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }

    /// A format failed; made for `map_err`.
    pub fn format<E: Display>(format: &str, doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let (format, doing) = (format.to_owned(), doing.into());
        move |error| Self::Format { format, doing, message: error.to_string() }
    }
}
