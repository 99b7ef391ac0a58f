//! Scans: files, columns, predicate, limit and splits → Arrow record batches.
//!
//! | module | job |
//! |---|---|
//! | [`mod@file`] | an open data file |
//! | `segments` | which stretches are read and cached as one piece |
//! | `fetch` | getting a segment from the cache or a shard |
//! | `worker` | units to batches, on a shard or on the consumer's thread |
//! | `stream` | the consumer's end: iterator, async stream, records |
//! | `take` | single rows by number |
//! | `metrics` | what a scan did |
//!
//! Units (≤ 65,536 rows of one file) are what is handed out. Unordered scans hand them to whichever shard is free; ordered ones deal them
//! out in turn, so that each shard's output is known to come in order. Back-pressure is the bounded channel of each shard:
//! when the consumer stops, decoding stops, and with it the reads.

mod fetch;
pub mod file;
mod metrics;
mod segments;
mod stream;
mod take;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow_schema::SchemaRef;
use deltalite_alloc::BufferPool;
use deltalite_format::predicate::Predicate;
use deltalite_format::reader::{PruneCounts, ScanOptions, ScanPlan, UnitTask};
use deltalite_format::schema::EvolvedSchema;
use deltalite_format::{FormatError, SplitSpec};
use roaring::RoaringTreemap;

pub use file::{DataFile, FileSource};
pub use metrics::{ScanMetrics, SkippedRows};
pub use stream::{AsyncScan, LocalScan, ScanStream};
pub use take::RowReader;

use crate::error::ShardError;
use crate::executor::{Shard, ShardSet};
use metrics::Counters;

/// What to do about damaged pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Check each page once, when it enters the cache; damage ends the scan with an error.
    #[default]
    Fail,
    /// Check; leave out the units that damage touches and report their rows in [`ScanMetrics::skipped`].
    Skip,
    /// Do not check. Damage that decoding does not notice yields wrong rows.
    Off,
}

/// Where batches are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecodeOn {
    /// On the shards, in parallel; batches travel to the consumer.
    #[default]
    Shards,
    /// On the consumer's thread, one batch at a time, in order: no hop, the best use of a single core. Shards still read.
    Caller,
}

/// A file to be scanned, and how.
#[derive(Debug, Clone)]
pub struct ScanFile {
    /// The file.
    pub file: Arc<DataFile>,
    /// The schema to read it under, where that is not its own; may give constants for columns that it does not have.
    pub schema: Option<Arc<EvolvedSchema>>,
    /// Its rows that are deleted.
    pub deleted: Option<Arc<RoaringTreemap>>,
    /// The part of it that is read; all without.
    pub split: Option<SplitSpec>,
}

impl From<Arc<DataFile>> for ScanFile {
    fn from(file: Arc<DataFile>) -> Self {
        Self { file, schema: None, deleted: None, split: None }
    }
}

#[derive(Debug, Clone)]
struct Options {
    prefetch_bytes: u64,
    verify: Verify,
    limit: Option<u64>,
    ordered: bool,
}

/// A scan to be started.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use deltalite_format::predicate::{col, lit};
/// use deltalite_format::{FileWriter, WriterOptions};
/// use deltalite_shard::executor::{ShardOptions, ShardSet};
/// use deltalite_shard::scan::{DataFile, Scan};
///
/// let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
/// let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ids.dlb");
/// let mut writer = FileWriter::new(std::fs::File::create(&path)?, &batch.schema(), WriterOptions::default())?;
/// writer.write(&batch)?;
/// writer.finish()?;
///
/// let shards = Arc::new(ShardSet::start(ShardOptions::with_shards(1)?.arena(16 << 20))?);
/// let scan = Scan::of(DataFile::open(&path)?).filter(col("id").lt(lit(10))).start(&shards)?;
/// let mut rows = 0;
/// for batch in scan {
///     rows += batch?.num_rows();
/// }
/// assert_eq!(rows, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scan {
    files: Vec<ScanFile>,
    format: ScanOptions,
    decode_on: DecodeOn,
    options: Options,
}

impl Scan {
    /// A scan of one file.
    pub fn of(file: Arc<DataFile>) -> Self {
        Self::over(vec![file])
    }

    /// A scan of files of one schema, or read under one, one after the other.
    pub fn over<F: Into<ScanFile>>(files: impl IntoIterator<Item = F>) -> Self {
        Self {
            files: files.into_iter().map(Into::into).collect(),
            format: ScanOptions::default(),
            decode_on: DecodeOn::default(),
            options: Options { prefetch_bytes: 32 << 20, verify: Verify::Fail, limit: None, ordered: true },
        }
    }

    /// Columns wanted, in this order; all without.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.format.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Rows wanted.
    #[must_use]
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.format.predicate = Some(predicate);
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Self {
        self.options.limit = Some(rows);
        self
    }

