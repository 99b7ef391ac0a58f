//! CSV, through `arrow-csv`.

use std::io::{BufRead, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow_array::RecordBatch;
use arrow_csv::reader::{Format, ReaderBuilder};
use arrow_csv::writer::{Writer, WriterBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::types::{nearest, override_types, type_text};
use super::{Input, SOURCE_BATCH_ROWS, Sink, Source, SourceOptions, nothing_to_infer};
use crate::error::{EngineError, Result};

/// Bytes at the start that inference looks at, at most, unless it is to look at all rows.
const INFER_BYTES: u64 = 64 << 20;

pub(super) fn open(
    name: &str,
    mut input: Input,
    options: &SourceOptions,
    position: Arc<AtomicU64>,
    bytes: Option<u64>,
) -> Result<Source> {
    let format =
        Format::default().with_header(options.header).with_delimiter(options.delimiter.unwrap_or(b','));
    let infer = |head: &[u8], rows: usize| match format.infer_schema(head, Some(rows)) {
        Ok((schema, _)) => Ok(schema),
        Err(e) => Err(misfit(name, &e.to_string())),
    };
    let mut head = Vec::new();
    let (layout, projection) = if let Some(wanted) = &options.schema {
        if options.header {
            // Columns are found by name: the file may have them in another order, or more of them.
            input.read_until(b'\n', &mut head).map_err(EngineError::io(name))?;
            by_name(name, &infer(&head, 0)?, wanted, options.ignore_unknown)?
        } else {
            (wanted.clone(), None)
        }
    } else {
        let (limit, rows) =
            if options.infer_rows == 0 { (u64::MAX, usize::MAX) } else { (INFER_BYTES, options.infer_rows) };
        input.by_ref().take(limit).read_to_end(&mut head).map_err(EngineError::io(name))?;
        if head.trim_ascii().is_empty() {
            return Err(nothing_to_infer(name));
        }
        // A line cut off by the limit must not be looked at.
        let whole = if head.len() as u64 == limit {
            head.iter().rposition(|&b| b == b'\n').map_or(head.len(), |i| i + 1)
        } else {
            head.len()
        };
        (Arc::new(infer(&head[..whole], rows)?), None)
    };
    let layout = override_types(&layout, &options.types)?;
    let mut builder =
        ReaderBuilder::new(layout).with_format(format.clone()).with_batch_size(SOURCE_BATCH_ROWS);
    if let Some(projection) = projection {
        builder = builder.with_projection(projection);
    }
    let reader = builder
        .build_buffered(std::io::BufReader::with_capacity(1 << 20, Cursor::new(head).chain(input)))
        .map_err(|e| misfit(name, &e.to_string()))?;
    let schema = reader.schema();
    let name = name.to_owned();
    let batches = reader.map(move |b| b.map_err(|e| misfit(&name, &e.to_string())));
    Ok(Source { schema, batches: Box::new(batches), position, bytes })
}

/// The file's columns with the types wanted, and which of them make the schema wanted.
fn by_name(
    name: &str,
    header: &Schema,
    wanted: &SchemaRef,
    ignore_unknown: bool,
) -> Result<(SchemaRef, Option<Vec<usize>>)> {
    if let Some(missing) = wanted.fields().iter().find(|f| header.index_of(f.name()).is_err()) {
        let hint = nearest(missing.name(), header.fields().iter().map(|f| f.name().as_str()));
        return Err(EngineError::usage(
            format!("column {:?}", missing.name()),
            format!("{name} has no such column{hint}"),
        ));
    }
    let unknown = header.fields().iter().find(|f| wanted.index_of(f.name()).is_err());
    if let Some(unknown) = unknown.filter(|_| !ignore_unknown) {
        return Err(EngineError::usage(
            format!("column {:?}", unknown.name()),
            format!("{name} has it, the other sources have not; give --schema to choose columns"),
        ));
    }
    let fields: Vec<Field> = header
        .fields()
        .iter()
        .map(|f| {
            wanted
                .field_with_name(f.name())
                .cloned()
                .unwrap_or_else(|_| Field::new(f.name(), DataType::Utf8, true))
        })
        .collect();
    let projection = wanted.fields().iter().filter_map(|f| header.index_of(f.name()).ok()).collect();
    Ok((Arc::new(Schema::new(fields)), Some(projection)))
}

/// The reader's error as one of a line, where it says which.
fn misfit(name: &str, detail: &str) -> EngineError {
    let line = detail.split("line ").nth(1).and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    // What follows is the whole row, which may be very long.
    let short = detail.split(". Row data").next().unwrap_or(detail);
    let short = short.trim_start_matches("Parser error: ").trim_start_matches("Csv error: ");
    let short = unequal(short).unwrap_or_else(|| short.to_owned());
    match line {
        Some(line) => EngineError::Row { path: name.to_owned(), line, detail: short },
        None => EngineError::foreign(name)(short),
    }
}

/// The reader's error about a line with too few or too many fields, in terms of the file.
fn unequal(detail: &str) -> Option<String> {
    let (expected, found) = detail.split_once("Expected ")?.1.split_once(" records, found ")?;
    let found = found.split_once(" records")?.0;
    Some(format!(
        "the line has {found} fields, the first line {expected}; quote fields that contain the delimiter, or check --delimiter"
    ))
}

struct CsvSink<'w> {
    name: String,
    writer: Writer<Box<dyn Write + Send + 'w>>,
}

pub(super) fn sink<'w>(
    name: &str,
    schema: &Schema,
    out: Box<dyn Write + Send + 'w>,
) -> Result<Box<dyn Sink + 'w>> {
    if let Some(field) = schema.fields().iter().find(|f| f.data_type().is_nested()) {
        return Err(EngineError::usage(
            format!("column {:?}", field.name()),
            format!(
                "CSV can't hold {}; choose --columns, or write ndjson, parquet or arrow",
                type_text(field.data_type())
            ),
        ));
    }
    let mut sink =
        CsvSink { name: name.to_owned(), writer: WriterBuilder::new().with_header(true).build(out) };
    // The names come with the first batch: rows or not, they are written.
    sink.write(&RecordBatch::new_empty(Arc::new(schema.clone())))?;
    Ok(Box::new(sink))
}

impl Sink for CsvSink<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| EngineError::foreign(&self.name)(e.to_string()))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let name = self.name;
        self.writer.into_inner().flush().map_err(EngineError::io(name))
    }
}
