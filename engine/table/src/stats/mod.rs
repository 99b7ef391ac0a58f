//! Statistics of data files: written into the log when a file is, and read to leave files out.
//!
//! * [`write`](mod@write) – from a file's footer to Delta's JSON; [`prune`] – which files a condition can be true in.

pub mod prune;
mod write;

pub use prune::Pruner;
pub use write::of_file;
