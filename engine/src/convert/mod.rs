//! Other formats, both ways: a [`Source`] yields batches, a [`Sink`] takes them.
//!
//! * `parquet`, `csv`, `ndjson`, `ipc` – one file each; `types` – type names as people write them;
//! * `output` – where a sink's bytes go: a file that appears whole, a pipe, standard output.

mod csv;
mod ipc;
mod ndjson;
mod output;
mod parquet;
mod types;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};

use crate::error::{EngineError, Result};

pub use output::Output;
pub(crate) use types::type_text;
pub use types::{parse_columns, parse_type};

/// Rows of a batch read from another format.
pub const SOURCE_BATCH_ROWS: usize = 65_536;

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// `.dlb`
    DeltaLite,
    /// `.parquet`
    Parquet,
    /// `.csv`, `.tsv`
    Csv,
    /// `.ndjson`, `.jsonl`, `.json`
    Ndjson,
    /// `.arrow`, `.feather`, `.ipc`: the file format; the stream format is recognised when reading.
    Arrow,
}

impl FileFormat {
    /// Names for messages and arguments.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("dlb", Self::DeltaLite),
        ("parquet", Self::Parquet),
        ("csv", Self::Csv),
        ("ndjson", Self::Ndjson),
        ("arrow", Self::Arrow),
    ];

    /// The format that a file's name ends in.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Self::NAMES.into_iter().map(|(_, format)| format).find(|f| f.endings().contains(&ending.as_str()))
    }

    /// Endings of its files' names, without the dot.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::DeltaLite => &["dlb"],
            Self::Parquet => &["parquet", "pq"],
            Self::Csv => &["csv", "tsv"],
            Self::Ndjson => &["ndjson", "jsonl", "json"],
            Self::Arrow => &["arrow", "feather", "ipc", "arrows"],
        }
    }

    fn sniff(head: &[u8]) -> Self {
        let text = head.iter().find(|b| !b.is_ascii_whitespace());
        if head.starts_with(b"PAR1") {
            Self::Parquet
        } else if head.starts_with(b"DLTALITE") {
            Self::DeltaLite
        } else if head.starts_with(b"ARROW1") || head.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
            Self::Arrow
        } else if text == Some(&b'{') {
            Self::Ndjson
        } else {
            Self::Csv
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, format)| format == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}

/// How a source is read.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The format; without, by the name's ending or the first bytes.
    pub format: Option<FileFormat>,
    /// The whole schema of CSV and NDJSON; without, it is inferred.
    pub schema: Option<SchemaRef>,
    /// Types of single columns instead of inferred ones (CSV and NDJSON).
    pub types: Vec<(String, DataType)>,
    /// Whether the first line of CSV has the names. Default true.
    pub header: bool,
    /// What separates CSV's fields; without, a tab for `.tsv`, a comma otherwise.
    pub delimiter: Option<u8>,
    /// Rows that inference looks at (of at most 64 MiB); 0: all of them. Default 100,000.
    pub infer_rows: usize,
    /// Whether columns (CSV) and keys (NDJSON) that `schema` does not name are left out, instead of being an error.
    pub ignore_unknown: bool,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            format: None,
            schema: None,
            types: Vec::new(),
            header: true,
            delimiter: None,
            infer_rows: 100_000,
            ignore_unknown: false,
        }
    }
}

