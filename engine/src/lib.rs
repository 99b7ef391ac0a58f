//! DeltaLite: a columnar table engine for machines whose disks and cores you own.
//!
//! The library is a facade: [`query`] (SQL), [`server`] (serving scans), [`remote`] (scanning what is served), [`net`] (the RPC below both), [`table`] (transactional tables), [`shard`] (shards, scans), [`format`](mod@format) (files) and
//! [`alloc`] (memory, topology) are the crates below;
//! this one adds what a program that uses files wants at hand.
//!
//! * [`open`], [`Scan`] – scanning files;
//! * [`convert`] – Parquet, CSV, NDJSON and Arrow IPC, both ways; [`import`](mod@import) – sources to a DeltaLite file;
//! * [`inspect`] – what is in a file; [`where_clause`] – SQL conditions; [`tuning`] – what was measured of this machine's disk;
//! * [`explain`] – error codes in long.
//!
//! ```
//! use std::sync::Arc;
//! use arrow_array::{ArrayRef, Int64Array, RecordBatch};
//! use deltalite::{Scan, col, lit, open, shards};
//!
//! let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
//! let batch = RecordBatch::try_from_iter([("id", ids)])?;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("ids.dlb");
//! deltalite::write_file(&path, &batch.schema(), [Ok(batch)], Default::default())?;
//!
//! let shards = shards(1)?;
//! let rows: usize = Scan::of(open(&path)?)
//!     .columns(["id"])
//!     .filter(col("id").lt(lit(10)))
//!     .start(&shards)?
//!     .map(|batch| batch.map(|b| b.num_rows()))
//!     .sum::<Result<usize, _>>()?;
//! assert_eq!(rows, 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// The README's example, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod convert;
pub mod credentials;
mod error;
pub mod explain;
pub mod import;
pub mod inspect;
pub mod salvage;
pub mod tuning;
pub mod where_clause;

use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;

pub use deltalite_alloc as alloc;
pub use deltalite_format as format;
pub use deltalite_format::predicate::{Predicate, col, lit};
pub use deltalite_format::{FileWriter, Profile, SplitSpec, WriteSummary, WriterOptions};
pub use deltalite_net as net;
pub use deltalite_query as query;
pub use deltalite_remote as remote;
pub use deltalite_server as server;
pub use deltalite_shard as shard;
pub use deltalite_shard::executor::{ShardOptions, ShardSet};
pub use deltalite_shard::scan::{DataFile, DecodeOn, RowReader, Scan, ScanMetrics, ScanStream, Verify};
use deltalite_shard::write::{AtomicFile, WriteOptions};
pub use deltalite_table as table;
pub use deltalite_table::DeltaLiteTable;
pub use error::{EngineError, Result};

/// Opens a file for scanning.
///
/// # Errors
/// When it can't be opened or is no intact DeltaLite file.
pub fn open(path: impl AsRef<Path>) -> Result<Arc<DataFile>> {
    Ok(DataFile::open(path)?)
}

/// Starts shards, `count` of them (0: one per core), with what [`tuning`] knows of this machine.
///
/// # Errors
/// When a shard can't be started.
pub fn shards(count: u32) -> Result<Arc<ShardSet>> {
    Ok(Arc::new(ShardSet::start(tuning::shard_options(count)?)?))
}

/// As [`shards`], in a process that may use so much memory; what is left of it for operators of queries goes to
/// [`SessionOptions::memory_bytes`](query::SessionOptions::memory_bytes).
///
/// # Errors
/// As [`shards`].
pub fn shards_within(count: u32, memory_bytes: u64) -> Result<(Arc<ShardSet>, u64)> {
    let options = tuning::shard_options(count)?;
    let shares = tuning::share(memory_bytes, options.placement.shards.len());
    Ok((Arc::new(ShardSet::start(options.arena(shares.arena))?), shares.operators))
}

/// Writes batches to a file that appears under its name only when it is whole and durable.
///
/// # Errors
/// When a batch is an error or does not fit the schema, or writing fails; nothing is left behind then.
pub fn write_file(
    path: impl AsRef<Path>,
    schema: &Schema,
    batches: impl IntoIterator<Item = Result<RecordBatch>>,
    options: WriterOptions,
) -> Result<WriteSummary> {
    let file = AtomicFile::create(path.as_ref(), WriteOptions::default())?;
    let mut writer = FileWriter::new(file, schema, options)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    let (summary, file) = writer.finish_into()?;
    file.finish()?;
    Ok(summary)
}
