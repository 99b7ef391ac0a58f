//! The crate's one error type.

use std::fmt;

/// What went wrong, where, and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes are not what the format says; the file is damaged or was made by something else.
    #[error("{at}: corrupt {what}: {detail}")]
    Corrupt {
        /// The section or structure.
        what: &'static str,
        /// Where it lies.
        at: Place,
        /// What was found and what was expected.
        detail: String,
    },
    /// A stored checksum does not match the bytes.
    #[error(
        "{at}: checksum of {what} does not match (stored {stored:#010x}, computed {computed:#010x}); restore the file or use `salvage` to keep what is intact"
    )]
    Checksum {
        /// The section or structure.
        what: &'static str,
        /// Where it lies.
        at: Place,
        /// The checksum in the file.
        stored: u32,
        /// The checksum of the bytes read.
        computed: u32,
    },
    /// The bytes do not start or end as a DeltaLite file does.
    #[error("{at}: not a DeltaLite file: {detail}")]
    NotDeltaLite {
        /// Where it was looked for.
        at: Place,
        /// What was found instead.
        detail: String,
    },
    /// The file uses a feature this version does not know.
    #[error("{at}: the file needs {detail}, which this version does not have; read it with a newer version")]
    Unsupported {
        /// Where it is asked for.
        at: Place,
        /// The feature.
        detail: String,
    },
    /// Data or schema that can't be written, or not to this file.
    #[error("{what}: {detail}")]
    Invalid {
        /// What was attempted.
        what: &'static str,
        /// Why it can't be done and what to do.
        detail: String,
    },
    /// No such column.
    #[error("no column named {name:?}{}", did_you_mean(.nearest.as_deref()))]
    NoSuchColumn {
        /// The name asked for.
        name: String,
        /// The nearest name there is, when one is near.
        nearest: Option<String>,
    },
    /// Memory could not be had.
    #[error(transparent)]
    Alloc(#[from] deltalite_alloc::AllocError),
    /// Arrow refused an array or a cast.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The sink of a writer, or the source of a blocking reader, failed.
    #[error("{at}: {source}")]
    Io {
        /// Where in the file.
        at: Place,
        /// The operating system's error.
        source: std::io::Error,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |n| format!("; did you mean {n:?}?"))
}

/// A place in a file: its name where known, and the offset in bytes where known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file's name, filled in by whoever knows it.
    pub file: Option<std::sync::Arc<str>>,
    /// Offset from the start of the file, in bytes.
    pub offset: Option<u64>,
}

impl Place {
    /// A place known only by its offset.
    pub fn at(offset: u64) -> Self {
        Self { file: None, offset: Some(offset) }
    }
    /// A place not known: inside a buffer whose origin the callee can't see.
    pub fn unknown() -> Self {
        Self::default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.offset) {
            (Some(file), Some(offset)) => write!(f, "{file} at byte {offset}"),
            (Some(file), None) => write!(f, "{file}"),
            (None, Some(offset)) => write!(f, "byte {offset}"),
            (None, None) => write!(f, "page"),
        }
    }
}

impl FormatError {
    /// A corrupt structure whose place the callee doesn't know; see [`FormatError::with_place`].
    #[cold]
    pub fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Corrupt { what, at: Place::unknown(), detail: detail.into() }
    }

    /// Data that can't be written or asked for.
    #[cold]
    pub fn invalid(what: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { what, detail: detail.into() }
    }

    /// The stable code that documentation explains.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Corrupt { .. } => "DL-0201",
            Self::Checksum { .. } => "DL-0202",
            Self::NotDeltaLite { .. } => "DL-0203",
            Self::Unsupported { .. } => "DL-0204",
            Self::Invalid { .. } => "DL-0205",
            Self::NoSuchColumn { .. } => "DL-0206",
            Self::Alloc(e) => e.code(),
            Self::Arrow(_) => "DL-0207",
            Self::Io { .. } => "DL-0208",
        }
    }

    /// Fills in the file and the offset of the enclosing structure where they aren't known yet.
    #[must_use]
    pub fn with_place(mut self, file: Option<&std::sync::Arc<str>>, base: u64) -> Self {
        if let Self::Corrupt { at, .. }
        | Self::Checksum { at, .. }
        | Self::NotDeltaLite { at, .. }
        | Self::Unsupported { at, .. }
        | Self::Io { at, .. } = &mut self
        {
            if at.file.is_none() {
                at.file = file.cloned();
            }
            if at.offset.is_none() {
                at.offset = Some(base);
            }
        }
        self
    }
}

/// The crate's result.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;
