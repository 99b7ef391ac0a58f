//! Parquet through arrow-rs: four baselines, from what one gets without thinking to what an expert gets.
//!
//! | name | written | read |
//! |---|---|---|
//! | `parquet` | arrow-rs' defaults (dictionaries, no compression) | plain |
//! | `parquet_zstd` | zstd level 3, else defaults | plain |
//! | `parquet_uncompressed` | no compression, no dictionaries: the pages cheapest to decode | plain |
//! | `parquet_tuned` | zstd level 3, 20,000-row pages, dictionaries only where a sample says they pay | tuned |
//!
//! *Plain* reading prunes row groups by their statistics, decodes the columns wanted and filters afterwards. *Tuned*
//! reading also loads the page index, skips pages by their bounds, evaluates the predicate in a `RowFilter` while
//! decoding (late materialization), selects rows by a `RowSelection`, and takes strings as views.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, BooleanArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
    RowSelection, RowSelector,
};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{DEFAULT_MAX_ROW_GROUP_ROW_COUNT, WriterProperties};
use parquet::file::reader::ChunkReader;
use parquet::schema::types::ColumnPath;

use super::{Format, OpenedFile, Request, Residence, Sink, WriteOptions, in_parallel};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::mapped::map_bytes;
use crate::predicate::Predicate;

/// Rows of a batch when reading: what DataFusion uses; arrow-rs' own default of 1,024 is slower.
const READ_BATCH_ROWS: usize = 8192;
const TUNED_PAGE_ROWS: usize = 20_000;

/// Which of the four baselines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Defaults of arrow-rs.
    Default,
    /// zstd level 3.
    Zstd,
    /// Neither compression nor dictionaries.
    Uncompressed,
    /// Written and read with everything arrow-rs offers.
    Tuned,
}

impl Flavour {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Default, Self::Zstd, Self::Uncompressed, Self::Tuned];

    fn name(self) -> &'static str {
        match self {
            Self::Default => "parquet",
            Self::Zstd => "parquet_zstd",
            Self::Uncompressed => "parquet_uncompressed",
            Self::Tuned => "parquet_tuned",
        }
    }
}

/// One Parquet baseline.
#[derive(Debug)]
pub struct Parquet {
    flavour: Flavour,
    cores: usize,
}

impl Parquet {
    /// A baseline that uses this many threads.
    pub fn new(flavour: Flavour, cores: usize) -> Self {
        Self { flavour, cores }
    }

    fn fail(&self, doing: &str) -> impl Fn(ParquetError) -> BenchError + use<> {
        let (format, doing) = (self.flavour.name().to_owned(), doing.to_owned());
        move |error| BenchError::Format {
            format: format.clone(),
            doing: doing.clone(),
            message: error.to_string(),
        }
    }

    fn properties(&self, table: &Table, options: WriteOptions) -> Result<WriterProperties> {
        let mut builder = WriterProperties::builder()
            .set_max_row_group_row_count(Some(options.block_rows.unwrap_or(DEFAULT_MAX_ROW_GROUP_ROW_COUNT)));
        let zstd =
            || ZstdLevel::try_new(3).map(Compression::ZSTD).map_err(self.fail("choosing zstd level 3"));
        builder = match self.flavour {
            Flavour::Default => builder,
            Flavour::Zstd => builder.set_compression(zstd()?),
            Flavour::Uncompressed => builder.set_dictionary_enabled(false),
            Flavour::Tuned => {
                builder = builder.set_compression(zstd()?).set_data_page_row_count_limit(TUNED_PAGE_ROWS);
                for field in table.schema.fields() {
                    if !dictionary_pays(table, field)? {
                        let path = ColumnPath::from(field.name().as_str());
                        builder = builder.set_column_dictionary_enabled(path, false);
                    }
                }
                builder
            }
        };
        Ok(builder.build())
    }
}

/// Whether fewer than a fifth of a sample's values are distinct. Nested columns keep arrow-rs' default.
fn dictionary_pays(table: &Table, field: &Field) -> Result<bool> {
    if field.data_type().is_nested() {
        return Ok(true);
    }
    let Some(batch) = table.batches.first() else { return Ok(true) };
    let sample = batch.slice(0, batch.num_rows().min(65_536));
    let Some(column) = sample.column_by_name(field.name()) else { return Ok(true) };
    let fail = BenchError::format("parquet_tuned", "sampling for dictionaries");
    let distinct = RowConverter::new(vec![SortField::new(column.data_type().clone())])
        .and_then(|converter| converter.convert_columns(&[Arc::clone(column)]))
        .map(|rows| rows.iter().collect::<HashSet<_>>().len())
        .map_err(fail)?;
    Ok(distinct * 5 < sample.num_rows())
}

