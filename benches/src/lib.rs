//! The harness that compares DeltaLite with Parquet and other formats.
//!
//! Data flows through the modules in this order:
//!
//! - [`cli`]: what was asked for;
//! - [`data`]: tables to measure with, generated once and cached ([`mapped`] is how they are read);
//! - [`workload`], [`predicate`]: which columns, rows and filters a table is asked for;
//! - [`formats`]: DeltaLite and its peers behind one trait;
//! - [`cases`]: each thing that is measured, using [`digest`] to compare results before anything is timed,
//!   [`measure`] to let contestants take turns, [`cpu`] to hold them on the same cores and [`caches`] for cold runs;
//! - [`net`]: what the network costs;
//! - [`tables`]: what the log of a table costs;
//! - [`single`]: one case of one format again and again, for profilers, and the disk's ceiling;
//! - [`report`]: the rows, their details and the machine ([`machine`]), as JSON, on the terminal and as a page;
//! - [`progress`]: bars on standard error;
//! - [`error`]: everything that can go wrong, with codes.

pub mod caches;
pub mod cases;
pub mod cli;
pub mod cpu;
pub mod data;
pub mod digest;
pub mod error;
pub mod formats;
pub mod machine;
pub mod mapped;
pub mod measure;
pub mod net;
pub mod predicate;
pub mod progress;
pub mod report;
pub mod single;
pub mod tables;
pub mod workload;
