//! Which files, columns and rows: what `scan` and `export` share.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use deltalite::convert::{FileFormat, expand};
use deltalite::where_clause::parse_where;
use deltalite::{DataFile, EngineError, Result, Scan, ScanStream, ShardSet, Verify};

#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Columns, in this order. Without: all.
    #[arg(long, short, value_name = "COLUMN,…", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Only rows for which a SQL condition is true: comparisons, BETWEEN, IN, LIKE, IS NULL, AND, OR, NOT. With @FILE, the file has the
    /// condition.
    #[arg(long = "where", short = 'w', value_name = "CONDITION")]
    condition: Option<String>,
    /// At most so many rows.
    #[arg(long, short = 'n', value_name = "N", allow_negative_numbers = true)]
    pub(super) limit: Option<u64>,
    /// Rows may come in any order, which is faster on several cores.
    #[arg(long)]
    unordered: bool,
    /// Leave out rows whose pages are damaged, and say which, instead of failing.
    #[arg(long)]
    skip_damaged: bool,
    /// Shards that read and decode. Without: one a core.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
}

/// Opens all files that arguments name.
pub(super) fn open_files(arguments: &[PathBuf]) -> Result<Vec<Arc<DataFile>>> {
    expand(arguments, &[FileFormat::DeltaLite])?.into_iter().map(deltalite::open).collect()
}

/// Shards with arenas no larger than what there is to read.
pub(super) fn shards(count: u32, bytes: u64) -> Result<Arc<ShardSet>> {
    const ARENA_BYTES_MIN: u64 = 16 << 20;
    let mut options = deltalite::tuning::shard_options(count)?;
    let bytes = (2 * bytes).clamp(ARENA_BYTES_MIN, options.arena_bytes as u64).next_power_of_two() as usize;
    if bytes < options.arena_bytes {
        options = options.arena(bytes);
    }
    Ok(Arc::new(ShardSet::start(options)?))
}

impl Selection {
    /// The columns wanted, if not all.
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Whether rows may come in any order.
    pub(super) fn unordered(&self) -> bool {
        self.unordered
    }

    /// The condition, read from its file where it is in one.
    pub(super) fn condition_text(&self) -> Result<Option<Cow<'_, str>>> {
        let Some(text) = &self.condition else { return Ok(None) };
        Ok(Some(match text.strip_prefix('@') {
            Some(path) => Cow::Owned(std::fs::read_to_string(path).map_err(EngineError::io(path))?),
            None => Cow::Borrowed(text.as_str()),
        }))
    }

    /// Whether it asks for what only files here can do.
    pub(super) fn is_local(&self) -> bool {
        self.skip_damaged || self.threads.is_some()
    }

    /// Starts the scan of what is selected, of at most `limit` rows.
    pub(super) fn start(&self, files: Vec<Arc<DataFile>>, limit: Option<u64>) -> Result<ScanStream> {
        let bytes = files.iter().map(|f| f.meta().file_len()).sum();
        let condition = match (self.condition_text()?, files.first()) {
            (Some(text), Some(file)) => Some(parse_where(&text, file.meta().schema()?.arrow())?),
            _ => None,
        };
        let mut scan = Scan::over(files).ordered(!self.unordered);
        if let Some(columns) = &self.columns {
            scan = scan.columns(columns);
        }
        if let Some(condition) = condition {
            scan = scan.filter(condition);
        }
        if let Some(limit) = limit {
            scan = scan.limit(limit);
        }
        if self.skip_damaged {
            scan = scan.verify(Verify::Skip);
        }
        Ok(scan.start(&shards(self.threads.unwrap_or(0), bytes)?)?)
    }
}

/// Says which rows a scan left out.
pub(super) fn report_skipped(scan: &ScanStream) -> bool {
    let skipped = scan.metrics().skipped;
    for rows in &skipped {
        eprintln!(
            "warning: {}: rows {}–{} are left out: {}",
            rows.file,
            rows.first_row,
            rows.first_row + rows.rows - 1,
            rows.reason
        );
    }
    !skipped.is_empty()
}