impl Format for Parquet {
    fn name(&self) -> &'static str {
        self.flavour.name()
    }

    fn extension(&self) -> &'static str {
        match self.flavour {
            Flavour::Default => "default.parquet",
            Flavour::Zstd => "zstd.parquet",
            Flavour::Uncompressed => "uncompressed.parquet",
            Flavour::Tuned => "tuned.parquet",
        }
    }

    fn version(&self) -> String {
        // The crate's own statement of its version, as it writes it into files.
        parquet::file::properties::DEFAULT_CREATED_BY.replace("parquet-rs version", "parquet (arrow-rs)")
    }

    fn write(&self, table: &Table, path: &Path, options: WriteOptions) -> Result<()> {
        let file = File::create(path).map_err(BenchError::io("creating", path))?;
        let properties = self.properties(table, options)?;
        let group_rows = options.block_rows.unwrap_or(DEFAULT_MAX_ROW_GROUP_ROW_COUNT);
        let mut writer = ArrowWriter::try_new(file, table.schema.clone(), Some(properties))
            .map_err(self.fail("writing"))?;
        if self.cores == 1 {
            for batch in &table.batches {
                writer.write(batch).map_err(self.fail("writing"))?;
            }
            writer.close().map_err(self.fail("finishing"))?;
            return Ok(());
        }
        // Columns of a row group encoded in parallel, as the documentation of ArrowColumnWriter shows.
        let (mut writer, factory) = writer.into_serialized_writer().map_err(self.fail("writing"))?;
        for (number, batches) in row_groups(&table.batches, group_rows).into_iter().enumerate() {
            let columns = factory.create_column_writers(number).map_err(self.fail("writing"))?;
            let chunks =
                encode_columns(columns, &table.schema, &batches, self.cores).map_err(self.fail("writing"))?;
            let mut group = writer.next_row_group().map_err(self.fail("writing"))?;
            for chunk in chunks {
                chunk.append_to_row_group(&mut group).map_err(self.fail("writing"))?;
            }
            group.close().map_err(self.fail("writing"))?;
        }
        writer.close().map_err(self.fail("finishing"))?;
        Ok(())
    }

    fn open(&self, path: &Path, residence: Residence) -> Result<Box<dyn OpenedFile>> {
        match residence {
            Residence::Memory => self.open_over(Clones(map_bytes(path)?), path),
            Residence::Disk => self.open_over(Files(path.to_path_buf()), path),
        }
    }
}

impl Parquet {
    fn open_over<S: Source>(&self, source: S, path: &Path) -> Result<Box<dyn OpenedFile>> {
        let tuned = self.flavour == Flavour::Tuned;
        let policy = if tuned { PageIndexPolicy::Required } else { PageIndexPolicy::Skip };
        let options = ArrowReaderOptions::new().with_page_index_policy(policy);
        let fail = self.fail(&format!("opening {}", path.display()));
        let reader = source.reader().map_err(BenchError::io("opening", path))?;
        let mut metadata = ArrowReaderMetadata::load(&reader, options.clone()).map_err(&fail)?;
        let views = with_views(metadata.schema());
        if tuned && &views != metadata.schema() {
            let options = options.with_schema(views);
            metadata = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(&fail)?;
        }
        Ok(Box::new(Opened { name: self.flavour.name(), tuned, cores: self.cores, source, metadata }))
    }
}

/// The schema with string views in place of strings with offsets.
fn with_views(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View))
        }
        DataType::Binary | DataType::LargeBinary => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView))
        }
        _ => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Cuts batches into row groups of this many rows.
fn row_groups(batches: &[RecordBatch], rows: usize) -> Vec<Vec<RecordBatch>> {
    let mut groups = vec![Vec::new()];
    let mut room = rows;
    for batch in batches {
        let mut start = 0;
        while start < batch.num_rows() {
            if room == 0 {
                groups.push(Vec::new());
                room = rows;
            }
            let take = room.min(batch.num_rows() - start);
            if let Some(group) = groups.last_mut() {
                group.push(batch.slice(start, take));
            }
            start += take;
            room -= take;
        }
    }
    groups
}

