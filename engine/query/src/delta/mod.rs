//! Delta Lake tables: read where they are, and written from tables of ours.
//!
//! [`log`] – a version of their log; [`table`] – it as a relation; [`names`] – nested columns under the names that people know; [`ids`] – columns by their numbers; [`export`] – a version of ours as one of theirs; [`import`] – their versions as ours.

pub(crate) mod export;
mod ids;
pub(crate) mod import;
pub(crate) mod log;
mod names;
pub(crate) mod table;
