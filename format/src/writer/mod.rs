//! Writing a file: batches → units → pages → blocks → footer, front to back, into any [`std::io::Write`].
//!
//! * [`FileWriter`] – buffers rows until a unit is full, encodes its columns in parallel, closes blocks;
//! * `flatten` – a column's array to one leaf array a stream; `stream` – a stream's values to pages;
//! * `block` – a block's pages with header and directory; `footer` – everything after the last block.

mod block;
mod flatten;
mod footer;
mod stream;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use bytemuck::bytes_of;
use rayon::prelude::*;

use crate::bloom::BloomBuilder;
use crate::checksum::crc32c;
use crate::encoding::{EncodeOptions, Profile};
use crate::error::{FormatError, Place, Result};
use crate::layout::{BlockEntry, FileHeader, MAGIC, VERSION, crc_of};
use crate::limits::{BLOCK_BYTES_DEFAULT, BLOCK_ROWS_MAX, EXTENT_ALIGN, UNIT_ROWS_MAX, ZONE_ROWS};
use crate::meta::v1::{ChunkStatsV1, KeyValueV1, SchemaV1};
use crate::predicate::nearest_name;
use crate::schema::shape::ColumnShape;
use crate::schema::{FIELD_ID_KEY, SchemaDefinition, types};
use crate::stats::{BoundsBuilder, DistinctSketch, ZoneStats, zone_stats};

use block::BlockBuilder;
use stream::{EncodedPage, StreamEncoder};

/// Raw bytes of a unit that a block's `unit_rows` is chosen for: with a block's encoded bytes it bounds a writer's memory.
const UNIT_RAW_BYTES: usize = 32 << 20;

/// How a file is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Speed, size, or bytes as they are.
    pub profile: Profile,
    /// Encoded bytes after which a block is closed. Default 64 MiB.
    pub block_bytes: u64,
    /// Rows after which a block is closed, at most 1,048,576 (the default).
    pub block_rows: u64,
    /// Most rows of a unit, a power of two: finer splits and smaller steps of a scan, at the price of more pages. Default 65,536.
    pub unit_rows: usize,
    /// Threads that encode columns. Default 1.
    pub threads: usize,
    /// Columns (top level, leaf) that get a bloom filter a block.
    pub bloom_columns: Vec<String>,
    /// False-positive rate of bloom filters. Default 0.01.
    pub bloom_fpp: f64,
    /// Whether columns get a sketch of their number of distinct values. Default false.
    pub sketches: bool,
    /// Pairs to store in the footer.
    pub key_values: Vec<(String, String)>,
    /// Identity and sync marker instead of random ones, so that equal input gives equal bytes (golden files).
    pub identity: Option<([u8; 16], [u8; 16])>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            block_bytes: BLOCK_BYTES_DEFAULT,
            block_rows: BLOCK_ROWS_MAX,
            unit_rows: UNIT_ROWS_MAX,
            threads: 1,
            bloom_columns: Vec::new(),
            bloom_fpp: 0.01,
            sketches: false,
            key_values: Vec::new(),
            identity: None,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteSummary {
    /// Rows.
    pub rows: u64,
    /// Blocks.
    pub blocks: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// Identity of the file.
    pub uuid: [u8; 16],
}

/// One column of the file being written.
struct ColumnWriter {
    shape: ColumnShape,
    encoders: Vec<StreamEncoder>,
    /// Pages of the current block, by stream.
    pages: Vec<Vec<EncodedPage>>,
    /// Encoded zone statistics of the current block, by stream.
    zones: Vec<Vec<u8>>,
    bounds: BoundsBuilder,
    sketch: Option<DistinctSketch>,
    nulls: u64,
    nans: u64,
    bloom: Option<BloomBuilder>,
    /// Finished blocks, by stream.
    done: Vec<Vec<ChunkStatsV1>>,
    blooms: Vec<Vec<u8>>,
    encoded_bytes: u64,
}

impl ColumnWriter {
    fn encode_unit(&mut self, unit: u32, unit_rows: usize, array: &ArrayRef) -> Result<u64> {
        let mut bytes = 0;
        let leaves = flatten::flatten(&self.shape, array)?;
        for (i, values) in leaves.iter().enumerate() {
            let first = self.pages[i].len();
            self.encoders[i].encode_unit(unit, values, unit_rows, &mut self.pages[i])?;
            bytes += self.pages[i][first..].iter().map(|p| p.bytes.len() as u64).sum::<u64>();
            if self.shape.streams[i].stats {
                let zones = zone_stats(values.as_ref(), ZONE_ROWS);
                ZoneStats::write_all(&zones, &self.shape.types[i], &mut self.zones[i]);
                if self.shape.leaf().is_some() {
                    self.bounds.update(values.as_ref(), &zones, ZONE_ROWS);
                    self.nans += zones.iter().map(|z| u64::from(z.nans)).sum::<u64>();
                }
            }
        }
        self.nulls += array.logical_null_count() as u64;
        if self.shape.leaf().is_some()
            && let Some(values) = leaves.first()
        {
            if let Some(sketch) = &mut self.sketch {
                sketch.insert_array(values.as_ref());
            }
            if let Some(bloom) = &mut self.bloom {
                bloom.insert_array(values.as_ref());
            }
        }
        self.encoded_bytes += bytes;
        Ok(bytes)
    }
}