fn encode_columns(
    writers: Vec<ArrowColumnWriter>,
    schema: &Schema,
    batches: &[RecordBatch],
    cores: usize,
) -> std::result::Result<Vec<ArrowColumnChunk>, ParquetError> {
    // A nested field has several leaves and so several writers; a worker takes a field with all of them.
    let mut writers = writers.into_iter();
    let mut work = Vec::new();
    for (position, field) in schema.fields().iter().enumerate() {
        let leaves = match batches.first() {
            Some(batch) => compute_leaves(field, batch.column(position))?.len(),
            None => 1,
        };
        work.push(Mutex::new((writers.by_ref().take(leaves).collect::<Vec<_>>(), Vec::new())));
    }
    let next = AtomicUsize::new(0);
    let encode = || -> std::result::Result<(), ParquetError> {
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = work.get(position) else { return Ok(()) };
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let (writers, chunks) = &mut *slot;
            for batch in batches {
                let leaves = compute_leaves(schema.field(position), batch.column(position))?;
                for (writer, leaf) in writers.iter_mut().zip(&leaves) {
                    writer.write(leaf)?;
                }
            }
            for writer in writers.drain(..) {
                chunks.push(writer.close()?);
            }
        }
    };
    in_parallel(cores, encode)?;
    Ok(work
        .into_iter()
        .flat_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner).1)
        .collect())
}

/// Gives each scan its own reader over the same bytes.
trait Source: Send + Sync + 'static {
    type Reader: ChunkReader + 'static;

    fn reader(&self) -> std::io::Result<Self::Reader>;
}

struct Clones(Bytes);

impl Source for Clones {
    type Reader = Bytes;

    fn reader(&self) -> std::io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

/// Opens the file for each reader: clones of a `File` share its position, so threads would read each other's pages.
struct Files(PathBuf);

impl Source for Files {
    type Reader = File;

    fn reader(&self) -> std::io::Result<File> {
        File::open(&self.0)
    }
}

struct Opened<S> {
    name: &'static str,
    tuned: bool,
    cores: usize,
    source: S,
    metadata: ArrowReaderMetadata,
}

impl<S: Source> Opened<S> {
    fn fail(&self, doing: &'static str) -> impl Fn(ParquetError) -> BenchError + use<S> {
        let name = self.name;
        move |error| BenchError::Format {
            format: name.into(),
            doing: doing.into(),
            message: error.to_string(),
        }
    }

    fn builder(&self, request: &Request) -> Result<ParquetRecordBatchReaderBuilder<S::Reader>> {
        let reader = self
            .source
            .reader()
            .map_err(|source| BenchError::System { doing: "opening a Parquet file again", source })?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(reader, self.metadata.clone())
            .with_batch_size(READ_BATCH_ROWS);
        let wanted = if self.tuned { request.columns.clone() } else { request.columns_with_predicate() };
        let wanted = Request { columns: wanted, ..Request::default() }.positions(self.metadata.schema())?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        Ok(builder.with_projection(mask))
    }

    /// The row groups whose statistics don't rule the predicate out.
    fn groups(&self, predicate: Option<&Predicate>) -> Result<Vec<usize>> {
        let groups = self.metadata.metadata().row_groups();
        let mut keep = vec![true; groups.len()];
        for term in predicate.iter().flat_map(|predicate| &predicate.terms) {
            let statistics = StatisticsConverter::try_new(
                &term.column,
                self.metadata.schema(),
                self.metadata.parquet_schema(),
            )
            .map_err(self.fail("reading statistics"))?;
            let minimums = statistics.row_group_mins(groups).map_err(self.fail("reading statistics"))?;
            let maximums = statistics.row_group_maxes(groups).map_err(self.fail("reading statistics"))?;
            let may = term
                .may_hold(&minimums, &maximums)
                .map_err(BenchError::format(self.name, "comparing statistics"))?;
            for (keep, may) in keep.iter_mut().zip(may.values()) {
                *keep &= may;
            }
        }
        Ok((0..groups.len()).filter(|group| keep[*group]).collect())
    }

    /// The rows of a row group whose pages' bounds don't rule the predicate out; none when nothing can be said.
    fn pages(&self, predicate: &Predicate, group: usize) -> Result<Option<RowSelection>> {
        let metadata = self.metadata.metadata();
        let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else {
            return Ok(None);
        };
        let mut selection: Option<RowSelection> = None;
        for term in &predicate.terms {
            let statistics = StatisticsConverter::try_new(
                &term.column,
                self.metadata.schema(),
                self.metadata.parquet_schema(),
            )
            .map_err(self.fail("reading page bounds"))?;
            let minimums = statistics
                .data_page_mins(columns, offsets, [&group])
                .map_err(self.fail("reading page bounds"))?;
            let maximums = statistics
                .data_page_maxes(columns, offsets, [&group])
                .map_err(self.fail("reading page bounds"))?;
            let Some(rows) = statistics
                .data_page_row_counts(offsets, metadata.row_groups(), [&group])
                .map_err(self.fail("reading page bounds"))?
            else {
                continue;
            };
            let may = term
                .may_hold(&minimums, &maximums)
                .map_err(BenchError::format(self.name, "comparing page bounds"))?;
            if may.true_count() == may.len() {
                continue;
            }
            let selectors = may.values().iter().zip(rows.values()).map(|(may, rows)| {
                if may { RowSelector::select(*rows as usize) } else { RowSelector::skip(*rows as usize) }
            });
            let pages: RowSelection = selectors.collect::<Vec<_>>().into();
            selection = Some(match selection {
                None => pages,
                Some(before) => before.intersection(&pages),
            });
        }
        Ok(selection)
    }

