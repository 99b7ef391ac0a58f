//! Arrow IPC, file and stream, through `arrow-ipc`.

use std::io::{Cursor, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};

use super::{Input, Sink, Source};
use crate::error::{EngineError, Result};

/// Whether bytes are the start of an IPC file, which is read from its end, and not of a stream.
pub(super) fn is_file(head: &[u8]) -> bool {
    head.starts_with(b"ARROW1")
}

pub(super) fn open(
    name: &str,
    mut input: Input,
    position: Arc<AtomicU64>,
    bytes: Option<u64>,
) -> Result<Source> {
    if is_file(input.fill_buf().map_err(EngineError::io(name))?) {
        // What can't be sought in has to be held.
        let mut all = Vec::new();
        input.read_to_end(&mut all).map_err(EngineError::io(name))?;
        return open_file(name, Cursor::new(all), position, bytes);
    }
    let reader = StreamReader::try_new(input, None).map_err(|e| EngineError::foreign(name)(e.to_string()))?;
    Ok(source(name, reader.schema(), reader, position, bytes))
}

/// Opens an IPC file, of which one batch at a time is in memory.
pub(super) fn open_file<R: Read + Seek + Send + 'static>(
    name: &str,
    input: R,
    position: Arc<AtomicU64>,
    bytes: Option<u64>,
) -> Result<Source> {
    let reader = FileReader::try_new(input, None).map_err(|e| EngineError::foreign(name)(e.to_string()))?;
    Ok(source(name, reader.schema(), reader, position, bytes))
}

fn source(
    name: &str,
    schema: SchemaRef,
    batches: impl Iterator<Item = std::result::Result<RecordBatch, ArrowError>> + Send + 'static,
    position: Arc<AtomicU64>,
    bytes: Option<u64>,
) -> Source {
    let foreign = EngineError::foreign(name);
    Source {
        schema,
        batches: Box::new(batches.map(move |b| b.map_err(|e| foreign(e.to_string())))),
        position,
        bytes,
    }
}

struct IpcSink<'w> {
    name: String,
    writer: FileWriter<Box<dyn Write + Send + 'w>>,
}

pub(super) fn sink<'w>(
    name: &str,
    schema: &Schema,
    out: Box<dyn Write + Send + 'w>,
) -> Result<Box<dyn Sink + 'w>> {
    let writer = FileWriter::try_new(out, schema).map_err(|e| EngineError::foreign(name)(e.to_string()))?;
    Ok(Box::new(IpcSink { name: name.to_owned(), writer }))
}

impl Sink for IpcSink<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| EngineError::foreign(&self.name)(e.to_string()))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let foreign = EngineError::foreign(&self.name);
        self.writer.finish().map_err(|e| foreign(e.to_string()))?;
        self.writer.into_inner().and_then(|mut out| Ok(out.flush()?)).map_err(|e| foreign(e.to_string()))
    }
}
