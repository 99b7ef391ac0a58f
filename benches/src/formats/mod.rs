//! The formats that are compared, behind one trait.
//!
//! - [`deltalite`]: ours, its default and compact profiles;
//! - [`mod@parquet`]: arrow-rs' Parquet as four baselines, from its defaults to tuned;
//! - [`ipc`], [`ndjson`]: simple formats, the ends of the scale;
//! - `vortex` (feature `peers`): Vortex' default and compact writers.
//!
//! Every adapter uses its library the way that library's documentation says is fast. What is timed is the same for all:
//! a stream of Arrow batches from an opened file, consumed by the same sink.

pub mod deltalite;
pub mod ipc;
pub mod ndjson;
pub mod parquet;
#[cfg(feature = "peers")]
pub mod vortex;

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use deltalite::{DeltaLite, Engine};
use deltalite_format::Profile;

use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::predicate::Predicate;

/// What a consumer does with a batch; called from any thread that decodes.
pub type Sink<'a> = dyn Fn(RecordBatch) -> Result<()> + Sync + 'a;

/// Where the bytes of an opened file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residence {
    /// In the process' memory before the clock starts: the warm state. Each format as it likes best: Parquet, Vortex
    /// and IPC over one buffer, DeltaLite in its page cache of verified pages.
    Memory,
    /// In the file system only, read as the format reads files.
    Disk,
}

/// What to read from a file.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Names of the columns wanted, or all.
    pub columns: Option<Vec<String>>,
    /// Only rows for which this holds; its columns are returned only if asked for.
    pub predicate: Option<Predicate>,
    /// Only these rows: positions in the file, ascending, each once. Never together with a predicate.
    pub rows: Option<Vec<u64>>,
}

impl Request {
    /// All columns of all rows.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Some columns of all rows.
    pub fn project(columns: &[String]) -> Self {
        Self { columns: Some(columns.to_vec()), ..Self::default() }
    }

    /// Positions in `schema` of the columns wanted, in the order of the schema.
    pub fn positions(&self, schema: &Schema) -> Result<Vec<usize>> {
        let Some(names) = &self.columns else { return Ok((0..schema.fields().len()).collect()) };
        let mut positions = names
            .iter()
            .map(|name| {
                schema
                    .index_of(name)
                    .map_err(|_| BenchError::Usage(format!("the table has no column {name}")))
            })
            .collect::<Result<Vec<_>>>()?;
        positions.sort_unstable();
        Ok(positions)
    }

    /// Whether the predicate reads columns beside those wanted.
    pub fn columns_with_predicate(&self) -> Option<Vec<String>> {
        let mut names = self.columns.clone()?;
        for column in self.predicate.iter().flat_map(Predicate::columns) {
            if !names.iter().any(|name| name == column) {
                names.push(column.to_owned());
            }
        }
        Some(names)
    }
}

/// How to write a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriteOptions {
    /// Rows of a block (row group), where the format has such a thing; none leaves the format's default.
    pub block_rows: Option<usize>,
}

/// A file format under test. One instance lives on one set of cores (see [`crate::cpu`]) and keeps its threads there.
pub trait Format {
    /// Name in the report, for example `parquet_zstd`.
    fn name(&self) -> &'static str;

    /// Ending of its files, without the dot; unique among formats.
    fn extension(&self) -> &'static str;

    /// The library and its version.
    fn version(&self) -> String;

    /// Writes a table as one file; complete on return, as far as the format itself goes (no fsync).
    fn write(&self, table: &Table, path: &Path, options: WriteOptions) -> Result<()>;

    /// Opens a file and reads its metadata, as far as needed to know its schema and to plan any scan.
    fn open(&self, path: &Path, residence: Residence) -> Result<Box<dyn OpenedFile>>;

    /// Forgets what the format itself keeps in memory of any file, for cold runs.
    fn drop_caches(&self) -> Result<()> {
        Ok(())
    }
}

/// An opened file: metadata parsed, ready to scan any number of times.
pub trait OpenedFile {
    /// Schema of what [`OpenedFile::scan`] gives when all columns are wanted.
    fn schema(&self) -> SchemaRef;

    /// Reads what the request asks for and hands it to the sink, batch by batch, in any order unless rows are asked for.
    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()>;
}

/// The format that others are compared with unless told otherwise.
pub const SUBJECT: &str = "deltalite";

/// All formats of this build, on one set of cores.
pub struct Formats {
    /// The shards that DeltaLite's profiles share.
    pub engine: Arc<Engine>,
    list: Vec<Box<dyn Format>>,
}

impl Formats {
    /// Formats that use this many cores, of those that the calling thread may use. Cheap: threads start when needed.
    pub fn on(cores: usize) -> Self {
        let engine = Engine::new(cores);
        let mut list: Vec<Box<dyn Format>> = Vec::new();
        for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
            list.push(Box::new(DeltaLite::new(profile, &engine)));
        }
        for flavour in parquet::Flavour::ALL {
            list.push(Box::new(parquet::Parquet::new(flavour, cores)));
        }
        list.push(Box::new(ipc::Ipc));
        list.push(Box::new(ndjson::NdJson));
        #[cfg(feature = "peers")]
        {
            list.push(Box::new(vortex::Vortex::new(vortex::Profile::Default, cores)));
            list.push(Box::new(vortex::Vortex::new(vortex::Profile::Compact, cores)));
        }
        Self { engine, list }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Format> {
        self.list.iter().map(AsRef::as_ref)
    }

    /// The format of this name.
    pub fn named(&self, name: &str) -> Result<&dyn Format> {
        self.iter().find(|format| format.name() == name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(Format::name).collect();
            BenchError::Usage(format!(
                "there is no format {name} in this build; there are {}",
                known.join(", ")
            ))
        })
    }
}

/// Runs the same work on this many threads, this one among them, and returns the first error.
fn in_parallel<E: Send>(
    cores: usize,
    work: impl Fn() -> std::result::Result<(), E> + Sync,
) -> std::result::Result<(), E> {
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores).map(|_| scope.spawn(&work)).collect();
        let own = work();
        helpers.into_iter().fold(own, |result, helper| match helper.join() {
            Ok(theirs) => result.and(theirs),
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}
