//! Transactional tables of DeltaLite files.
//!
//! * [`version`] – a table's versions; [`error`] – what can go wrong, with stable codes DL-06xx;
//! * [`log`] – the log: its actions, where it is stored, snapshots, checkpoints, verification;
//! * [`txn`] – transactions: what they read and write, and the rules by which they commit.

pub mod error;
pub mod log;
pub mod txn;
pub mod version;

pub use error::{Result, TableError};
pub use version::Version;