    /// Only this split of the `file`-th file (call it for each file that is split). A file without a split is read whole.
    #[must_use]
    pub fn split(mut self, file: usize, split: SplitSpec) -> Self {
        if let Some(file) = self.files.get_mut(file) {
            file.split = Some(split);
        }
        self
    }

    /// Most rows of a batch, 1 to 65,536. Default 16,384, and 65,536 where no value has to be decoded.
    #[must_use]
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.format.batch_rows = Some(rows);
        self
    }

    /// Yield each row's number in its file as a last column of this name, of type UInt64.
    #[must_use]
    pub fn row_numbers(mut self, name: impl Into<String>) -> Self {
        self.format.row_numbers = Some(name.into());
        self
    }

    /// Columns of decimals to be yielded as whole numbers ([`ScanOptions::unscaled`]).
    #[must_use]
    pub fn unscaled<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.format.unscaled = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether rows come in the order of the files. Default yes; an unordered scan keeps every shard busy to the end.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.options.ordered = ordered;
        self
    }

    /// Where batches are decoded.
    #[must_use]
    pub fn decode_on(mut self, place: DecodeOn) -> Self {
        self.decode_on = place;
        self
    }

    /// What to do about damaged pages.
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.options.verify = verify;
        self
    }

    /// Whether statistics may skip what can't match. Default yes.
    #[must_use]
    pub fn pruning(mut self, pruning: bool) -> Self {
        self.format.pruning = pruning;
        self
    }

    /// Bytes that a worker reads ahead of what it decodes. Default 32 MiB.
    #[must_use]
    pub fn prefetch_bytes(mut self, bytes: u64) -> Self {
        self.options.prefetch_bytes = bytes;
        self
    }

    /// Where decoded values go. Default: the process-wide pool.
    #[must_use]
    pub fn pool(mut self, pool: BufferPool) -> Self {
        self.format.pool = pool;
        self
    }

    fn resolve(self) -> Result<(Arc<ScanShared>, DecodeOn), ShardError> {
        if self.files.is_empty() {
            return Err(FormatError::invalid("scan", "there is no file to scan").into());
        }
        let mut files: Vec<(Arc<DataFile>, Arc<ScanPlan>)> = Vec::with_capacity(self.files.len());
        let mut tasks = Vec::new();
        let mut pruned = PruneCounts::default();
        for (i, ScanFile { file, schema, deleted, split }) in self.files.into_iter().enumerate() {
            let options = ScanOptions { schema, deleted, ..self.format.clone() };
            let plan = Arc::new(ScanPlan::new(file.meta().clone(), options)?);
            if let Some((first, first_plan)) = files.first()
                && !same_columns(first_plan.schema(), plan.schema())
            {
                return Err(FormatError::invalid(
                    "scan",
                    format!(
                        "{} and {} differ in their columns; scan them separately",
                        first.path().display(),
                        file.path().display()
                    ),
                )
                .into());
            }
            let (units, counts) = plan.units(split.as_ref())?;
            pruned.add(&counts);
            tasks.extend(units.into_iter().map(|t| (i, t)));
            files.push((file, plan));
        }
        let schema = files[0].1.schema().clone();
        let counters = Arc::new(Counters { pruned: parking_lot::Mutex::new(pruned), ..Counters::default() });
        let shared =
            ScanShared { files, tasks, next: AtomicUsize::new(0), options: self.options, schema, counters };
        Ok((Arc::new(shared), self.decode_on))
    }

    /// Starts the scan on shards.
    ///
    /// # Errors
    /// For unknown columns, a predicate that does not fit, damaged metadata, files of different schemas, or busy shards.
    pub fn start(self, shards: &Arc<ShardSet>) -> Result<ScanStream, ShardError> {
        let (shared, decode_on) = self.resolve()?;
        ScanStream::start(shared, shards, decode_on)
    }

    /// Starts the scan on the shard that the caller's task runs on: it reads and decodes there, and nothing leaves the thread.
    ///
    /// # Errors
    /// As [`Scan::start`].
    pub fn start_on(self, shard: &std::rc::Rc<Shard>) -> Result<LocalScan, ShardError> {
        let (shared, _) = self.resolve()?;
        Ok(LocalScan::new(shared, shard))
    }
}

fn same_columns(a: &SchemaRef, b: &SchemaRef) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type().equals_datatype(b.data_type()))
}

/// What the workers of a scan share.
#[derive(Debug)]
struct ScanShared {
    files: Vec<(Arc<DataFile>, Arc<ScanPlan>)>,
    tasks: Vec<(usize, UnitTask)>,
    next: AtomicUsize,
    options: Options,
    schema: SchemaRef,
    counters: Arc<Counters>,
}