    /// One `RowFilter` step per column of the predicate.
    fn row_filter(&self, predicate: &Predicate) -> Result<RowFilter> {
        let schema = self.metadata.parquet_schema();
        let mut steps: Vec<Box<dyn parquet::arrow::arrow_reader::ArrowPredicate>> = Vec::new();
        for column in predicate.columns() {
            let position = self
                .metadata
                .schema()
                .index_of(column)
                .map_err(BenchError::format(self.name, "filtering"))?;
            let terms = predicate.terms.iter().filter(|term| term.column == column).cloned().collect();
            let step = Predicate { terms };
            let mask = ProjectionMask::roots(schema, [position]);
            steps.push(Box::new(ArrowPredicateFn::new(
                mask,
                move |batch: RecordBatch| -> std::result::Result<BooleanArray, _> { step.evaluate(&batch) },
            )));
        }
        Ok(RowFilter::new(steps))
    }

    fn scan_group(&self, request: &Request, group: usize, sink: &Sink<'_>) -> Result<()> {
        let mut builder = self.builder(request)?.with_row_groups(vec![group]);
        let late = request.predicate.as_ref().filter(|_| self.tuned);
        if let Some(predicate) = late {
            if let Some(selection) = self.pages(predicate, group)? {
                builder = builder.with_row_selection(selection);
            }
            builder = builder.with_row_filter(self.row_filter(predicate)?);
        }
        let after = request.predicate.as_ref().filter(|_| !self.tuned);
        for batch in builder.build().map_err(self.fail("reading"))? {
            let mut batch = batch.map_err(BenchError::format(self.name, "reading"))?;
            if let Some(predicate) = after {
                batch = predicate.filter(&batch).map_err(BenchError::format(self.name, "filtering"))?;
                let wanted = request.positions(&batch.schema())?;
                batch = batch.project(&wanted).map_err(BenchError::format(self.name, "projecting"))?;
            }
            if batch.num_rows() > 0 {
                sink(batch)?;
            }
        }
        Ok(())
    }

    /// Reads single rows: only row groups that hold some, and in them a selection.
    fn take(&self, request: &Request, rows: &[u64], sink: &Sink<'_>) -> Result<()> {
        let mut groups = Vec::new();
        let mut selectors = Vec::new();
        let mut first = 0_u64;
        for (number, group) in self.metadata.metadata().row_groups().iter().enumerate() {
            let next = first + group.num_rows().max(0) as u64;
            let wanted =
                &rows[rows.partition_point(|row| *row < first)..rows.partition_point(|row| *row < next)];
            if !wanted.is_empty() {
                groups.push(number);
                let mut at = first;
                for row in wanted {
                    selectors.push(RowSelector::skip((row - at) as usize));
                    selectors.push(RowSelector::select(1));
                    at = row + 1;
                }
                selectors.push(RowSelector::skip((next - at) as usize));
            }
            first = next;
        }
        let selection: RowSelection = selectors.into();
        let reader = self
            .builder(request)?
            .with_row_groups(groups)
            .with_row_selection(selection)
            .build()
            .map_err(self.fail("reading rows"))?;
        for batch in reader {
            sink(batch.map_err(BenchError::format(self.name, "reading rows"))?)?;
        }
        Ok(())
    }
}

impl<S: Source> OpenedFile for Opened<S> {
    fn schema(&self) -> SchemaRef {
        self.metadata.schema().clone()
    }

    fn scan(&self, request: &Request, sink: &Sink<'_>) -> Result<()> {
        if let Some(rows) = &request.rows {
            return self.take(request, rows, sink);
        }
        let groups = self.groups(request.predicate.as_ref())?;
        let next = AtomicUsize::new(0);
        in_parallel(self.cores.min(groups.len()).max(1), || {
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.scan_group(request, *group, sink)?;
            }
            Ok(())
        })
    }
}
