//! DeltaLite, in its default profile and in the compact one.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::SchemaRef;
use deltalite_format::error::FormatError;
use deltalite_format::reader::{FileReader, ScanOptions};
use deltalite_format::split::plan_splits;
use deltalite_format::{FileWriter, Profile, WriterOptions};

use super::{Format, OpenedFile, Request, Residence, Sink, WriteOptions, in_parallel};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::mapped::map;

/// What a thread takes at a time when several read one file.
const SPLIT_BYTES: u64 = 4 << 20;

/// DeltaLite in one of its profiles, on this many cores.
#[derive(Debug)]
pub struct DeltaLite {
    profile: Profile,
    cores: usize,
}

impl DeltaLite {
    /// A profile on this many cores.
    pub fn new(profile: Profile, cores: usize) -> Self {
        Self { profile, cores }
    }

    fn fail(&self, doing: &str) -> impl Fn(FormatError) -> BenchError + use<> {
        failure(self.name(), doing)
    }
}

fn failure(name: &'static str, doing: &str) -> impl Fn(FormatError) -> BenchError + use<> {
    let doing = doing.to_owned();
    move |error| BenchError::Format { format: name.into(), doing: doing.clone(), message: error.to_string() }
}

impl Format for DeltaLite {
    fn name(&self) -> &'static str {
        match self.profile {
            Profile::Compact => "deltalite_compact",
            _ => "deltalite",
        }
    }

    fn extension(&self) -> &'static str {
        match self.profile {
            Profile::Compact => "compact.dlb",
            _ => "dlb",
        }
    }

    fn version(&self) -> String {
        format!("deltalite {}", env!("CARGO_PKG_VERSION"))
    }

    fn write(&self, table: &Table, path: &Path, options: WriteOptions) -> Result<()> {
        let mut writer_options =
            WriterOptions { profile: self.profile, threads: self.cores, ..WriterOptions::default() };
        if let Some(rows) = options.block_rows {
            writer_options.block_rows = rows as u64;
        }
        let file = File::create(path).map_err(BenchError::io("creating", path))?;
        let sink = BufWriter::with_capacity(1 << 20, file);
        let mut writer =
            FileWriter::new(sink, &table.schema, writer_options).map_err(self.fail("writing"))?;
        for batch in &table.batches {
            writer.write(batch).map_err(self.fail("writing"))?;
        }
        writer.finish().map_err(self.fail("finishing"))?;
        Ok(())
    }

    fn open(&self, path: &Path, _residence: Residence) -> Result<Box<dyn OpenedFile>> {
        let reader = FileReader::open_bytes(map(path)?).map_err(self.fail("opening"))?;
        Ok(Box::new(Opened { name: self.name(), cores: self.cores, reader }))
    }
}

struct Opened {
    name: &'static str,
    cores: usize,
    reader: FileReader,
}

impl Opened {
    fn options(&self, request: &Request) -> Result<ScanOptions> {
        if request.predicate.is_some() {
            return Err(BenchError::Unsupported { format: self.name.into(), what: "predicates".into() });
        }
        Ok(ScanOptions { columns: request.columns.clone(), ..ScanOptions::default() })
    }
}

impl OpenedFile for Opened {
    fn schema(&self) -> SchemaRef {
        let scan = self.reader.scan(ScanOptions::default());
        scan.map_or_else(|_| Arc::new(arrow::datatypes::Schema::empty()), |scan| scan.schema().clone())
    }

    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()> {
        let options = self.options(request)?;
        if let Some(rows) = &request.rows {
            return sink(self.reader.take(rows, options).map_err(failure(self.name, "taking rows"))?);
        }
        if self.cores == 1 {
            let mut scan = self.reader.scan(options).map_err(failure(self.name, "scanning"))?;
            return scan.try_for_each(|batch| sink(batch.map_err(failure(self.name, "scanning"))?));
        }
        let meta = self.reader.meta();
        let splits = plan_splits(meta, SPLIT_BYTES);
        let next = AtomicUsize::new(0);
        in_parallel(self.cores, || {
            while let Some(split) = splits.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut scan = self
                    .reader
                    .scan_split(options.clone(), Some(split))
                    .map_err(failure(self.name, "scanning"))?;
                scan.try_for_each(|batch| sink(batch.map_err(failure(self.name, "scanning"))?))?;
            }
            Ok(())
        })
    }
}
