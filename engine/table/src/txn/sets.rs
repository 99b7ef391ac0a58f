//! What a transaction read and wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::isolation::Isolation;
use super::row_map::RowMap;
use crate::log::action::{Add, Cdc, DomainMetadata, Metadata, Protocol, Txn};
use crate::log::inline::SmallFiles;
use crate::version::Version;

/// Numbers of rows in a file, counted from 0.
pub type Rows = RoaringTreemap;

/// A condition that a transaction looked for rows by.
pub trait FilePredicate: Send + Sync + fmt::Debug {
    /// Whether a file may hold a row for which it is true, by partition values and statistics. What is not known may.
    fn may_match(&self, file: &Add) -> bool;
    /// It as text, for messages.
    fn text(&self) -> String;
}

/// Some columns, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// All there are.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Columns {
    /// Whether a column is among them.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Columns::All => true,
            Columns::Only(names) => names.contains(name),
        }
    }
}

impl Default for Columns {
    fn default() -> Self {
        Columns::Only(BTreeSet::new())
    }
}

/// What a transaction looked at.
#[derive(Debug, Clone, Default)]
pub struct ReadSet {
    /// It looked at everything.
    pub whole_table: bool,
    /// It looked for rows by these conditions.
    pub predicates: Vec<Arc<dyn FilePredicate>>,
    /// It read these files, by path.
    pub files: BTreeSet<Box<str>>,
    /// Of these files its result depends on these rows only; of other files read, on all rows.
    pub rows: BTreeMap<Box<str>, Rows>,
    /// Columns that it read.
    pub columns: Columns,
    /// Applications whose progress it read.
    pub app_ids: BTreeSet<String>,
    /// Domains that it read.
    pub domains: BTreeSet<String>,
}

/// Rows of one file to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct RowDelete {
    /// The file as it is live.
    pub file: Add,
    /// Its rows that are deleted already: what its deletion vector says.
    pub before: Rows,
    /// Rows that this transaction deletes. None of them is in `before`.
    pub rows: Rows,
    /// Those of them that it writes anew, changed: readers of changes are told.
    pub changed: Rows,
}

/// A file to be removed as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Removal {
    /// The file as it is live.
    pub file: Add,
    /// Which of its rows are written anew, changed.
    pub changed: Changed,
}

/// Which of the rows that a transaction takes from a file are not deleted, but written anew, changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Changed {
    /// All are deleted.
    #[default]
    None,
    /// All are changed.
    All,
    /// These are changed.
    Some(Rows),
}

impl Changed {
    /// Those of some rows.
    pub fn of(changed: &Rows, rows: &Rows) -> Self {
        match changed.len() {
            0 => Changed::None,
            _ if changed == rows => Changed::All,
            _ => Changed::Some(changed.clone()),
        }
    }
}

/// What merges two configurations of a domain: what was there, ours, theirs.
pub type MergeDomain = fn(ours: &str, theirs: &str) -> Option<String>;

/// A domain to be set.
#[derive(Debug, Clone)]
pub struct DomainWrite {
    /// The domain and its new configuration.
    pub domain: DomainMetadata,
    /// How to combine it with what somebody else set meanwhile; `None`: not at all.
    pub merge: Option<MergeDomain>,
}

/// What a transaction is about to write.
#[derive(Debug, Clone, Default)]
pub struct WriteSet {
    /// New files.
    pub adds: Vec<Add>,
    /// Those of them that are not synced, and go into the log.
    pub small: SmallFiles,
    /// Files to be removed, by path.
    pub removes: BTreeMap<Box<str>, Removal>,
    /// Rows to be deleted, by the path of their file.
    pub deletes: BTreeMap<Box<str>, RowDelete>,
    /// Files that become as they were, with other rows deleted: as they are live, and as they will be.
    pub restores: BTreeMap<Box<str>, (Removal, Add)>,
    /// Of a compaction: where the rows of `removes` are in `adds`.
    pub row_map: Option<RowMap>,
    /// Of a compaction: rows of `adds` that others have deleted from the files they come from.
    pub deleted_in_adds: BTreeMap<Box<str>, Rows>,
    /// New metadata.
    pub metadata: Option<Metadata>,
    /// A new protocol.
    pub protocol: Option<Protocol>,
    /// Progress of applications.
    pub txns: Vec<Txn>,
    /// Domains.
    pub domains: Vec<DomainWrite>,
    /// Files of changed rows, for readers of changes.
    pub cdcs: Vec<Cdc>,
    /// Whether rows are new, changed or gone, rather than moved.
    pub data_change: bool,
    /// Columns that new rows have.
    pub columns: Columns,
    /// Encoded keys of new rows, where the table enforces them.
    pub keys: BTreeSet<Vec<u8>>,
    /// Locks and leases that this transaction relies on, and the tokens it was given.
    pub fences: BTreeMap<String, String>,
}

impl WriteSet {
    /// Whether rows are only added.
    pub fn only_appends(&self) -> bool {
        self.removes.is_empty()
            && self.deletes.is_empty()
            && self.restores.is_empty()
            && self.metadata.is_none()
            && self.protocol.is_none()
    }
}

/// A transaction that wants to commit.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Unique: how it recognises a commit of its own. The commit's `txnId`.
    pub id: String,
    /// The version that it read.
    pub base: Version,
    /// What it asked for.
    pub isolation: Isolation,
    /// What it looked at.
    pub reads: ReadSet,
    /// What it writes.
    pub writes: WriteSet,
    /// The versions up to this one have been checked: the write set fits this state.
    pub checked: Version,
    /// The first blind append that it should have seen and did not: in the order that makes writes serializable it comes before.
    pub comes_before: Option<Version>,
}

impl Transaction {
    /// A transaction that read a version and has done nothing yet.
    pub fn new(base: Version, isolation: Isolation) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            base,
            isolation,
            reads: ReadSet::default(),
            writes: WriteSet { data_change: true, ..WriteSet::default() },
            checked: base,
            comes_before: None,
        }
    }

    /// Whether it added rows without looking at any.
    pub fn is_blind_append(&self) -> bool {
        let reads = &self.reads;
        self.writes.only_appends()
            && !reads.whole_table
            && reads.predicates.is_empty()
            && reads.files.is_empty()
    }

    /// The level that it is judged by: moving rows about asks no more than that no change is lost.
    pub fn level(&self) -> Isolation {
        if self.writes.data_change { self.isolation } else { Isolation::Snapshot }
    }
}
