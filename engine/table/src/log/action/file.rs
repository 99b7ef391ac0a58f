//! Actions about files.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::map::StringMap;
use super::stats::FileStats;
use super::stats_text::StatsText;
use crate::error::{Result, TableError};

/// What stays as it is in a path: RFC 3986's unreserved characters, what a folder named `column=value` needs, and separators.
const PATH_SET: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'=')
    .remove(b'+');

/// A path as the log writes it: percent-encoded.
///
/// ```
/// use deltalite_table::log::action::{decode_path, encode_path};
/// assert_eq!(encode_path("city=São Paulo/1.dlb"), "city=S%C3%A3o%20Paulo/1.dlb");
/// assert_eq!(decode_path("city=S%C3%A3o%20Paulo/1.dlb")?, "city=São Paulo/1.dlb");
/// # Ok::<(), deltalite_table::TableError>(())
/// ```
pub fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH_SET).to_string()
}

/// The path that the log's text stands for: relative to the table's folder, or absolute with a scheme.
///
/// # Errors
/// When the decoded bytes are not UTF-8.
pub fn decode_path(path: &str) -> Result<String> {
    let decoded = percent_decode_str(path).decode_utf8();
    Ok(decoded.map_err(|e| TableError::invalid("decoding a path", format!("{path:?}: {e}")))?.into_owned())
}

/// A file becomes part of the table, or takes the place of the same file with the same deletion vector.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Where the file is, percent-encoded, relative to the table's folder or absolute.
    pub path: Box<str>,
    /// A value for each partition column, as text; null and absent mean the same.
    pub partition_values: StringMap,
    /// Bytes of the file.
    pub size: u64,
    /// When it was made, in milliseconds since 1970.
    pub modification_time: i64,
    /// Whether rows are new, rather than moved.
    pub data_change: bool,
    /// Statistics as JSON, not parsed. See [`Add::stats`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<StatsText>,
    /// What writers say of the file; ours begin with `deltalite.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringMap>,
    /// Rows that are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<Box<DeletionVector>>,
    /// Id of the file's first row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_row_id: Option<i64>,
    /// The version that rows without one of their own were committed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_row_commit_version: Option<i64>,
    /// What arranged the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clustering_provider: Option<Box<str>>,
}

impl Add {
    /// Parses the statistics; `None` when there are none.
    ///
    /// # Errors
    /// When they are not what the specification says.
    pub fn stats(&self) -> Result<Option<FileStats>> {
        self.stats.as_ref().map(|stats| FileStats::parse(&self.path, &stats.text())).transpose()
    }

    /// What tells this deletion vector from others of the file; `None` without one.
    pub fn dv_id(&self) -> Option<String> {
        self.deletion_vector.as_deref().map(DeletionVector::unique_id)
    }

    /// The removal of this file as it is here, at `deletion_timestamp` (milliseconds since 1970).
    pub fn to_remove(&self, deletion_timestamp: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(deletion_timestamp),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
            stats: None,
            tags: self.tags.clone(),
            deletion_vector: self.deletion_vector.clone(),
            base_row_id: self.base_row_id,
            default_row_commit_version: self.default_row_commit_version,
        }
    }
}

/// A file is no longer part of the table; it stays on disk until vacuum.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    /// The path of the add that this undoes.
    pub path: Box<str>,
    /// When it was removed, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    /// Whether rows are gone, rather than moved.
    pub data_change: bool,
    /// Whether partition values, size and tags are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    /// As in [`Add`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<StringMap>,
    /// Bytes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// As in [`Add`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Box<str>>,
    /// As in [`Add`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringMap>,
    /// The deletion vector of the add that this undoes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_vector: Option<Box<DeletionVector>>,
    /// As in [`Add`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_row_id: Option<i64>,
    /// As in [`Add`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_row_commit_version: Option<i64>,
}

impl Remove {
    /// What tells this deletion vector from others of the file; `None` without one.
    pub fn dv_id(&self) -> Option<String> {
        self.deletion_vector.as_deref().map(DeletionVector::unique_id)
    }
}

/// A file that holds only the rows a version changed. It is never part of the table's state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cdc {
    /// As in [`Add`].
    pub path: Box<str>,
    /// As in [`Add`].
    pub partition_values: StringMap,
    /// Bytes of the file.
    pub size: u64,
    /// Always false: the changes are also said by adds and removes.
    pub data_change: bool,
    /// As in [`Add`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringMap>,
}

/// Where a deletion vector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DvStorage {
    /// In a file beside the data, named by a UUID in base 85 after an optional prefix.
    #[serde(rename = "u")]
    Relative,
    /// In the descriptor, in base 85.
    #[serde(rename = "i")]
    Inline,
    /// In a file at an absolute path.
    #[serde(rename = "p")]
    Absolute,
}

impl DvStorage {
    /// The letter in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            DvStorage::Relative => "u",
            DvStorage::Inline => "i",
            DvStorage::Absolute => "p",
        }
    }

    /// What a letter stands for.
    pub fn parse(letter: &str) -> Option<Self> {
        match letter {
            "u" => Some(DvStorage::Relative),
            "i" => Some(DvStorage::Inline),
            "p" => Some(DvStorage::Absolute),
            _ => None,
        }
    }
}

/// Which rows of a file are deleted, or where that is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionVector {
    /// Where it is.
    pub storage_type: DvStorage,
    /// The path, the UUID or the bytes, by storage type.
    pub path_or_inline_dv: Box<str>,
    /// Where it begins in its file, in bytes. None inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    /// Bytes before base 85.
    pub size_in_bytes: u32,
    /// Number of rows deleted.
    pub cardinality: u64,
}

impl DeletionVector {
    /// What tells this vector from others: storage letter, text, and `@offset` if there is one.
    pub fn unique_id(&self) -> String {
        let mut id = String::with_capacity(self.path_or_inline_dv.len() + 12);
        id.push_str(self.storage_type.as_str());
        id.push_str(&self.path_or_inline_dv);
        if let Some(offset) = self.offset {
            id.push('@');
            id.push_str(&offset.to_string());
        }
        id
    }
}
