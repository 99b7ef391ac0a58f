//! Transactional tables of DeltaLite files.
//!
//! * [`version`] – a table's versions; [`error`] – what can go wrong, with stable codes DL-06xx;
//! * [`log`] – the log: its actions, where it is stored, snapshots, checkpoints, verification;
//! * [`deletion_vector`] – which rows of a file are deleted, as bytes;
//! * [`txn`] – transactions: what they read and write, and the rules by which they commit.

pub mod deletion_vector;
pub mod error;
pub mod log;
pub mod txn;
pub mod version;

pub use error::{Result, TableError};
pub use version::Version;
