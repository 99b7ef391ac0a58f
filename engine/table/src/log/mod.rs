//! The log: a table's versions, one after the other, in files that never change. `docs/log.md` is the specification.
//!
//! From the bottom up:
//!
//! * [`limits`] – every limit and default; [`name`] – names of files; [`hash`] – hashes of versions and of sets of files;
//! * [`action`] – what a line says; [`section`] – the lines of a version, sealed; [`inline`] – small data files in them;
//! * [`store`] – where versions, checkpoints and sidecars are kept, and what of it survives a crash;
//! * [`sidecar`] – references to columnar files of actions; [`files`] – the live files of a version, in columns;
//! * [`snapshot`] – the state at a version, and the next version on top of it; [`checkpoint`] – the state, written down; [`retire`](self::retire()) – removing what it makes up for;
//! * [`verify`](self::verify()) – proving all of it.

pub mod action;
pub mod checkpoint;
pub mod files;
pub mod hash;
pub mod inline;
pub mod limits;
pub mod name;
mod retire;
pub mod section;
pub mod sidecar;
pub mod snapshot;
pub mod store;
mod verify;

pub use action::{Action, CommitInfo, parse_commit};
pub use checkpoint::CheckpointOptions;
pub use files::{FileSet, FileView, Tombstone};
pub use hash::{ContentHash, StateHash};
pub use name::{LOG_FOLDER, LogFile};
pub use retire::{Needed, retire};
pub use section::Section;
pub use snapshot::{Commit, SealedCommit, Snapshot};
pub use store::{LocalStore, LogStore, Put};
pub use verify::{VerifyReport, verify};
