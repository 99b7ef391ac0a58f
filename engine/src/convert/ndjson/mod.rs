//! NDJSON: one JSON object a line. Read through `simd-json`'s tape, written through `arrow-json`.
//!
//! * `infer` – a schema from rows; `columns` – tapes to Arrow arrays.

mod columns;
mod infer;

use std::io::{BufRead, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_json::WriterBuilder;
use arrow_json::writer::{LineDelimited, Writer};
use arrow_schema::SchemaRef;
use simd_json::{Buffers, Node};

use super::types::override_types;
use super::{Input, SOURCE_BATCH_ROWS, Sink, Source, SourceOptions, nothing_to_infer};
use crate::error::{EngineError, Result};
use columns::Object;
use infer::Inferred;

/// Bytes at the start that inference looks at, at most, unless it is to look at all rows.
const INFER_BYTES: usize = 64 << 20;
/// Bytes of lines that become one batch, at most (and one line): rows can be long.
const BATCH_BYTES: usize = 32 << 20;

/// The node after the value at `at`, which may have children.
fn after(nodes: &[Node<'_>], at: usize) -> usize {
    match nodes[at] {
        Node::Object { count, .. } | Node::Array { count, .. } => at + 1 + count,
        _ => at + 1,
    }
}

/// Reads lines and parses each to a tape.
struct Lines {
    name: String,
    input: Box<dyn BufRead + Send>,
    buffers: Buffers,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    fn new(name: &str, input: Box<dyn BufRead + Send>) -> Self {
        Self { name: name.to_owned(), input, buffers: Buffers::default(), line: Vec::new(), number: 0 }
    }

    fn error(&self, detail: impl Into<String>) -> EngineError {
        EngineError::Row { path: self.name.clone(), line: self.number, detail: detail.into() }
    }

    /// Gives the next line's tape to `take`, with the line's number; `None` at the end. Blank lines are skipped.
    fn next<R>(
        &mut self,
        take: impl FnOnce(u64, &[Node<'_>]) -> Result<R, String>,
    ) -> Result<Option<(R, usize)>> {
        loop {
            self.line.clear();
            let n = self.input.read_until(b'\n', &mut self.line).map_err(EngineError::io(&self.name))?;
            if n == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let bytes = self.line.len();
        let parsed = simd_json::to_tape_with_buffers(&mut self.line, &mut self.buffers)
            .map_err(|e| format!("not JSON: {e}"))
            .and_then(|tape| {
                if matches!(tape.0.first(), Some(Node::Object { .. })) {
                    take(self.number, &tape.0)
                } else {
                    Err("it is no JSON object; each line of NDJSON is one".to_owned())
                }
            });
        parsed.map(|r| Some((r, bytes))).map_err(|detail| self.error(detail))
    }
}

pub(super) fn open(
    name: &str,
    mut input: Input,
    options: &SourceOptions,
    position: Arc<AtomicU64>,
    bytes: Option<u64>,
) -> Result<Source> {
    let mut head = Vec::new();
    let schema = if let Some(schema) = &options.schema {
        schema.clone()
    } else {
        let mut lines = 0;
        while options.infer_rows == 0 || (lines < options.infer_rows && head.len() < INFER_BYTES) {
            if input.read_until(b'\n', &mut head).map_err(EngineError::io(name))? == 0 {
                break;
            }
            lines += 1;
        }
        if head.trim_ascii().is_empty() {
            return Err(nothing_to_infer(name));
        }
        let mut lines = Lines::new(name, Box::new(Cursor::new(head.clone())));
        let mut inferred = Inferred::default();
        while lines
            .next(|_, nodes| {
                inferred.see(nodes, 0);
                Ok(())
            })?
            .is_some()
        {}
        inferred.into_schema()
    };
    let schema = override_types(&schema, &options.types)?;
    let rows = Rows {
        lines: Lines::new(name, Box::new(Cursor::new(head).chain(input))),
        object: Object::new(schema.fields(), options.ignore_unknown),
        schema: schema.clone(),
        done: false,
    };
    Ok(Source { schema, batches: Box::new(rows), position, bytes })
}

/// Batches of an NDJSON stream.
struct Rows {
    lines: Lines,
    object: Object,
    schema: SchemaRef,
    done: bool,
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        let (mut rows, mut bytes) = (0, 0);
        while rows < SOURCE_BATCH_ROWS && bytes < BATCH_BYTES {
            let object = &mut self.object;
            match self.lines.next(|line, nodes| object.push(line, nodes, 0))? {
                Some(((), n)) => {
                    rows += 1;
                    bytes += n;
                }
                None => break,
            }
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = self.object.finish().map_err(|(line, detail)| EngineError::Row {
            path: self.lines.name.clone(),
            line,
            detail,
        })?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map(Some)
            .map_err(|e| EngineError::foreign(&self.lines.name)(e.to_string()))
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let batch = self.batch().transpose();
        self.done = !matches!(batch, Some(Ok(_)));
        batch
    }
}

struct NdjsonSink<'w> {
    name: String,
    writer: Writer<Box<dyn Write + Send + 'w>, LineDelimited>,
}

pub(super) fn sink<'w>(name: &str, out: Box<dyn Write + Send + 'w>) -> Box<dyn Sink + 'w> {
    // With nulls, every line names every column, in order: what reads it finds the columns there were.
    let writer = WriterBuilder::new().with_explicit_nulls(true).build(out);
    Box::new(NdjsonSink { name: name.to_owned(), writer })
}

impl Sink for NdjsonSink<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| EngineError::foreign(&self.name)(e.to_string()))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.finish().map_err(|e| EngineError::foreign(&self.name)(e.to_string()))?;
        self.writer.into_inner().flush().map_err(EngineError::io(self.name))
    }
}
