//! Actions: what a line of the log says. Names and meanings of fields are Delta Lake's (PROTOCOL.md, "Actions").
//!
//! * [`mod@file`] – [`Add`], [`Remove`], [`Cdc`] and [`DeletionVector`]; [`mod@table`] – everything about the
//!   table as a whole;
//! * [`map`] – [`StringMap`], the compact map in which partition values and tags are kept;
//! * [`stats`] – [`FileStats`], parsed from an add's statistics when asked for;
//! * [`read`] – lines to actions with simd-json; `cursor` – walking its tape; `plain` – sparing it our own adds; [`stats_text`] – their statistics
//!   as they stand. Writing is serde's.

mod cursor;
pub mod file;

pub mod map;
mod plain;
pub mod read;
pub mod stats;
pub mod stats_text;
pub mod table;

use serde::{Deserialize, Serialize};

pub use file::{Add, Cdc, DeletionVector, DvStorage, Remove, decode_path, encode_path};
pub use map::StringMap;
pub use read::{LineReader, parse_commit};
pub use stats::{ColumnStats, FileStats, StatValue};
pub use stats_text::StatsText;
pub use table::{
    CheckpointMetadata, CommitInfo, DomainMetadata, FileFormat, Metadata, Protocol, Sidecar, Txn,
};

/// One action, a line of JSON: an object with one member, named after the kind.
///
/// Serde's [`Deserialize`] reads the same as [`parse_commit`], more slowly and with less to say about what is wrong.
///
/// ```
/// use deltalite_table::log::action::{Action, Txn, parse_commit};
/// let action = Action::Txn(Txn { app_id: "loader".into(), version: 7, last_updated: None });
/// let line = serde_json::to_vec(&action)?;
/// assert_eq!(line, br#"{"txn":{"appId":"loader","version":7}}"#);
/// assert_eq!(parse_commit(&line)?, [action]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Who committed what, when; with the version's place in the chain.
    CommitInfo(Box<CommitInfo>),
    /// What a reader and a writer must know.
    Protocol(Protocol),
    /// Schema, partitioning, properties.
    #[serde(rename = "metaData")]
    Metadata(Box<Metadata>),
    /// A file becomes part of the table.
    Add(Add),
    /// A file is no longer part of the table.
    Remove(Remove),
    /// A file that holds only changed rows, for readers of changes.
    Cdc(Cdc),
    /// How far an application has come.
    Txn(Txn),
    /// A named piece of configuration.
    DomainMetadata(DomainMetadata),
    /// More actions, in a file of their own.
    Sidecar(Sidecar),
    /// What a checkpoint is of.
    CheckpointMetadata(CheckpointMetadata),
}
