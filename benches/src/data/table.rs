//! A table to measure with, and how it is cached as a file.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use arrow_ipc::writer::FileWriter;

use crate::error::{BenchError, Result};
use crate::mapped::{IpcFile, map};
use crate::progress::Progress;

/// Rows in a batch of a cached table, and so of what writers are given.
pub const BATCH_ROWS: usize = 65_536;

/// A table: batches over a mapped Arrow IPC file.
#[derive(Debug, Clone)]
pub struct Table {
    /// Name in the report, for example `lineitem-sf1`.
    pub name: String,
    /// Where it is cached.
    pub path: PathBuf,
    /// Schema of all batches.
    pub schema: SchemaRef,
    /// All rows.
    pub batches: Vec<RecordBatch>,
    /// Number of rows.
    pub rows: u64,
    /// Size as Arrow, counting what the rows themselves occupy: values, validity, offsets or views and their bytes.
    pub arrow_bytes: u64,
}

impl Table {
    /// Opens a cached table.
    pub fn open(name: &str, path: &Path) -> Result<Self> {
        let file = IpcFile::open(map(path)?, path)?;
        let fail = |error: ArrowError| BenchError::Format {
            format: "arrow_ipc".into(),
            doing: format!("reading {}", path.display()),
            message: error.to_string(),
        };
        let decoder = file.decoder(None).map_err(fail)?;
        let batches = (0..file.batch_count())
            .map(|position| file.batch(&decoder, position))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(fail)?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_path_buf(),
            schema: file.schema().clone(),
            rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
            arrow_bytes: batches.iter().map(batch_bytes).sum(),
            batches,
        })
    }

    /// Opens the table cached under `file`, or makes it first from a stream of batches.
    ///
    /// `expected` is the number of rows for the progress bar. The file appears under its name only when it is whole.
    pub fn cached<I>(
        name: &str,
        path: &Path,
        expected: u64,
        schema: impl FnOnce() -> Result<SchemaRef>,
        batches: impl FnOnce() -> Result<I>,
    ) -> Result<Self>
    where
        I: Iterator<Item = std::result::Result<RecordBatch, ArrowError>>,
    {
        if !path.exists() {
            let progress = Progress::rows(&format!("generating {name}"), expected);
            let temporary = path.with_extension("partial");
            let schema = schema()?;
            let file = File::create(&temporary).map_err(BenchError::io("creating", &temporary))?;
            let fail = |error: ArrowError| BenchError::Format {
                format: "arrow_ipc".into(),
                doing: format!("writing {}", temporary.display()),
                message: error.to_string(),
            };
            let mut writer =
                FileWriter::try_new(BufWriter::with_capacity(1 << 20, file), &schema).map_err(fail)?;
            for batch in batches()? {
                let batch = batch.map_err(fail)?;
                writer.write(&batch).map_err(fail)?;
                progress.advance(batch.num_rows() as u64);
            }
            writer.finish().map_err(fail)?;
            std::fs::rename(&temporary, path).map_err(BenchError::io("renaming", &temporary))?;
            progress.finish();
        }
        Self::open(name, path)
    }

    /// The column of this name in every batch, with the batch's first row in the table.
    pub fn column(&self, name: &str) -> impl Iterator<Item = &ArrayRef> {
        self.batches.iter().filter_map(move |batch| batch.column_by_name(name))
    }
}

/// What the rows of a batch occupy in Arrow, in bytes.
pub fn batch_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(array_bytes).sum()
}

fn array_bytes(array: &ArrayRef) -> u64 {
    use arrow::array::cast::AsArray;
    // A slice of a view array refers to all data of its parent, so count the bytes its views point to.
    let views = |lengths: &mut dyn Iterator<Item = u32>| {
        let outside: u64 = lengths.map(|length| if length > 12 { u64::from(length) } else { 0 }).sum();
        outside + 16 * array.len() as u64 + array.nulls().map_or(0, |nulls| nulls.len().div_ceil(8) as u64)
    };
    match array.data_type() {
        DataType::Utf8View => views(&mut array.as_string_view().views().iter().map(|view| *view as u32)),
        DataType::BinaryView => views(&mut array.as_binary_view().views().iter().map(|view| *view as u32)),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()) as u64,
    }
}
