//! Data files of tables.
//!
//! * [`sink`] – bytes to a file, small ones in one write; [`writer`] – batches to files, by partition and size.

pub(crate) mod sink;
pub(crate) mod writer;

pub(crate) use writer::{DataWriter, Written};
