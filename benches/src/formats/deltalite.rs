//! DeltaLite, in its profiles, scanned by shards.
//!
//! On one core batches are decoded by the thread that consumes them while the shard, on the same core, reads; on several
//! cores the shards decode and send batches. Warm means: every page is in the page cache of the shards and was verified
//! when it entered. Cold scans read by `O_DIRECT` and `io_uring`, which the file system's page cache has no part in.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::datatypes::{Schema, SchemaRef};
use deltalite_format::predicate::{self as filter, Literal};
use deltalite_format::reader::{ScanOptions, ScanPlan};
use deltalite_format::{FileWriter, FormatError, Profile, WriterOptions};
use deltalite_shard::ShardError;
use deltalite_shard::executor::{ShardOptions, ShardSet};
use deltalite_shard::scan::{DataFile, DecodeOn, RowReader, Scan, Verify};

use super::{Format, OpenedFile, Request, Residence, Sink, WriteOptions};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::machine::memory_bytes;
use crate::predicate::{Comparison, Predicate};

/// The shards that all profiles on one set of cores share, started when first needed.
#[derive(Debug)]
pub struct Engine {
    cores: usize,
    shards: OnceLock<Arc<ShardSet>>,
}

impl Engine {
    /// Shards for this many cores, of those that the calling thread may use.
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self { cores, shards: OnceLock::new() })
    }

    /// The shards. Their arenas take an eighth of the machine's memory, so that the tables measured stay warm.
    pub fn shards(&self) -> std::result::Result<&Arc<ShardSet>, ShardError> {
        if let Some(shards) = self.shards.get() {
            return Ok(shards);
        }
        let arena = (memory_bytes() / 8).clamp(256 << 20, 8 << 30) as usize / self.cores;
        let options = ShardOptions::with_shards(self.cores as u32)?.arena(arena);
        let started = Arc::new(ShardSet::start(options)?);
        Ok(self.shards.get_or_init(|| started))
    }
}

/// DeltaLite in one of its profiles.
#[derive(Debug)]
pub struct DeltaLite {
    profile: Profile,
    verify: Verify,
    engine: Arc<Engine>,
}

impl DeltaLite {
    /// A profile, scanned by these shards, checksums on.
    pub fn new(profile: Profile, engine: &Arc<Engine>) -> Self {
        Self { profile, verify: Verify::Fail, engine: engine.clone() }
    }

    /// The same, with checksums treated differently when scanning.
    #[must_use]
    pub fn verifying(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    fn writing(&self) -> impl Fn(FormatError) -> BenchError + use<> {
        let format = self.name();
        move |error| BenchError::Format {
            format: format.into(),
            doing: "writing".into(),
            message: error.to_string(),
        }
    }
}

fn failure(name: &'static str, doing: &str) -> impl Fn(ShardError) -> BenchError + use<> {
    let doing = doing.to_owned();
    move |error| BenchError::Format { format: name.into(), doing: doing.clone(), message: error.to_string() }
}

impl Format for DeltaLite {
    fn name(&self) -> &'static str {
        match self.profile {
            Profile::Default => "deltalite",
            Profile::Compact => "deltalite_compact",
            Profile::Plain => "deltalite_plain",
        }
    }

    fn extension(&self) -> &'static str {
        match self.profile {
            Profile::Default => "dlb",
            Profile::Compact => "compact.dlb",
            Profile::Plain => "plain.dlb",
        }
    }

    fn version(&self) -> String {
        format!("deltalite {}", env!("CARGO_PKG_VERSION"))
    }

    fn write(&self, table: &Table, path: &Path, options: WriteOptions) -> Result<()> {
        let mut writer_options =
            WriterOptions { profile: self.profile, threads: self.engine.cores, ..WriterOptions::default() };
        if let Some(rows) = options.block_rows {
            writer_options.block_rows = rows as u64;
        }
        let file = File::create(path).map_err(BenchError::io("creating", path))?;
        let sink = BufWriter::with_capacity(1 << 20, file);
        let mut writer = FileWriter::new(sink, &table.schema, writer_options).map_err(self.writing())?;
        for batch in &table.batches {
            writer.write(batch).map_err(self.writing())?;
        }
        writer.finish().map_err(self.writing())?;
        Ok(())
    }

    fn open(&self, path: &Path, residence: Residence) -> Result<Box<dyn OpenedFile>> {
        let file = DataFile::open(path).map_err(failure(self.name(), "opening"))?;
        let (engine, reader) = (self.engine.clone(), Mutex::new(None));
        let opened = Opened { name: self.name(), verify: self.verify, engine, file, reader };
        if residence == Residence::Memory {
            opened.scan(&Request::everything(), &|_| Ok(()))?;
        }
        Ok(Box::new(opened))
    }

    fn drop_caches(&self) -> Result<()> {
        let shards = self.engine.shards().map_err(failure(self.name(), "starting shards"))?;
        for shard in 0..shards.len() {
            if let Some(cache) = shards.cache_of(shard) {
                cache.clear();
            }
        }
        Ok(())
    }
}

struct Opened {
    name: &'static str,
    verify: Verify,
    engine: Arc<Engine>,
    file: Arc<DataFile>,
    /// Of the columns last asked for: like any open file, it is kept from call to call.
    reader: Mutex<Option<(Option<Vec<String>>, RowReader)>>,
}

impl OpenedFile for Opened {
    fn schema(&self) -> SchemaRef {
        let plan = ScanPlan::new(self.file.meta().clone(), ScanOptions::default());
        plan.map_or_else(|_| Arc::new(Schema::empty()), |plan| plan.schema().clone())
    }

    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()> {
        let shards = self.engine.shards().map_err(failure(self.name, "starting shards"))?;
        let fail = |doing| failure(self.name, doing);
        if let Some(rows) = &request.rows {
            let mut kept = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if kept.as_ref().is_none_or(|(columns, _)| *columns != request.columns) {
                let reader = RowReader::new(self.file.clone(), request.columns.clone(), shards);
                *kept = Some((request.columns.clone(), reader.map_err(fail("resolving columns"))?));
            }
            let Some((_, reader)) = kept.as_ref() else { return Ok(()) };
            return sink(reader.take(rows).map_err(fail("taking rows"))?);
        }
        let single = self.engine.cores == 1;
        let mut scan = Scan::of(self.file.clone()).verify(self.verify).ordered(single).decode_on(if single {
            DecodeOn::Caller
        } else {
            DecodeOn::Shards
        });
        if let Some(columns) = &request.columns {
            scan = scan.columns(columns.iter().cloned());
        }
        if let Some(predicate) = request.predicate.as_ref().and_then(translate) {
            scan = scan.filter(predicate);
        }
        for batch in scan.start(shards).map_err(fail("starting a scan"))? {
            sink(batch.map_err(fail("scanning"))?)?;
        }
        Ok(())
    }
}

/// The predicate in DeltaLite's own terms; none when it has no terms, and so selects everything.
fn translate(predicate: &Predicate) -> Option<filter::Predicate> {
    let terms = predicate.terms.iter().map(|term| {
        let column = filter::col(term.column.as_str());
        let value = Literal::of(term.value.as_ref(), 0);
        match term.comparison {
            Comparison::Equal => column.eq(value),
            Comparison::AtMost => column.lt_eq(value),
            Comparison::AtLeast => column.gt_eq(value),
        }
    });
    terms.reduce(filter::Predicate::and)
}
