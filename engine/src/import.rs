//! Files of other formats to one DeltaLite file.
//!
//! Each source is read and parsed by a thread of its own, some sources ahead of the one being written; batches are written in the
//! order of the sources, their columns encoded in parallel.
//!
//! ```
//! use deltalite::import::{ImportOptions, import};
//!
//! let folder = tempfile::tempdir()?;
//! let (csv, dlb) = (folder.path().join("t.csv"), folder.path().join("t.dlb"));
//! std::fs::write(&csv, "id,name\n1,Anna\n2,Ben\n")?;
//! let summary = import(&[csv], &dlb, &ImportOptions::default(), &mut |_| {})?;
//! assert_eq!(summary.rows, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalite_format::{FileWriter, WriteSummary, WriterOptions};
use deltalite_shard::write::{AtomicFile, WriteOptions};

use crate::convert::{FileFormat, Source, SourceOptions, open_source};
use crate::error::{EngineError, Result};

/// Batches that a source's thread has ready, at most, besides the one in its hands.
const BATCHES_AHEAD: usize = 2;

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// How sources are read.
    pub source: SourceOptions,
    /// How the file is written; its threads are also the number of sources that are read at a time.
    pub writer: WriterOptions,
}

/// How far an import is.
#[derive(Debug, Clone, Copy)]
pub struct ImportProgress {
    /// Bytes of the sources read so far.
    pub bytes_read: u64,
    /// Bytes of all sources, where known.
    pub bytes: Option<u64>,
    /// Rows written so far.
    pub rows: u64,
}

/// Writes the rows of `sources` (`-`: standard input), one after the other, to one file, which appears when it is whole.
/// `progress` is called after each batch.
///
/// Sources may differ in whether columns can be null, and text formats in the types inferred: the wider one is used.
///
/// # Errors
/// When a source can't be read, sources differ in their columns, or writing fails; nothing is left behind then.
pub fn import(
    sources: &[PathBuf],
    dest: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(ImportProgress),
) -> Result<WriteSummary> {
    let mut reading = Reading::new(sources, options)?;
    let schema = reading.schema.clone();
    let file = AtomicFile::create(dest, WriteOptions::default())?;
    let mut writer = FileWriter::new(file, &schema, options.writer.clone())?;
    while let Some((path, batch)) = reading.next()? {
        writer.write(&fit(&path, batch, &schema)?)?;
        progress(ImportProgress {
            bytes_read: reading.bytes_read(),
            bytes: reading.bytes,
            rows: writer.rows(),
        });
    }
    let (summary, file) = writer.finish_into()?;
    file.finish()?;
    Ok(summary)
}

/// Sources being read.
struct Reading {
    sources: std::vec::IntoIter<PathBuf>,
    options: SourceOptions,
    schema: SchemaRef,
    /// The first source, where it was opened for its schema.
    first: Option<Source>,
    running: std::collections::VecDeque<(PathBuf, Receiver<Result<RecordBatch>>)>,
    running_max: usize,
    positions: Vec<Arc<AtomicU64>>,
    bytes: Option<u64>,
}

impl Reading {
    fn new(sources: &[PathBuf], options: &ImportOptions) -> Result<Self> {
        let Some(path) = sources.first() else {
            return Err(EngineError::usage("sources", "there is none"));
        };
        let mut source_options = options.source.clone();
        let (first, schema) = if sources.len() == 1 {
            let source = open_source(path, &source_options)?;
            let schema = source.schema.clone();
            (Some(source), schema)
        } else {
            let schema = common_schema(sources, &source_options)?;
            let all_text = sources.iter().all(|p| is_text(p, &source_options));
            if all_text {
                source_options.schema = Some(schema.clone());
                source_options.types.clear();
            }
            (None, schema)
        };
        let bytes = sources
            .iter()
            .map(|p| std::fs::metadata(p).ok().filter(std::fs::Metadata::is_file).map(|m| m.len()))
            .sum();
        Ok(Self {
            sources: Vec::from(sources).into_iter(),
            options: source_options,
            schema,
            first,
            running: std::collections::VecDeque::new(),
            running_max: options.writer.threads.max(1),
            positions: Vec::new(),
            bytes,
        })
    }

    fn bytes_read(&self) -> u64 {
        self.positions.iter().map(|p| p.load(Ordering::Relaxed)).sum()
    }

