//! Vortex, by its Rust crate: default writer, and the compact one (its smallest).

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use vortex::VortexSessionDefault;
use vortex::array::VortexSessionExecute;
use vortex::array::iter::ArrayIteratorAdapter;
use vortex::arrow::ArrowSessionExt;
use vortex::buffer::Buffer;
use vortex::compressor::BtrBlocksCompressorBuilder;
use vortex::error::{VortexError, VortexResult};
use vortex::expr::{Expression, and_collect, col, eq, gt_eq, lit, lt_eq, root, select};
use vortex::file::{OpenOptionsSessionExt, VortexFile, WriteOptionsSessionExt, WriteStrategyBuilder};
use vortex::io::runtime::BlockingRuntime;
use vortex::io::runtime::current::{CurrentThreadRuntime, CurrentThreadWorkerPool};
use vortex::io::session::RuntimeSessionExt;
use vortex::scan::strict_sorted_buffer::StrictSortedBuffer;
use vortex::session::VortexSession;

use super::{Format, OpenedFile, Request, Residence, Sink, WriteOptions};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::machine::locked_version;
use crate::mapped::map_bytes;
use crate::predicate::{Comparison, Predicate};

/// How Vortex compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Its default: BtrBlocks-style encodings, made for fast decoding.
    Default,
    /// Its smallest: adds pco and zstd.
    Compact,
}

/// Vortex in one of its profiles, on a runtime with this many threads.
pub struct Vortex {
    profile: Profile,
    runtime: CurrentThreadRuntime,
    // Workers stop when the pool is dropped.
    _workers: CurrentThreadWorkerPool,
    session: VortexSession,
}

impl Vortex {
    /// A runtime whose work is done by the calling thread and `cores` − 1 workers.
    pub fn new(profile: Profile, cores: usize) -> Self {
        let runtime = CurrentThreadRuntime::new();
        let workers = runtime.new_pool();
        workers.set_workers(cores - 1);
        let session = <VortexSession as VortexSessionDefault>::default().with_handle(runtime.handle());
        Self { profile, runtime, _workers: workers, session }
    }

    fn fail(&self, doing: &str) -> impl Fn(VortexError) -> BenchError + use<> {
        failure(self.name(), doing)
    }
}

fn failure(name: &'static str, doing: &str) -> impl Fn(VortexError) -> BenchError + use<> {
    let doing = doing.to_owned();
    move |error| BenchError::Format { format: name.into(), doing: doing.clone(), message: error.to_string() }
}

impl Format for Vortex {
    fn name(&self) -> &'static str {
        match self.profile {
            Profile::Default => "vortex",
            Profile::Compact => "vortex_compact",
        }
    }

    fn extension(&self) -> &'static str {
        match self.profile {
            Profile::Default => "vortex",
            Profile::Compact => "compact.vortex",
        }
    }

    fn version(&self) -> String {
        format!("vortex {}", locked_version("vortex"))
    }

    fn write(&self, table: &Table, path: &Path, _options: WriteOptions) -> Result<()> {
        let session = self.session.clone();
        let schema = table.schema.clone();
        let dtype = session.arrow().from_arrow_schema(&schema).map_err(self.fail("converting the schema"))?;
        let importing = session.clone();
        let batches = table.batches.clone().into_iter().map(move |batch| -> VortexResult<_> {
            importing.arrow().from_arrow_record_batch(batch, &schema)
        });
        let mut strategy = WriteStrategyBuilder::from_session(&session);
        if self.profile == Profile::Compact {
            let compressor = BtrBlocksCompressorBuilder::from_session(&session).with_compact();
            strategy = strategy.with_btrblocks_builder(compressor);
        }
        let file = File::create(path).map_err(BenchError::io("creating", path))?;
        session
            .write_options()
            .with_strategy(strategy.build())
            .blocking(&self.runtime)
            .write(BufWriter::with_capacity(1 << 20, file), ArrayIteratorAdapter::new(dtype, batches))
            .map_err(self.fail("writing"))?;
        Ok(())
    }

    fn open(&self, path: &Path, residence: Residence) -> Result<Box<dyn OpenedFile>> {
        let options = self.session.open_options();
        let file = match residence {
            Residence::Memory => options.open_buffer(map_bytes(path)?).map_err(self.fail("opening"))?,
            Residence::Disk => {
                self.runtime.block_on(options.open_path(path)).map_err(self.fail("opening"))?
            }
        };
        let schema =
            self.session.arrow().to_arrow_schema(file.dtype()).map_err(self.fail("reading the schema"))?;
        Ok(Box::new(Opened {
            name: self.name(),
            runtime: self.runtime.clone(),
            session: self.session.clone(),
            file,
            schema: Arc::new(schema),
        }))
    }
}

struct Opened {
    name: &'static str,
    runtime: CurrentThreadRuntime,
    session: VortexSession,
    file: VortexFile,
    schema: SchemaRef,
}

impl Opened {
    fn filter(&self, predicate: &Predicate) -> VortexResult<Option<Expression>> {
        let mut terms = Vec::new();
        for term in &predicate.terms {
            let field = Field::new("", term.value.data_type().clone(), false);
            let value = self.session.arrow().from_arrow_array(term.value.clone(), &field)?;
            // A literal takes the column's own type, or the comparison would not bind.
            let scalar = value.execute_scalar(0, &mut self.session.create_execution_ctx())?;
            let (column, value) = (col(term.column.as_str()), lit(scalar));
            terms.push(match term.comparison {
                Comparison::Equal => eq(column, value),
                Comparison::AtMost => lt_eq(column, value),
                Comparison::AtLeast => gt_eq(column, value),
            });
        }
        Ok(and_collect(terms))
    }
}

impl OpenedFile for Opened {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()> {
        let fail = |doing| failure(self.name, doing);
        let dtype = self.file.dtype();
        let mut scan = self.file.scan().map_err(fail("scanning"))?;
        let mut schema = self.schema.clone();
        if request.columns.is_some() {
            let positions = request.positions(&self.schema)?;
            let names: Vec<&str> =
                positions.iter().map(|at| self.schema.field(*at).name().as_str()).collect();
            let projection = select(names, root()).bind(dtype).map_err(fail("projecting"))?;
            scan = scan.with_projection(projection);
            schema = Arc::new(self.schema.project(&positions).unwrap_or_else(|_| Schema::empty()));
        }
        if let Some(predicate) = &request.predicate
            && let Some(filter) = self.filter(predicate).map_err(fail("translating the predicate"))?
        {
            let filter =
                filter.bind(dtype).and_then(|bound| bound.optimize_recursive()).map_err(fail("binding"))?;
            scan = scan.with_filter(filter);
        }
        if let Some(rows) = &request.rows {
            let rows = StrictSortedBuffer::try_new(rows.iter().copied().collect::<Buffer<_>>());
            scan = scan.with_row_indices(rows.map_err(fail("choosing rows"))?);
        }
        for batch in scan.into_record_batch_reader(schema, &self.runtime).map_err(fail("scanning"))? {
            let batch = batch.map_err(BenchError::format(self.name, "reading"))?;
            if batch.num_rows() > 0 {
                sink(batch)?;
            }
        }
        Ok(())
    }
}
