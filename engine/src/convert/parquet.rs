//! Parquet, through the `parquet` crate.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;

use super::{SOURCE_BATCH_ROWS, Sink, Source};
use crate::error::{EngineError, Result};

pub(super) fn open<R: ChunkReader + 'static>(
    name: &str,
    input: R,
    position: Arc<AtomicU64>,
    bytes: u64,
) -> Result<Source> {
    let foreign = EngineError::foreign(name);
    let builder = ParquetRecordBatchReaderBuilder::try_new(input).map_err(|e| foreign(e.to_string()))?;
    let schema = builder.schema().clone();
    let rows = builder.metadata().file_metadata().num_rows().max(1) as u64;
    let reader = builder.with_batch_size(SOURCE_BATCH_ROWS).build().map_err(|e| foreign(e.to_string()))?;
    let (counter, mut done) = (position.clone(), 0);
    let batches = reader.map(move |batch| {
        let batch = batch.map_err(|e| foreign(e.to_string()))?;
        done += batch.num_rows() as u64;
        // The reader jumps about in the file; rows tell how far it is.
        counter.store(bytes * done / rows, Ordering::Relaxed);
        Ok(batch)
    });
    Ok(Source { schema, batches: Box::new(batches), position, bytes: Some(bytes) })
}

struct ParquetSink<'w> {
    name: String,
    writer: ArrowWriter<Box<dyn Write + Send + 'w>>,
}

pub(super) fn sink<'w>(
    name: &str,
    schema: &Schema,
    out: Box<dyn Write + Send + 'w>,
) -> Result<Box<dyn Sink + 'w>> {
    let foreign = EngineError::foreign(name);
    let level = ZstdLevel::try_new(3).map_err(|e| foreign(e.to_string()))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let writer = ArrowWriter::try_new(out, Arc::new(schema.clone()), Some(properties))
        .map_err(|e| foreign(e.to_string()))?;
    Ok(Box::new(ParquetSink { name: name.to_owned(), writer }))
}

impl Sink for ParquetSink<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| EngineError::foreign(&self.name)(e.to_string()))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.writer.close().map_err(|e| EngineError::foreign(&self.name)(e.to_string()))?;
        Ok(())
    }
}