/// Batches of a file of another format.
pub struct Source {
    /// The batches' schema.
    pub schema: SchemaRef,
    /// The batches.
    pub batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send>,
    /// Bytes of the file consumed so far, for progress.
    pub position: Arc<AtomicU64>,
    /// Bytes of the file, where known.
    pub bytes: Option<u64>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Counts what is read through it.
struct Counting<R> {
    inner: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.position.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl<R: Seek> Seek for Counting<R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}

type Input = Box<dyn BufRead + Send>;

/// The error of a source whose columns can't be inferred, for want of anything to infer them from.
fn nothing_to_infer(name: &str) -> EngineError {
    EngineError::foreign(name)(
        "it is empty, so it tells no columns; give --schema if it may be empty".to_owned(),
    )
}

/// Opens a source: a path, or `-` for standard input.
///
/// # Errors
/// When it can't be opened or read, or is not what its name says.
pub fn open_source(path: &Path, options: &SourceOptions) -> Result<Source> {
    let name = path.display().to_string();
    let position = Arc::new(AtomicU64::new(0));
    if path == Path::new("-") {
        let mut input = BufReader::with_capacity(
            1 << 20,
            Counting { inner: std::io::stdin(), position: position.clone() },
        );
        let head = input.fill_buf().map_err(EngineError::io(path))?;
        let format = options.format.unwrap_or_else(|| FileFormat::sniff(head));
        return open_stream(&name, format, Box::new(input), options, position, None);
    }
    let file = File::open(path).map_err(EngineError::io(path))?;
    let bytes = file.metadata().map_err(EngineError::io(path))?.len();
    let format = if let Some(format) = options.format.or_else(|| FileFormat::of(path)) {
        format
    } else {
        let mut head = [0; 16];
        let n = (&file).read(&mut head).map_err(EngineError::io(path))?;
        FileFormat::sniff(&head[..n])
    };
    let file = File::open(path).map_err(EngineError::io(path))?;
    match format {
        FileFormat::Parquet => parquet::open(&name, file, position, bytes),
        FileFormat::DeltaLite => {
            Err(EngineError::usage(name, "it is a DeltaLite file already; copy it, or `export` it"))
        }
        other => {
            let mut options = options.clone();
            if options.delimiter.is_none() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv"))
            {
                options.delimiter = Some(b'\t');
            }
            let mut input =
                BufReader::with_capacity(1 << 20, Counting { inner: file, position: position.clone() });
            if other == FileFormat::Arrow && ipc::is_file(input.fill_buf().map_err(EngineError::io(path))?) {
                return ipc::open_file(&name, input, position, Some(bytes));
            }
            open_stream(&name, other, Box::new(input), &options, position, Some(bytes))
        }
    }
}

fn open_stream(
    name: &str,
    format: FileFormat,
    mut input: Input,
    options: &SourceOptions,
    position: Arc<AtomicU64>,
    bytes: Option<u64>,
) -> Result<Source> {
    match format {
        FileFormat::Csv => csv::open(name, input, options, position, bytes),
        FileFormat::Ndjson => ndjson::open(name, input, options, position, bytes),
        FileFormat::Arrow => ipc::open(name, input, position, bytes),
        FileFormat::Parquet => {
            // Parquet is read from its end, so a stream has to be held first.
            let mut all = Vec::new();
            input.read_to_end(&mut all).map_err(EngineError::io(name))?;
            let bytes = all.len() as u64;
            parquet::open(name, bytes::Bytes::from(all), position, bytes)
        }
        FileFormat::DeltaLite => {
            Err(EngineError::usage(name, "a DeltaLite file can't be read from a stream; give its path"))
        }
    }
}

/// Takes batches into a file of another format.
pub trait Sink {
    /// Adds a batch.
    ///
    /// # Errors
    /// When the format can't hold it or writing fails.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Ends the file.
    ///
    /// # Errors
    /// When writing fails.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A sink of a format over any writer; `name` stands in errors.
///
/// # Errors
/// When the format can't hold the schema.
pub fn open_sink<'w>(
    name: &str,
    format: FileFormat,
    schema: &Schema,
    out: Box<dyn Write + Send + 'w>,
) -> Result<Box<dyn Sink + 'w>> {
    match format {
        FileFormat::Parquet => parquet::sink(name, schema, out),
        FileFormat::Csv => csv::sink(name, schema, out),
        FileFormat::Ndjson => Ok(ndjson::sink(name, out)),
        FileFormat::Arrow => ipc::sink(name, schema, out),
        FileFormat::DeltaLite => Err(EngineError::usage(name, "use `import` to write DeltaLite files")),
    }
}

/// Files that arguments name: files as they are, folders' files of a known format, globs' matches; each ascending.
///
/// # Errors
/// When an argument names nothing.
pub fn expand(arguments: &[PathBuf], formats: &[FileFormat]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for argument in arguments {
        let before = files.len();
        let known = |p: &Path| FileFormat::of(p).is_some_and(|f| formats.contains(&f));
        if argument == Path::new("-") || argument.is_file() {
            files.push(argument.clone());
            continue;
        }
        if argument.is_dir() {
            let pattern = format!("{}/**/*", glob::Pattern::escape(&argument.to_string_lossy()));
            push_matches(&pattern, &|p| p.is_file() && known(p), &mut files)?;
        } else if argument.exists() {
            // A device or a pipe: read it as a stream.
            files.push(argument.clone());
        } else {
            push_matches(&argument.to_string_lossy(), &|p: &Path| p.is_file(), &mut files)?;
        }
        if files.len() == before {
            let why = if argument.is_dir() {
                let endings: Vec<&str> = formats.iter().flat_map(|f| f.endings()).copied().collect();
                format!("no file in this folder ends in .{}", endings.join(", ."))
            } else if argument.to_string_lossy().contains(['*', '?', '[']) {
                "no file matches this pattern".to_owned()
            } else {
                "no such file".to_owned()
            };
            return Err(EngineError::Io {
                path: argument.clone(),
                source: std::io::Error::new(std::io::ErrorKind::NotFound, why),
            });
        }
        files[before..].sort();
    }
    Ok(files)
}

fn push_matches(pattern: &str, keep: &dyn Fn(&Path) -> bool, files: &mut Vec<PathBuf>) -> Result<()> {
    let matches = glob::glob(pattern).map_err(|e| EngineError::usage(pattern, e.to_string()))?;
    for path in matches {
        let path = path.map_err(|e| EngineError::Io { path: e.path().to_owned(), source: e.into() })?;
        if keep(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// The batch with the types of a schema of the same columns.
///
/// # Errors
/// When a value can't be of the type.
pub fn cast_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let arrow = |e: arrow_schema::ArrowError| EngineError::from(deltalite_format::FormatError::from(e));
    let options = arrow_cast::CastOptions { safe: false, ..arrow_cast::CastOptions::default() };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        arrow_cast::cast_with_options(column, field.data_type(), &options).map_err(arrow)
    });
    let rows = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &rows).map_err(arrow)
}

/// The schema of a scan of `file` with the types that were written, where they can be had: scans give strings as views, and dictionaries
/// as their values, which not every reader of other formats knows.
///
/// # Errors
/// When the file's schema is damaged.
pub fn written_schema(file: &deltalite_format::FileMeta, scanned: &SchemaRef) -> Result<SchemaRef> {
    let written = file.schema()?.arrow();
    let field = |field: &arrow_schema::FieldRef| match written.field_with_name(field.name()) {
        Ok(w) if arrow_cast::can_cast_types(field.data_type(), w.data_type()) => {
            Arc::new(field.as_ref().clone().with_data_type(w.data_type().clone()))
        }
        _ => field.clone(),
    };
    let fields: arrow_schema::Fields = scanned.fields().iter().map(field).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, scanned.metadata().clone())))
}
