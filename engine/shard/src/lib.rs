//! Thread-per-core shards: block devices, page cache and scan pipelines for DeltaLite files.
//!
//! | module | job |
//! |---|---|
//! | [`device`] | reading and writing files: io_uring, plain threads, or a simulated disk with faults |

pub mod device;
