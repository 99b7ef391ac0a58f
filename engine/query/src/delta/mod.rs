//! Delta Lake tables: read where they are, and written from tables of ours.
//!
//! [`log`] – a version of their log; [`table`] – it as a relation; [`export`] – a version of ours as one of theirs.

pub(crate) mod export;
pub(crate) mod log;
pub(crate) mod table;
