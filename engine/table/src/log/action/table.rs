//! Actions about the table as a whole, and about the log itself.

use serde::{Deserialize, Serialize};

use super::map::StringMap;
use crate::log::hash::{ContentHash, StateHash};
use crate::version::Version;

/// What a reader and a writer must know to use the table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// 3 when features are listed.
    pub min_reader_version: u32,
    /// 7 when features are listed.
    pub min_writer_version: u32,
    /// What readers must know. Ours lists `deltaliteBlockFormat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    /// What writers must know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

/// How the table's files are encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFormat {
    /// Name of the format: `deltalite`.
    pub provider: String,
    /// Its options.
    #[serde(default)]
    pub options: StringMap,
}

impl Default for FileFormat {
    fn default() -> Self {
        Self { provider: "deltalite".to_owned(), options: StringMap::default() }
    }
}

/// Schema, partitioning and properties of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Identity of the table.
    pub id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How its files are encoded.
    pub format: FileFormat,
    /// The schema, as JSON in Delta's form.
    pub schema_string: String,
    /// Columns whose values are said by [`Add::partition_values`](super::Add::partition_values).
    pub partition_columns: Vec<String>,
    /// When the table was made, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
    /// Properties.
    #[serde(default)]
    pub configuration: StringMap,
}

/// How far an application has come, so that it can tell which of its transactions are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    /// The application.
    pub app_id: String,
    /// Its own version number.
    pub version: i64,
    /// When it said so, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<i64>,
}

/// A named piece of configuration that commits conflict on one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainMetadata {
    /// Its name. Ours begin with `deltalite.`.
    pub domain: String,
    /// Its contents, in a form of its own.
    pub configuration: String,
    /// Whether it is taken away.
    pub removed: bool,
}

/// Who committed what, when; and the version's place in the chain. The first line of every version.
///
/// The first five fields are filled in when the version is sealed, on top of what it is based on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitInfo {
    /// Which version the section is.
    #[serde(rename = "deltalite.version")]
    pub version: Version,
    /// Hash of the section before; zeros in the first version.
    #[serde(rename = "deltalite.prev")]
    pub prev: ContentHash,
    /// Hash of the set of live files after this version.
    #[serde(rename = "deltalite.state")]
    pub state: StateHash,
    /// Number of live files after this version.
    #[serde(rename = "deltalite.numFiles")]
    pub num_files: u64,
    /// Bytes of live files after this version.
    #[serde(rename = "deltalite.sizeInBytes")]
    pub size_in_bytes: u64,
    /// When this version was committed, in milliseconds since 1970: later than every version before it.
    pub in_commit_timestamp: i64,
    /// What the writer's clock said, in milliseconds since 1970.
    pub timestamp: i64,
    /// What was done, for example `WRITE` or `OPTIMIZE`.
    pub operation: String,
    /// With which parameters; what is no string is kept as its JSON.
    #[serde(default)]
    pub operation_parameters: StringMap,
    /// How much was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_metrics: Option<StringMap>,
    /// The version that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_version: Option<Version>,
    /// `Serializable`, `WriteSerializable` or `SnapshotIsolation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation_level: Option<String>,
    /// Whether rows were only added, without looking at those that were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_blind_append: Option<bool>,
    /// The software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_info: Option<String>,
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// What the person wanted to be remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_metadata: Option<String>,
    /// Unique to this commit: how its writer recognises it after an unknown outcome.
    pub txn_id: String,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringMap>,
}

impl CommitInfo {
    /// A commit of this operation, now, with a fresh `txnId`.
    pub fn new(operation: &str) -> Self {
        Self {
            timestamp: now_ms(),
            operation: operation.to_owned(),
            engine_info: Some(concat!("DeltaLite/", env!("CARGO_PKG_VERSION")).to_owned()),
            txn_id: uuid::Uuid::new_v4().to_string(),
            ..Self::default()
        }
    }
}

/// The clock, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// More actions, in a columnar file of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Its name in the folder of sidecars.
    pub path: String,
    /// Its bytes.
    pub size_in_bytes: u64,
    /// When it was made, in milliseconds since 1970.
    pub modification_time: i64,
    /// What is in it; see [`SidecarRef`](crate::log::sidecar::SidecarRef).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringMap>,
}

/// What a checkpoint is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// The version whose state it holds.
    pub version: Version,
    /// Hashes and counts of that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringMap>,
}
