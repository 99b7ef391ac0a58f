//! Names of the log's files.

use std::fmt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::version::Version;

/// The log's folder in a table's folder.
pub const LOG_FOLDER: &str = "_deltalite_log";
/// The folder of sidecars in the log's folder.
pub const SIDECAR_FOLDER: &str = "_sidecars";
/// The folder of files being written in the log's folder.
pub const TEMP_FOLDER: &str = ".tmp";

/// A file of the log.
///
/// ```
/// use deltalite_table::Version;
/// use deltalite_table::log::LogFile;
/// assert_eq!(LogFile::Commit(Version(7)).to_string(), "00000000000000000007.json");
/// assert_eq!(LogFile::parse("00000000000000000007.json"), Some(LogFile::Commit(Version(7))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogFile {
    /// `<version>.json`: one version, or a group of which this is one.
    Commit(Version),
    /// `<version>.checkpoint.<uuid>.json`: the state at a version.
    Checkpoint(Version, Uuid),
    /// `<version>.prepared.json`: a version that stands once another table's log decides so; see [`store`](super::store).
    Prepared(Version),
    /// `_sidecars/<uuid>.dlb`: many file actions.
    Sidecar(Uuid),
    /// `_last_checkpoint`: which checkpoint to begin with. Only a hint.
    Hint,
}

impl LogFile {
    /// What a name in the log's folder (or `_sidecars/…`) stands for; `None` for names that are none of the log's.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "_last_checkpoint" {
            return Some(LogFile::Hint);
        }
        if let Some(sidecar) = name.strip_prefix("_sidecars/") {
            return Some(LogFile::Sidecar(uuid(sidecar.strip_suffix(".dlb")?)?));
        }
        let (digits, rest) = name.split_at_checked(20)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let version = Version(digits.parse().ok()?);
        if version > Version::MAX {
            return None;
        }
        if rest == ".json" {
            return Some(LogFile::Commit(version));
        }
        if rest == ".prepared.json" {
            return Some(LogFile::Prepared(version));
        }
        let id = rest.strip_prefix(".checkpoint.")?.strip_suffix(".json")?;
        Some(LogFile::Checkpoint(version, uuid(id)?))
    }

    /// Where the file is, given the log's folder.
    pub fn path(&self, log: &Path) -> PathBuf {
        match self {
            LogFile::Sidecar(id) => log.join(SIDECAR_FOLDER).join(format!("{id}.dlb")),
            other => log.join(other.to_string()),
        }
    }
}

/// A UUID in the one form that names use.
fn uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().to_string() == text).then_some(id)
}

impl fmt::Display for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogFile::Commit(version) => write!(f, "{:020}.json", version.0),
            LogFile::Prepared(version) => write!(f, "{:020}.prepared.json", version.0),
            LogFile::Checkpoint(version, id) => write!(f, "{:020}.checkpoint.{id}.json", version.0),
            LogFile::Sidecar(id) => write!(f, "{SIDECAR_FOLDER}/{id}.dlb"),
            LogFile::Hint => f.write_str("_last_checkpoint"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_round_trip(version in 0..=Version::MAX.0, id: u128) {
            let id = Uuid::from_u128(id);
            let version = Version(version);
            for file in [LogFile::Commit(version), LogFile::Prepared(version), LogFile::Checkpoint(version, id), LogFile::Sidecar(id), LogFile::Hint] {
                prop_assert_eq!(LogFile::parse(&file.to_string()), Some(file));
            }
        }

        #[test]
        fn other_names_are_none_of_ours(name in "[0-9a-f.]{0,30}(json|dlb)?") {
            if let Some(file) = LogFile::parse(&name) {
                prop_assert_eq!(file.to_string(), name);
            }
        }
    }
}