/// Writes a file into a sink, front to back; nothing is read back or written twice.
///
/// Memory: at most the raw rows of one unit beyond the batch given (≤ 64 MiB) and the encoded bytes of one block.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use deltalite_format::{FileWriter, WriterOptions};
///
/// let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
/// let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// let mut file = Vec::new();
/// let mut writer = FileWriter::new(&mut file, &batch.schema(), WriterOptions::default())?;
/// writer.write(&batch)?;
/// let summary = writer.finish()?;
/// assert_eq!((summary.rows, summary.bytes), (1000, file.len() as u64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileWriter<W: Write> {
    sink: W,
    position: u64,
    schema: SchemaDefinition,
    options: WriterOptions,
    uuid: [u8; 16],
    sync: [u8; 16],
    columns: Vec<ColumnWriter>,
    pool: Option<rayon::ThreadPool>,
    pending: VecDeque<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
    unit_rows: usize,
    units: u32,
    block_rows: u64,
    block_bytes: u64,
    blocks: Vec<BlockEntry>,
    rows: u64,
}

impl<W: Write> std::fmt::Debug for FileWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter")
            .field("rows", &self.rows)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl<W: Write> FileWriter<W> {
    /// Starts a file: writes its header with the schema.
    ///
    /// # Errors
    /// When a type can't be stored, an option is out of range, a bloom column doesn't exist, or the sink fails.
    pub fn new(sink: W, schema: &Schema, options: WriterOptions) -> Result<Self> {
        let definition = SchemaDefinition::assign_ids(schema)?;
        if options.block_rows == 0
            || options.block_rows > BLOCK_ROWS_MAX
            || options.block_bytes == 0
            || options.threads == 0
        {
            return Err(FormatError::invalid(
                "writer options",
                format!("block_rows must be 1 to {BLOCK_ROWS_MAX}, block_bytes and threads at least 1"),
            ));
        }
        if !options.unit_rows.is_power_of_two() || options.unit_rows > UNIT_ROWS_MAX {
            return Err(FormatError::invalid(
                "writer options",
                format!(
                    "unit_rows is {}, must be a power of two of at most {UNIT_ROWS_MAX}",
                    options.unit_rows
                ),
            ));
        }
        let encode = EncodeOptions { profile: options.profile };
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in definition.arrow().fields() {
            let shape = ColumnShape::of(field.data_type())?;
            let n = shape.streams.len();
            let bloom = options.bloom_columns.iter().any(|c| c == field.name());
            if bloom && shape.leaf().is_none() {
                return Err(FormatError::invalid(
                    "bloom filter",
                    format!("column {:?} is nested; only leaf columns can have one", field.name()),
                ));
            }
            columns.push(ColumnWriter {
                encoders: shape.streams.iter().map(|s| StreamEncoder::new(*s, encode)).collect(),
                pages: (0..n).map(|_| Vec::new()).collect(),
                zones: vec![Vec::new(); n],
                bounds: BoundsBuilder::default(),
                sketch: (options.sketches && shape.leaf().is_some()).then(DistinctSketch::new),
                nulls: 0,
                nans: 0,
                bloom: bloom.then(BloomBuilder::default),
                done: vec![Vec::new(); n],
                blooms: Vec::new(),
                encoded_bytes: 0,
                shape,
            });
        }
        if let Some(missing) = options.bloom_columns.iter().find(|c| schema.field_with_name(c).is_err()) {
            let nearest = nearest_name(missing, schema.fields().iter().map(|f| f.name().as_str()));
            let nearest = nearest.map(ToOwned::to_owned);
            return Err(FormatError::NoSuchColumn { name: missing.clone(), nearest });
        }
        let pool = if options.threads > 1 {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(options.threads)
                .thread_name(|i| format!("encode-{i}"))
                .build();
            Some(pool.map_err(|e| FormatError::invalid("starting encoder threads", e.to_string()))?)
        } else {
            None
        };
        let (uuid, sync) = options
            .identity
            .unwrap_or_else(|| (*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()));
        let mut writer = Self {
            sink,
            position: 0,
            schema: definition,
            options,
            uuid,
            sync,
            columns,
            pool,
            pending: VecDeque::new(),
            pending_rows: 0,
            pending_bytes: 0,
            unit_rows: UNIT_ROWS_MAX,
            units: 0,
            block_rows: 0,
            block_bytes: 0,
            blocks: Vec::new(),
            rows: 0,
        };
        writer.write_header()?;
        Ok(writer)
    }

    /// The schema with the ids that the file carries.
    pub fn schema(&self) -> &SchemaRef {
        self.schema.arrow()
    }

    /// Bytes written to the sink so far.
    pub fn bytes_written(&self) -> u64 {
        self.position
    }

    /// Rows given so far.
    pub fn rows(&self) -> u64 {
        self.rows + self.block_rows + self.pending_rows as u64
    }

    /// Adds rows. The batch's columns must have the names and types of the schema, in its order; other metadata may differ.
    ///
    /// # Errors
    /// When the batch does not fit the schema, a value can't be stored, or the sink fails; the file can't be finished then.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check_batch(batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.pending_rows += batch.num_rows();
        self.pending_bytes += raw_bytes(batch);
        self.pending.push_back(batch.clone());
        self.drain(false)
    }

    /// Writes what is buffered, the footer and the tail, and flushes the sink.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(self) -> Result<WriteSummary> {
        Ok(self.finish_into()?.0)
    }

    /// As [`FileWriter::finish`], and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish_into(mut self) -> Result<(WriteSummary, W)> {
        self.drain(true)?;
        self.close_block()?;
        footer::write(&mut self)?;
        self.sink.flush().map_err(|source| FormatError::Io { at: Place::at(self.position), source })?;
        let summary = WriteSummary {
            rows: self.rows,
            blocks: self.blocks.len() as u32,
            bytes: self.position,
            uuid: self.uuid,
        };
        Ok((summary, self.sink))
    }

    fn check_batch(&self, batch: &RecordBatch) -> Result<()> {
        let (ours, theirs) = (self.schema.arrow().fields(), batch.schema_ref().fields());
        if ours.len() != theirs.len() {
            return Err(FormatError::invalid(
                "writing a batch",
                format!("it has {} columns, the file {}", theirs.len(), ours.len()),
            ));
        }
        for ((a, b), column) in ours.iter().zip(theirs).zip(batch.columns()) {
            if a.name() != b.name() || !same_type(a.data_type(), b.data_type()) {
                return Err(FormatError::invalid(
                    "writing a batch",
                    format!(
                        "column {:?} of type {} where the file has {:?} of type {}",
                        b.name(),
                        b.data_type(),
                        a.name(),
                        a.data_type()
                    ),
                ));
            }
            if !a.is_nullable() && column.logical_null_count() > 0 {
                return Err(FormatError::invalid(
                    "writing a batch",
                    format!("column {:?} is not nullable but has nulls", a.name()),
                ));
            }
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink
            .write_all(bytes)
            .map_err(|source| FormatError::Io { at: Place::at(self.position), source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn pad_to(&mut self, align: u64) -> Result<()> {
        const ZEROS: [u8; EXTENT_ALIGN as usize] = [0; EXTENT_ALIGN as usize];
        let pad = self.position.next_multiple_of(align) - self.position;
        self.put(&ZEROS[..pad as usize])
    }

    fn write_header(&mut self) -> Result<()> {
        let schema = schema_section(self.schema.arrow())?;
        let mut header = FileHeader {
            magic: MAGIC,
            version: VERSION,
            schema_len: schema.len() as u32,
            compat: 0,
            read_compat: 0,
            incompat: 0,
            uuid: self.uuid,
            sync: self.sync,
            schema_crc: crc32c(&schema),
            reserved: [0; 48],
            crc: 0,
        };
        header.crc = crc_of(&header, 124);
        self.put(bytes_of(&header))?;
        self.put(&schema)?;
        self.pad_to(EXTENT_ALIGN)
    }

    /// Encodes every full unit that is pending; with `all`, the rest as well.
    fn drain(&mut self, all: bool) -> Result<()> {
        while self.pending_rows > 0 {
            if self.units == 0 {
                self.choose_unit_rows();
            }
            let room = (self.options.block_rows - self.block_rows).min(self.unit_rows as u64) as usize;
            if self.pending_rows >= room {
                self.encode_unit(room)?;
                // A short unit can only be a block's last.
                if room < self.unit_rows
                    || self.block_rows >= self.options.block_rows
                    || self.block_bytes >= self.options.block_bytes
                {
                    self.close_block()?;
                }
            } else if self.pending_bytes > 2 * UNIT_RAW_BYTES && self.units > 0 {
                // Rows became much longer than those this block's units were cut for.
                self.close_block()?;
            } else if all || self.pending_bytes > 2 * UNIT_RAW_BYTES {
                let rows = self.pending_rows;
                self.encode_unit(rows)?;
                self.close_block()?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn choose_unit_rows(&mut self) {
        let per_row = (self.pending_bytes / self.pending_rows.max(1)).max(1);
        let fit = (UNIT_RAW_BYTES / per_row).clamp(1, self.options.unit_rows);
        self.unit_rows = if fit.is_power_of_two() { fit } else { fit.next_power_of_two() / 2 };
    }

    /// Takes `rows` rows from the front of what is pending, as one array a column.
    fn take_pending(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        let mut parts = Vec::new();
        let mut left = rows;
        while left > 0 {
            let Some(batch) = self.pending.pop_front() else { break };
            if batch.num_rows() <= left {
                left -= batch.num_rows();
                parts.push(batch);
            } else {
                parts.push(batch.slice(0, left));
                self.pending.push_front(batch.slice(left, batch.num_rows() - left));
                left = 0;
            }
        }
        self.pending_bytes -= self.pending_bytes * rows / self.pending_rows.max(1);
        self.pending_rows -= rows;
        if let [only] = parts.as_slice() {
            return Ok(only.columns().to_vec());
        }
        (0..self.columns.len())
            .map(|c| {
                let arrays: Vec<&dyn Array> = parts.iter().map(|b| b.column(c).as_ref()).collect();
                Ok(arrow_select::concat::concat(&arrays)?)
            })
            .collect()
    }

    fn encode_unit(&mut self, rows: usize) -> Result<()> {
        let arrays = self.take_pending(rows)?;
        let (unit, unit_rows) = (self.units, self.unit_rows);
        let columns = &mut self.columns;
        let bytes: u64 = match &self.pool {
            Some(pool) => pool.install(|| {
                columns
                    .par_iter_mut()
                    .zip(arrays.par_iter())
                    .map(|(column, array)| column.encode_unit(unit, unit_rows, array))
                    .try_reduce(|| 0, |a, b| Ok(a + b))
            })?,
            None => columns
                .iter_mut()
                .zip(&arrays)
                .map(|(c, a)| c.encode_unit(unit, unit_rows, a))
                .sum::<Result<u64>>()?,
        };
        self.units += 1;
        self.block_rows += rows as u64;
        self.block_bytes += bytes;
        Ok(())
    }

    fn close_block(&mut self) -> Result<()> {
        if self.block_rows == 0 {
            return Ok(());
        }
        let entry = BlockBuilder {
            sync: self.sync,
            uuid: self.uuid,
            offset: self.position,
            previous: self.blocks.last().map_or(0, |b| b.offset),
            first_row: self.rows,
            rows: self.block_rows,
            ordinal: self.blocks.len() as u32,
            unit_rows: self.unit_rows as u32,
        }
        .write(self)?;
        self.blocks.push(entry);
        self.rows += self.block_rows;
        (self.units, self.block_rows, self.block_bytes) = (0, 0, 0);
        Ok(())
    }
}

/// The schema section's bytes.
pub(crate) fn schema_section(schema: &Schema) -> Result<Vec<u8>> {
    let mut fields = Vec::new();
    schema.fields().iter().try_for_each(|f| types::push_field(f, &mut fields))?;
    let mut metadata: Vec<KeyValueV1> =
        schema.metadata().iter().map(|(k, v)| KeyValueV1 { key: k.clone(), value: v.clone() }).collect();
    metadata.sort_by(|a, b| a.key.cmp(&b.key));
    archive(&SchemaV1 { fields, metadata })
}

/// Serialises an archived type.
pub(crate) fn archive<T>(value: &T) -> Result<Vec<u8>>
where
    T: for<'a> rkyv::Serialize<
            rkyv::api::high::HighSerializer<
                rkyv::util::AlignedVec,
                rkyv::ser::allocator::ArenaHandle<'a>,
                rkyv::rancor::Error,
            >,
        >,
{
    rkyv::to_bytes::<rkyv::rancor::Error>(value)
        .map(|b| b.to_vec())
        .map_err(|e| FormatError::invalid("serialising metadata", e.to_string()))
}

fn raw_bytes(batch: &RecordBatch) -> usize {
    batch
        .columns()
        .iter()
        .map(|c| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size()))
        .sum()
}

/// Whether two types are equal but for the metadata and names of nested fields' ids.
fn same_type(a: &arrow_schema::DataType, b: &arrow_schema::DataType) -> bool {
    fn strip(t: &arrow_schema::DataType) -> arrow_schema::DataType {
        crate::schema::map_children(t, &mut |f| {
            let mut metadata = f.metadata().clone();
            metadata.remove(FIELD_ID_KEY);
            Arc::new(f.as_ref().clone().with_data_type(strip(f.data_type())).with_metadata(metadata))
        })
    }
    a == b || a.is_nested() && strip(a).equals_datatype(&strip(b))
}
