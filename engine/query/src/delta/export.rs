//! A version of a table of ours as a Delta Lake table: its rows as Parquet files, and a log of one version that names them.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use deltalite_table::TableError;
use deltalite_table::schema::delta_schema_string;
use serde_json::json;

use super::log::DELTA_LOG;
use crate::error::{QueryError, Result};

/// Rows of an exported file.
const ROWS_A_FILE: usize = 4 << 20;

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> QueryError {
    let path = path.to_owned();
    move |source| QueryError::Table(TableError::Io { what, path, source })
}

fn engine(error: impl std::fmt::Display) -> QueryError {
    QueryError::Engine(error.to_string())
}

/// The type that Delta has for one of ours.
fn exported(data_type: &DataType) -> DataType {
    let field = |f: &FieldRef| Arc::new(Field::new(f.name(), exported(f.data_type()), f.is_nullable()));
    match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 | DataType::Time32(_) => DataType::Int32,
        DataType::UInt32 | DataType::Time64(_) | DataType::Duration(_) => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Interval(_) => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::FixedSizeList(f, _)
        | DataType::ListView(f) => DataType::List(field(f)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(f, sorted) => DataType::Map(field(f), *sorted),
        DataType::Dictionary(_, value) => exported(value),
        other => other.clone(),
    }
}

/// Writes the files of a table.
pub(crate) struct Export<'a> {
    folder: &'a Path,
    schema: SchemaRef,
    writer: Option<(ArrowWriter<File>, String, usize)>,
    adds: Vec<String>,
    rows: u64,
}

impl<'a> Export<'a> {
    /// Begins.
    ///
    /// # Errors
    /// When there is something in the folder.
    pub(crate) fn new(folder: &'a Path, schema: &Schema) -> Result<Self> {
        fs::create_dir_all(folder).map_err(io("making", folder))?;
        if fs::read_dir(folder).map_err(io("listing", folder))?.next().is_some() {
            let detail = format!("{} is not empty; export to a new folder", folder.display());
            return Err(QueryError::NotSupported(detail));
        }
        let fields =
            schema.fields().iter().map(|f| Field::new(f.name(), exported(f.data_type()), f.is_nullable()));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { folder, schema, writer: None, adds: Vec::new(), rows: 0 })
    }

    fn writer(&mut self) -> Result<&mut (ArrowWriter<File>, String, usize)> {
        if self.writer.is_none() {
            let name = format!("part-{:05}.zstd.parquet", self.adds.len());
            let path = self.folder.join(&name);
            let file = File::create(&path).map_err(io("creating", &path))?;
            let zstd = Compression::ZSTD(ZstdLevel::try_new(3).map_err(engine)?);
            let properties = WriterProperties::builder().set_compression(zstd).build();
            let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties)).map_err(engine)?;
            self.writer = Some((writer, name, 0));
        }
        self.writer.as_mut().ok_or_else(|| engine("no writer"))
    }

    /// Writes rows.
    ///
    /// # Errors
    /// When a value has no place in Delta's types, or writing fails.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            let options = arrow_cast::CastOptions { safe: false, ..Default::default() };
            arrow_cast::cast_with_options(column, field.data_type(), &options)
                .map_err(|e| engine(format!("column {}: {e}", field.name())))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(engine)?;
        let (writer, _, rows) = self.writer()?;
        writer.write(&batch).map_err(engine)?;
        *rows += batch.num_rows();
        let full = *rows >= ROWS_A_FILE;
        self.rows += batch.num_rows() as u64;
        if full {
            self.end_file()?;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<()> {
        let Some((writer, name, rows)) = self.writer.take() else { return Ok(()) };
        let path = self.folder.join(&name);
        let file = writer.into_inner().map_err(engine)?;
        file.sync_all().map_err(io("syncing", &path))?;
        let size = file.metadata().map_err(io("asking for the size of", &path))?.len();
        let stats = json!({"numRecords": rows}).to_string();
        let add = json!({"add": {"path": name, "partitionValues": {}, "size": size, "modificationTime": now(), "dataChange": true, "stats": stats}});
        self.adds.push(add.to_string());
        Ok(())
    }

    /// Writes the log, after which the table is there; the rows that it has.
    ///
    /// # Errors
    /// When writing fails.
    pub(crate) fn finish(mut self, name: Option<&str>) -> Result<u64> {
        self.end_file()?;
        let log = self.folder.join(DELTA_LOG);
        fs::create_dir(&log).map_err(io("making", &log))?;
        let ntz = self.schema.fields().iter().any(|f| has_ntz(f.data_type()));
        let protocol = if ntz {
            json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"]}})
        } else {
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
        };
        let metadata = json!({"metaData": {
            "id": uuid::Uuid::new_v4().to_string(), "name": name, "format": {"provider": "parquet", "options": {}},
            "schemaString": delta_schema_string(&self.schema), "partitionColumns": [], "configuration": {}, "createdTime": now(),
        }});
        let info = json!({"commitInfo": {"timestamp": now(), "operation": "EXPORT", "engineInfo": concat!("DeltaLite/", env!("CARGO_PKG_VERSION"))}});
        let mut text = format!("{info}\n{protocol}\n{metadata}\n");
        for add in &self.adds {
            text.push_str(add);
            text.push('\n');
        }
        let path = log.join(format!("{:020}.json", 0));
        let temporary = log.join(".first.json.tmp");
        let mut file = File::create(&temporary).map_err(io("creating", &temporary))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io("writing", &temporary))?;
        fs::rename(&temporary, &path).map_err(io("renaming", &path))?;
        for folder in [&log, self.folder] {
            File::open(folder).and_then(|f| f.sync_all()).map_err(io("syncing", folder))?;
        }
        Ok(self.rows)
    }
}

fn has_ntz(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(f) | DataType::Map(f, _) => has_ntz(f.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_ntz(f.data_type())),
        _ => false,
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}
