//! Newline-delimited JSON: what data looks like before anybody cared, for the scale of things.

use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor};
use std::path::{Path, PathBuf};

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_json::{LineDelimitedWriter, ReaderBuilder};

use super::{Format, OpenedFile, Request, Residence, Sink, WriteOptions};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::mapped::map;

const NAME: &str = "ndjson";

/// Lines of JSON, written and read by arrow-json, with the schema given to the reader.
#[derive(Debug)]
pub struct NdJson;

struct Opened {
    path: PathBuf,
    bytes: Option<Buffer>,
    schema: SchemaRef,
}

fn fail(doing: &'static str) -> impl Fn(ArrowError) -> BenchError {
    move |error| BenchError::Format { format: NAME.into(), doing: doing.into(), message: error.to_string() }
}

fn schema_path(path: &Path) -> PathBuf {
    path.with_extension("ndjson.schema")
}

impl Format for NdJson {
    fn name(&self) -> &'static str {
        NAME
    }

    fn extension(&self) -> &'static str {
        "ndjson"
    }

    fn version(&self) -> String {
        format!("arrow-json {}", arrow::ARROW_VERSION)
    }

    fn write(&self, table: &Table, path: &Path, _options: WriteOptions) -> Result<()> {
        // JSON has no schema: the reader gets it from an empty IPC file beside the data, which costs the format nothing.
        let beside = schema_path(path);
        let schema = File::create(&beside).map_err(BenchError::io("creating", &beside))?;
        arrow_ipc::writer::FileWriter::try_new(schema, &table.schema)
            .and_then(|mut writer| writer.finish())
            .map_err(fail("writing the schema"))?;

        let file = File::create(path).map_err(BenchError::io("creating", path))?;
        let mut writer = LineDelimitedWriter::new(BufWriter::with_capacity(1 << 20, file));
        for batch in &table.batches {
            writer.write(batch).map_err(fail("writing"))?;
        }
        writer.finish().map_err(fail("finishing"))
    }

    fn open(&self, path: &Path, residence: Residence) -> Result<Box<dyn OpenedFile>> {
        let beside = schema_path(path);
        let schema = File::open(&beside).map_err(BenchError::io("opening", &beside))?;
        let schema = arrow_ipc::reader::FileReader::try_new(schema, None)
            .map_err(fail("reading the schema"))?
            .schema();
        let bytes = (residence == Residence::Memory).then(|| map(path)).transpose()?;
        Ok(Box::new(Opened { path: path.to_path_buf(), bytes, schema }))
    }
}

impl OpenedFile for Opened {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()> {
        let wide = Request { columns: request.columns_with_predicate(), ..Request::default() };
        let schema = self.schema.project(&wide.positions(&self.schema)?).map_err(fail("projecting"))?;
        let builder = ReaderBuilder::new(schema.into()).with_batch_size(8192);
        let each = |batch: std::result::Result<arrow::record_batch::RecordBatch, ArrowError>| {
            let mut batch = batch.map_err(fail("reading"))?;
            if let Some(predicate) = &request.predicate {
                batch = predicate.filter(&batch).map_err(fail("filtering"))?;
                batch = batch.project(&request.positions(&batch.schema())?).map_err(fail("projecting"))?;
            }
            if batch.num_rows() > 0 { sink(batch) } else { Ok(()) }
        };
        if request.rows.is_some() {
            return Err(BenchError::Unsupported { format: NAME.into(), what: "random access".into() });
        }
        if let Some(bytes) = &self.bytes {
            let reader = Cursor::new(bytes.as_slice());
            return builder.build(reader).map_err(fail("opening"))?.try_for_each(each);
        }
        let file = File::open(&self.path).map_err(BenchError::io("opening", &self.path))?;
        let reader = BufReader::with_capacity(1 << 20, file);
        builder.build(reader).map_err(fail("opening"))?.try_for_each(each)
    }
}
