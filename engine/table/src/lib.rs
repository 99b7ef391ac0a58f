//! Transactional tables of DeltaLite files.
//!
//! * [`version`] – a table's versions; [`error`] – what can go wrong, with stable codes DL-06xx;
//! * [`log`] – the log: its actions, where it is stored, snapshots, checkpoints, verification.

pub mod error;
pub mod log;
pub mod version;

pub use error::{Result, TableError};
pub use version::Version;
