//! Copying what is intact of a damaged file.

use std::path::Path;
use std::sync::Arc;

use deltalite_format::{FileWriter, WriteSummary, WriterOptions};
use deltalite_shard::executor::ShardSet;
use deltalite_shard::scan::{DataFile, Scan, SkippedRows, Verify};
use deltalite_shard::write::{AtomicFile, WriteOptions};

use crate::convert::{cast_batch, written_schema};
use crate::error::{EngineError, Result};

/// What was salvaged.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// What was written.
    pub written: WriteSummary,
    /// Rows of the source as far as it still tells: of its footer, or of the complete blocks found without it.
    pub source_rows: u64,
    /// Whether the footer was usable. Without, rows in blocks that were cut off are not counted anywhere.
    pub footer: bool,
    /// Rows left out because a page of theirs is damaged.
    pub skipped: Vec<SkippedRows>,
}

/// Copies every row whose pages are all intact to a new file. `progress` is called with the rows written so far and the source's.
///
/// # Errors
/// When neither the footer nor the header tells the schema, no block is left, or reading or writing fails; nothing is left behind then.
pub fn salvage(
    source: &Path,
    dest: &Path,
    options: WriterOptions,
    shards: &Arc<ShardSet>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Salvaged> {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(source, dest) {
        return Err(EngineError::usage(
            dest.display().to_string(),
            "the copy must not replace the damaged file",
        ));
    }
    let opened = DataFile::open(source);
    let footer = opened.is_ok();
    let file = match opened {
        Ok(file) => file,
        // What the footer's absence says is more to the point than what the search for blocks does.
        Err(first) => DataFile::open_salvaged(source).map_err(|_| first)?,
    };
    let (source_rows, key_values) = (file.meta().rows(), file.meta().key_values().unwrap_or_default());
    if !footer && source_rows == 0 {
        return Err(EngineError::foreign(&source.display().to_string())(
            "no complete block is left, so there is no row to salvage; restore the file from a copy"
                .to_owned(),
        ));
    }
    let mut scan = Scan::of(file.clone()).verify(Verify::Skip).start(shards)?;
    let schema = written_schema(file.meta(), scan.schema())?;
    let out = AtomicFile::create(dest, WriteOptions::default())?;
    let key_values = if options.key_values.is_empty() { key_values } else { options.key_values.clone() };
    let mut writer = FileWriter::new(out, &schema, WriterOptions { key_values, ..options })?;
    for batch in scan.by_ref() {
        writer.write(&cast_batch(&batch?, &schema)?)?;
        progress(writer.rows(), source_rows);
    }
    let (written, out) = writer.finish_into()?;
    out.finish()?;
    Ok(Salvaged { written, source_rows, footer, skipped: scan.metrics().skipped })
}
