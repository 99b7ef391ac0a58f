//! Thread-per-core shards: block devices, page cache and scan pipelines for DeltaLite files.
//!
//! | module | job |
//! |---|---|
//! | [`executor`] | pinned shards, tasks on them from any thread, starting and stopping |
//! | [`scan`] | files, columns, predicate → record batches, decoded on shards or by the caller |
//! | [`cache`] | verified segments shared by the shards of a NUMA node, read once, evicted by use |
//! | [`device`] | reading and writing files: io_uring, plain threads, or a simulated disk with faults |
//! | [`mod@write`] | files that appear whole and durable or not at all |
//! | `degraded` | what a machine lacks, and how to fix it |
//! | `error` | what can go wrong on a shard |

pub mod cache;
mod degraded;
pub mod device;
mod error;
pub mod executor;
pub mod scan;
pub mod write;

pub use degraded::Degraded;
pub use error::ShardError;
