//! Arrow IPC without compression: no decoding at all, at the price of size. The ceiling for a scan of memory.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::writer::FileWriter;

use super::{Format, OpenedFile, Request, Residence, Sink, WriteOptions};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::mapped::{IpcFile, map};

const NAME: &str = "arrow_ipc";

/// Arrow IPC files over a memory map.
#[derive(Debug)]
pub struct Ipc;

struct Opened {
    file: IpcFile,
}

fn fail(doing: &'static str) -> impl Fn(ArrowError) -> BenchError {
    move |error| BenchError::Format { format: NAME.into(), doing: doing.into(), message: error.to_string() }
}

impl Format for Ipc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn extension(&self) -> &'static str {
        "arrows"
    }

    fn version(&self) -> String {
        format!("arrow-ipc {}", arrow::ARROW_VERSION)
    }

    fn write(&self, table: &Table, path: &Path, options: WriteOptions) -> Result<()> {
        let file = File::create(path).map_err(BenchError::io("creating", path))?;
        let writer = BufWriter::with_capacity(1 << 20, file);
        let mut writer = FileWriter::try_new(writer, &table.schema).map_err(fail("writing"))?;
        for batch in &table.batches {
            let step = options.block_rows.unwrap_or(batch.num_rows()).max(1);
            for start in (0..batch.num_rows()).step_by(step) {
                let rows = step.min(batch.num_rows() - start);
                writer.write(&batch.slice(start, rows)).map_err(fail("writing"))?;
            }
        }
        writer.finish().map_err(fail("finishing"))
    }

    fn open(&self, path: &Path, _residence: Residence) -> Result<Box<dyn OpenedFile>> {
        Ok(Box::new(Opened { file: IpcFile::open(map(path)?, path)? }))
    }
}

impl OpenedFile for Opened {
    fn schema(&self) -> SchemaRef {
        self.file.schema().clone()
    }

    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()> {
        let wide = Request { columns: request.columns_with_predicate(), ..Request::default() };
        let decoder = self
            .file
            .decoder(Some(wide.positions(self.file.schema())?))
            .map_err(fail("reading dictionaries"))?;
        let mut first = 0_u64;
        for position in 0..self.file.batch_count() {
            let mut batch = self.file.batch(&decoder, position).map_err(fail("reading a batch"))?;
            let next = first + batch.num_rows() as u64;
            if let Some(rows) = &request.rows {
                let wanted =
                    &rows[rows.partition_point(|row| *row < first)..rows.partition_point(|row| *row < next)];
                let wanted = UInt64Array::from_iter_values(wanted.iter().map(|row| row - first));
                batch = take_record_batch(&batch, &wanted).map_err(fail("taking rows"))?;
            }
            if let Some(predicate) = &request.predicate {
                batch = predicate.filter(&batch).map_err(fail("filtering"))?;
                batch = batch.project(&request.positions(&batch.schema())?).map_err(fail("projecting"))?;
            }
            first = next;
            if batch.num_rows() > 0 {
                sink(batch)?;
            }
        }
        Ok(())
    }
}