    /// The next batch and the source it comes from.
    fn next(&mut self) -> Result<Option<(PathBuf, RecordBatch)>> {
        loop {
            while self.running.len() < self.running_max
                && let Some(path) = self.sources.next()
            {
                let source = match self.first.take() {
                    Some(source) => source,
                    None => open_source(&path, &self.options)?,
                };
                self.positions.push(source.position.clone());
                let (sender, batches) = sync_channel(BATCHES_AHEAD);
                std::thread::Builder::new()
                    .name("import".to_owned())
                    .spawn(move || {
                        for batch in source.batches {
                            let failed = batch.is_err();
                            if sender.send(batch).is_err() || failed {
                                return;
                            }
                        }
                    })
                    .map_err(EngineError::io(&path))?;
                self.running.push_back((path, batches));
            }
            let Some((path, batches)) = self.running.front() else { return Ok(None) };
            if let Ok(batch) = batches.recv() {
                return Ok(Some((path.clone(), batch?)));
            }
            self.running.pop_front();
        }
    }
}

fn is_text(path: &Path, options: &SourceOptions) -> bool {
    matches!(options.format.or_else(|| FileFormat::of(path)), Some(FileFormat::Csv | FileFormat::Ndjson))
}

/// The schema that holds the rows of all sources.
fn common_schema(sources: &[PathBuf], options: &SourceOptions) -> Result<SchemaRef> {
    if let Some(stdin) = sources.iter().find(|p| *p == Path::new("-")) {
        return Err(EngineError::usage(
            stdin.display().to_string(),
            "standard input can't be combined with other sources",
        ));
    }
    let mut common: Option<Vec<Field>> = None;
    for path in sources {
        let schema = open_source(path, options)?.schema;
        let Some(fields) = &mut common else {
            common = Some(schema.fields().iter().map(|f| f.as_ref().clone()).collect());
            continue;
        };
        let text = is_text(path, options);
        let mismatch = |detail: String| EngineError::SchemaMismatch {
            path: path.display().to_string(),
            first: sources[0].display().to_string(),
            detail,
        };
        for field in fields.iter_mut() {
            match schema.field_with_name(field.name()) {
                Ok(other) => widen(field, other, text).map_err(mismatch)?,
                Err(_) if text && FileFormat::of(path) == Some(FileFormat::Ndjson) => {
                    field.set_nullable(true);
                }
                Err(_) => return Err(mismatch(format!("it has no column {:?}", field.name()))),
            }
        }
        for field in schema.fields() {
            if fields.iter().all(|f| f.name() != field.name()) {
                if !text || FileFormat::of(path) != Some(FileFormat::Ndjson) {
                    return Err(mismatch(format!("it has a column {:?} more", field.name())));
                }
                fields.push(field.as_ref().clone().with_nullable(true));
            }
        }
    }
    Ok(Arc::new(Schema::new(common.unwrap_or_default())))
}

/// Makes a field hold the values of another too.
fn widen(field: &mut Field, other: &Field, text: bool) -> Result<(), String> {
    field.set_nullable(field.is_nullable() || other.is_nullable());
    let (a, b) = (field.data_type(), other.data_type());
    if a.equals_datatype(b) {
        return Ok(());
    }
    if !text {
        return Err(format!("column {:?} is {b} instead of {a}", field.name()));
    }
    let number = |t: &DataType| t.is_integer() || t.is_floating();
    field.set_data_type(match (a, b) {
        (DataType::Null, t) | (t, DataType::Null) => t.clone(),
        (a, b) if number(a) && number(b) => DataType::Float64,
        _ => DataType::Utf8,
    });
    Ok(())
}

/// The batch's columns in the order of the schema.
fn fit(path: &Path, batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let same =
        batch.schema_ref().fields().iter().map(|f| f.name()).eq(schema.fields().iter().map(|f| f.name()));
    if same {
        return Ok(batch);
    }
    let order: Option<Vec<usize>> =
        schema.fields().iter().map(|f| batch.schema_ref().index_of(f.name()).ok()).collect();
    let foreign = EngineError::foreign(&path.display().to_string());
    let order = order.ok_or_else(|| foreign("its batches have other columns than its schema".to_owned()))?;
    batch.project(&order).map_err(|e| foreign(e.to_string()))
}
