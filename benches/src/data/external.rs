//! Parquet files given by path, read once by arrow-rs and cached like the generated tables.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::table::{BATCH_ROWS, Table};
use crate::error::{BenchError, Result};

/// The table of a Parquet file, or the tables of all Parquet files in a folder, by name.
pub fn tables(path: &Path, folder: &Path) -> Result<Vec<Table>> {
    if !path.is_dir() {
        return Ok(vec![table(path, folder)?]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(BenchError::io("listing", path))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(BenchError::Usage(format!("{} holds no .parquet file", path.display())));
    }
    files.iter().map(|file| table(file, folder)).collect()
}

fn table(path: &Path, folder: &Path) -> Result<Table> {
    let stem = path.file_stem().map_or_else(|| "table".into(), |stem| stem.to_string_lossy());
    let file = File::open(path).map_err(BenchError::io("opening", path))?;
    let found = file.metadata().map_err(BenchError::io("reading the size of", path))?;
    // The identity of the file is part of the cache's name: another file at this path is another table.
    let cached =
        folder.join(format!("{stem}-{:x}-{:x}-{:x}.arrow", found.ino(), found.size(), found.mtime()));
    let doing = || format!("reading {}", path.display());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(BenchError::format("parquet", doing()))?
        .with_batch_size(BATCH_ROWS);
    let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
    let schema = builder.schema().clone();
    Table::cached(
        &stem,
        &cached,
        rows,
        || Ok(schema),
        || builder.build().map_err(BenchError::format("parquet", doing())),
    )
}
