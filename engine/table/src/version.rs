//! A table's versions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One version of a table: the state after so many commits, counted from 0.
///
/// ```
/// use deltalite_table::Version;
/// assert_eq!(Version(6).next(), Version(7));
/// assert_eq!(Version(0).previous(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The greatest version: what fits a JSON reader's signed 64 bits.
    pub const MAX: Version = Version(i64::MAX as u64);

    /// The version after this one.
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }

    /// The version `n` after this one.
    pub fn plus(self, n: usize) -> Version {
        Version(self.0 + n as u64)
    }

    /// The version before this one; `None` for the first.
    pub fn previous(self) -> Option<Version> {
        self.0.checked_sub(1).map(Version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
