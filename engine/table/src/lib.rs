//! Transactional tables of DeltaLite files.
//!
//! * [`version`] – a table's versions; [`error`] – what can go wrong, with stable codes DL-06xx;
//! * [`log`] – the log: its actions, where it is stored, snapshots, checkpoints, verification;
//! * [`deletion_vector`] – which rows of a file are deleted, as bytes;
//! * [`txn`] – transactions: what they read and write, and the rules by which they commit; `commit` – how they do;
//! * [`schema`], [`partition`], [`stats`] – columns, which rows lie together, what is known of files;
//! * `data` – writing data files; [`table`] – tables: what people use.

pub(crate) mod commit;
pub(crate) mod data;
pub mod deletion_vector;
pub mod error;
pub mod log;
pub mod partition;
pub mod schema;
pub mod stats;
pub mod table;
pub mod txn;
pub mod version;

pub use error::{Result, TableError};
pub use table::{DeltaLiteTable, Interrupt, OptimisticTransaction, Outcome, TableContext};
pub use version::Version;
