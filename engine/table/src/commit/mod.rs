//! Committing: from transactions to versions, of many writers at once.
//!
//! * [`vectors`] – deletion vectors by descriptor, read once;
//! * [`row_maps`] – row maps of compactions as files of the log;
//! * [`winners`] – versions as the rules want them;
//! * [`queue`] – the committer: rules, group commit, retry on the next version;
//! * [`together`] – transactions of several tables as one.

pub(crate) mod queue;
pub(crate) mod row_maps;
pub(crate) mod together;
pub(crate) mod vectors;
pub(crate) mod winners;

pub(crate) use queue::{Committed, Committer, Pending};
pub(crate) use vectors::Vectors;
