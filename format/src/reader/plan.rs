//! What a scan of a file reads: columns, predicate, units left after pruning by statistics.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use deltalite_alloc::BufferPool;
use roaring::RoaringTreemap;

use super::evolution::{Evolution, Source};
use super::meta::{ChunkMeta, ColumnMeta, FileMeta};
use super::read_type;
use crate::bloom::BloomView;
use crate::error::{FormatError, Result};
use crate::limits::{UNIT_ROWS_MAX, UNSCALED_DIGITS_MAX, ZONE_ROWS};
use crate::mask::BitMask;
use crate::predicate::{BoundPredicate, Predicate, Pruned, bind, nearest_name};
use crate::schema::convert::Conversion;
use crate::schema::evolve::EvolvedSchema;
use crate::split::SplitSpec;
use crate::stats::{ZoneStats, zone_stats};

/// Rows of a batch unless asked otherwise: with ~200 bytes a row its columns stay in the caches of a core while the consumer
/// looks at them.
pub const BATCH_ROWS_DEFAULT: usize = 16_384;

/// What decimals are unscaled.
static UNSCALED: DataType = DataType::Int64;

/// What to read.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Columns by name, in the order wanted; `None` for all.
    pub columns: Option<Vec<String>>,
    /// The schema to read under, where it has changed since the file was written; columns and predicate then go by its names.
    /// `None` for the file's own.
    pub schema: Option<Arc<EvolvedSchema>>,
    /// Rows wanted.
    pub predicate: Option<Predicate>,
    /// Rows not to be read, by number in the file: a table's deletion vector.
    pub deleted: Option<Arc<RoaringTreemap>>,
    /// Yield each row's number in the file, counted from 0, as a last column of this name, of type UInt64.
    pub row_numbers: Option<String>,
    /// Columns of decimals to be yielded unscaled: as the whole numbers that they are stored as, of type Int64. Who adds up many of them moves half
    /// the bytes. Decimals of more than [`UNSCALED_DIGITS_MAX`] digits, and what the file has in another type, are yielded as without this; other columns are not affected.
    pub unscaled: Vec<String>,
    /// Most rows of a batch, 1 to 65,536. `None`: [`BATCH_ROWS_DEFAULT`], which stay in a core's cache, where anything is
    /// decoded, and 65,536 where all values are handed out in the buffers they were read into.
    pub batch_rows: Option<usize>,
    /// Where decoded values go.
    pub pool: BufferPool,
    /// Whether statistics and bloom filters may skip what can't match. On; off only to measure and to test.
    pub pruning: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            columns: None,
            schema: None,
            predicate: None,
            deleted: None,
            row_numbers: None,
            unscaled: Vec::new(),
            batch_rows: None,
            pool: BufferPool::global().clone(),
            pruning: true,
        }
    }
}

/// A unit of a block, or some of its rows, to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitTask {
    /// The block.
    pub block: u32,
    /// The unit in the block.
    pub unit: u32,
    /// First row wanted, counted in the unit.
    pub start: u32,
    /// Row after the last wanted, counted in the unit.
    pub end: u32,
}

/// What pruning left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneCounts {
    /// Blocks looked at.
    pub blocks: u64,
    /// Blocks that statistics ruled out whole.
    pub blocks_pruned: u64,
    /// Blocks that bloom filters ruled out.
    pub blocks_bloomed: u64,
    /// Units of the other blocks.
    pub units: u64,
    /// Units that statistics ruled out.
    pub units_pruned: u64,
}

impl PruneCounts {
    /// Adds another file's counts.
    pub fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.blocks_pruned += other.blocks_pruned;
        self.blocks_bloomed += other.blocks_bloomed;
        self.units += other.units;
        self.units_pruned += other.units_pruned;
    }
}

/// A scan of one file, resolved: every unit scan of it shares this.
#[derive(Debug)]
pub struct ScanPlan {
    pub(crate) meta: Arc<FileMeta>,
    /// Projected columns, then those that only the predicate needs.
    pub(crate) columns: Vec<Arc<ColumnMeta>>,
    pub(crate) projected: usize,
    pub(crate) schema: SchemaRef,
    pub(crate) predicate: Option<BoundPredicate>,
    /// Of each stored column, whether it is yielded unscaled.
    unscaled: Vec<bool>,
    /// Set when the file is read under another schema; the predicate is bound to its columns.
    pub(crate) evolution: Option<Evolution>,
    pub(crate) options: ScanOptions,
}

impl ScanPlan {
    /// Resolves columns and predicate against the file.
    ///
    /// # Errors
    /// For unknown columns, literals that don't fit their column, a batch size out of range, or damaged metadata.
    pub fn new(meta: Arc<FileMeta>, options: ScanOptions) -> Result<Self> {
        if let Some(rows) = options.batch_rows
            && (rows == 0 || rows > UNIT_ROWS_MAX)
        {
            return Err(FormatError::invalid("scan", format!("batch_rows is {rows}, must be 1 to 65,536")));
        }
        let resolved = match &options.schema {
            Some(schema) => Resolved::evolved(&meta, schema, &options)?,
            None => Resolved::as_written(&meta, &options)?,
        };
        let Resolved { columns, projected, fields, yielded, evolution } = resolved;
        let predicate = match &options.predicate {
            // The predicate may name a column that is projected twice; binding takes the first.
            Some(p) => Some(bind(p, &Schema::new(fields.clone()))?),
            None => None,
        };
        let mut yields = fields[..yielded].to_vec();
        let mut unscaled = vec![false; columns.len()];
        for (at, field) in yields.iter_mut().enumerate().filter(|(_, f)| options.unscaled.contains(f.name()))
        {
            let slot = match &evolution {
                None => Some(at),
                Some(evolution) => match &evolution.sources[at] {
                    Source::Stored(slot, Conversion::Keep) => Some(*slot),
                    _ => None,
                },
            };
            let short = |data_type: &DataType| match data_type {
                DataType::Decimal128(1..=UNSCALED_DIGITS_MAX, scale) => Some(*scale),
                _ => None,
            };
            if let Some(slot) = slot
                && let Some(scale) = short(field.data_type())
                && short(columns[slot].field.data_type()) == Some(scale)
            {
                unscaled[slot] = true;
                *field = Arc::new(field.as_ref().clone().with_data_type(DataType::Int64));
            }
        }
        yields.extend(options.row_numbers.iter().map(|n| Arc::new(Field::new(n, DataType::UInt64, false))));
        let schema = Arc::new(Schema::new(yields));
        Ok(Self { meta, columns, projected, schema, predicate, unscaled, evolution, options })
    }

    /// The batches' schema: the projected fields, strings as views, dictionaries as their values.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The type that a stored column is decoded as, before it is read under another schema.
    pub(crate) fn decoded_type(&self, slot: usize) -> &DataType {
        if self.unscaled[slot] { &UNSCALED } else { self.columns[slot].field.data_type() }
    }

    /// The file.
    pub fn meta(&self) -> &Arc<FileMeta> {
        &self.meta
    }

    /// The projected columns, then those that only the predicate needs.
    pub fn columns(&self) -> &[Arc<ColumnMeta>] {
        &self.columns
    }

    /// Number of projected columns.
    pub fn projected(&self) -> usize {
        self.projected
    }

    /// Where a column of the predicate comes from.
    pub(crate) fn predicate_source(&self, column: usize) -> Option<Source> {
        match &self.evolution {
            None => (column < self.columns.len()).then_some(Source::Stored(column, Conversion::Keep)),
            Some(evolution) => evolution.sources.get(column).cloned(),
        }
    }

    /// The stored columns that the predicate reads, as positions in [`ScanPlan::columns`].
    pub(crate) fn predicate_slots(&self) -> Vec<usize> {
        let columns = self.predicate.as_ref().map(BoundPredicate::column_indices).unwrap_or_default();
        let mut slots: Vec<usize> = columns
            .into_iter()
            .filter_map(|c| match self.predicate_source(c)? {
                Source::Stored(slot, _) => Some(slot),
                Source::Constant(_) => None,
            })
            .collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// A batch of the plan's schema from the arrays of the projected stored columns, and the rows' numbers where they are wanted.
    pub(crate) fn batch(
        &self,
        stored: Vec<ArrayRef>,
        rows: usize,
        numbers: Option<ArrayRef>,
    ) -> Result<RecordBatch> {
        let yielded = self.schema.fields().len() - usize::from(numbers.is_some());
        let mut arrays = match &self.evolution {
            None => stored,
            Some(evolution) => evolution.project(&stored, yielded, rows)?,
        };
        arrays.extend(numbers);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }

    /// The options the plan was made with.
    pub fn options(&self) -> &ScanOptions {
        &self.options
    }

    /// Units to read, in order of rows, of the blocks that `split` owns (all without), after pruning.
    ///
    /// # Errors
    /// When a bloom filter that is needed is damaged.
    pub fn units(&self, split: Option<&SplitSpec>) -> Result<(Vec<UnitTask>, PruneCounts)> {
        let mut tasks = Vec::new();
        let mut counts = PruneCounts::default();
        for (i, block) in self.meta.blocks().iter().enumerate() {
            if split.is_some_and(|s| !s.owns(block.offset)) {
                continue;
            }
            let rows = split.map_or(0..block.rows, |s| s.rows_of_block(block));
            self.block_units(i as u32, rows, &mut tasks, &mut counts)?;
        }
        Ok((tasks, counts))
    }

    fn block_units(
        &self,
        index: u32,
        rows: Range<u32>,
        tasks: &mut Vec<UnitTask>,
        counts: &mut PruneCounts,
    ) -> Result<()> {
        let block = &self.meta.blocks()[index as usize];
        counts.blocks += 1;
        let units = block.rows.div_ceil(block.unit_rows);
        let wanted: Vec<UnitTask> = (0..units)
            .filter_map(|unit| {
                let first = unit * block.unit_rows;
                let end = (first + block.unit_rows).min(block.rows);
                let (start, stop) = (rows.start.max(first), rows.end.min(end));
                (start < stop).then(|| UnitTask {
                    block: index,
                    unit,
                    start: start - first,
                    end: stop - first,
                })
            })
            .collect();
        let Some(predicate) = self.predicate.as_ref().filter(|_| self.options.pruning) else {
            counts.units += wanted.len() as u64;
            tasks.extend(wanted);
            return Ok(());
        };
        let kept: Vec<UnitTask> =
            wanted.iter().copied().filter(|t| self.unit_verdict(predicate, t) != Pruned::None).collect();
        if kept.is_empty() {
            counts.blocks_pruned += 1;
            return Ok(());
        }
        if self.bloomed_out(predicate, index)? {
            counts.blocks_bloomed += 1;
            return Ok(());
        }
        counts.units += wanted.len() as u64;
        counts.units_pruned += (wanted.len() - kept.len()) as u64;
        tasks.extend(kept);
        Ok(())
    }

    fn bloomed_out(&self, predicate: &BoundPredicate, block: u32) -> Result<bool> {
        if self.columns.iter().all(|c| c.entry.bloom_len == 0) {
            return Ok(false);
        }
        let bytes = self.columns.iter().map(|c| self.meta.bloom(c, block)).collect::<Result<Vec<_>>>()?;
        let blooms =
            bytes.iter().map(|b| b.as_deref().map(BloomView::new).transpose()).collect::<Result<Vec<_>>>()?;
        let verdict = predicate.prune(
            |column| self.leaf_stats(column, block, ChunkMeta::stats),
            |column| match self.predicate_source(column)? {
                Source::Stored(slot, conversion) if conversion.keeps_hashes() => *blooms.get(slot)?,
                _ => None,
            },
        );
        Ok(verdict == Pruned::None)
    }

    /// What is known of a leaf column of the predicate in a block, or in the part of it that `of` picks.
    fn leaf_stats(
        &self,
        column: usize,
        block: u32,
        of: impl FnOnce(&ChunkMeta) -> Option<ZoneStats>,
    ) -> Option<ZoneStats> {
        if self.evolution.is_none() {
            let column = self.columns.get(column)?;
            return of(column.chunk(column.shape.leaf()?.0, block)?);
        }
        match self.predicate_source(column)? {
            Source::Stored(slot, conversion) => {
                let column = self.columns.get(slot)?;
                conversion.stats(&of(column.chunk(column.shape.leaf()?.0, block)?)?)
            }
            Source::Constant(one) => zone_stats(one.as_ref(), 1).first().copied(),
        }
    }

    fn unit_verdict(&self, predicate: &BoundPredicate, task: &UnitTask) -> Pruned {
        predicate.prune(|column| self.leaf_stats(column, task.block, |c| c.unit_stats(task.unit)), |_| None)
    }

    /// Rows of a unit that the zones leave, and whether every one of them is known to match.
    pub(crate) fn zone_mask(
        &self,
        predicate: &BoundPredicate,
        task: &UnitTask,
        unit_rows: usize,
    ) -> (BitMask, bool) {
        let mut mask = BitMask::zeros(unit_rows);
        let mut known = true;
        for zone in 0..unit_rows.div_ceil(ZONE_ROWS) {
            let verdict = if self.options.pruning {
                predicate.prune(
                    |column| self.leaf_stats(column, task.block, |c| c.zone(task.unit, zone as u32).copied()),
                    |_| None,
                )
            } else {
                Pruned::Some
            };
            if verdict != Pruned::None {
                mask.fill(zone * ZONE_ROWS, ((zone + 1) * ZONE_ROWS).min(unit_rows), true);
                known &= verdict == Pruned::All;
            }
        }
        mask.fill(0, task.start as usize, false);
        mask.fill(task.end as usize, unit_rows, false);
        (mask, known)
    }

    /// Takes deleted rows out of a unit's mask.
    pub(crate) fn without_deleted(&self, task: &UnitTask, mask: &mut BitMask) {
        let Some(deleted) = &self.options.deleted else { return };
        let first = self.first_row(task);
        let (mut rows, end) = (deleted.iter(), first + mask.len() as u64);
        rows.advance_to(first);
        for row in rows.take_while(|row| *row < end).map(|row| (row - first) as usize) {
            mask.fill(row, row + 1, false);
        }
    }

    /// Number of a unit's first row in the file.
    pub(crate) fn first_row(&self, task: &UnitTask) -> u64 {
        let block = &self.meta.blocks()[task.block as usize];
        block.first_row + u64::from(task.unit) * u64::from(block.unit_rows)
    }

    /// Rows of a unit.
    pub(crate) fn unit_rows(&self, task: &UnitTask) -> usize {
        let block = &self.meta.blocks()[task.block as usize];
        block.unit_rows.min(block.rows - task.unit * block.unit_rows) as usize
    }
}

/// Columns found for a plan.
struct Resolved {
    /// Stored columns: those of the projection, then those that only the predicate needs.
    columns: Vec<Arc<ColumnMeta>>,
    /// Number of stored columns of the projection.
    projected: usize,
    /// Columns as they are read, those yielded first, then those that only the predicate needs.
    fields: Vec<FieldRef>,
    /// Number of columns yielded.
    yielded: usize,
    evolution: Option<Evolution>,
}

impl Resolved {
    fn as_written(meta: &FileMeta, options: &ScanOptions) -> Result<Self> {
        let mut columns = match &options.columns {
            Some(names) => names.iter().map(|n| meta.column_by_name(n)).collect::<Result<Vec<_>>>()?,
            None => (0..meta.column_count()).map(|i| meta.column(i)).collect::<Result<Vec<_>>>()?,
        };
        let projected = columns.len();
        for path in options.predicate.iter().flat_map(Predicate::columns) {
            let names = || columns_of_path(path);
            if !names().any(|name| columns.iter().any(|c| c.field.name() == name)) {
                let found = names().find_map(|name| meta.column_by_name(name).ok());
                columns.push(found.map_or_else(|| meta.column_by_name(path), Ok)?);
            }
        }
        let fields = columns
            .iter()
            .map(|c| {
                let field = Field::new(c.field.name(), read_type(c.field.data_type()), c.field.is_nullable());
                Arc::new(field.with_metadata(c.field.metadata().clone()))
            })
            .collect();
        Ok(Self { columns, projected, fields, yielded: projected, evolution: None })
    }

    fn evolved(meta: &FileMeta, schema: &EvolvedSchema, options: &ScanOptions) -> Result<Self> {
        let arrow = schema.arrow();
        let position = |name: &str| {
            arrow.fields().iter().position(|f| f.name() == name).ok_or_else(|| {
                let names = arrow.fields().iter().map(|f| f.name().as_str());
                let nearest = nearest_name(name, names).map(ToOwned::to_owned);
                FormatError::NoSuchColumn { name: name.to_owned(), nearest }
            })
        };
        let mut wanted = match &options.columns {
            Some(names) => names.iter().map(|n| position(n)).collect::<Result<Vec<_>>>()?,
            None => (0..arrow.fields().len()).collect(),
        };
        let yielded = wanted.len();
        let (_, projection) = Evolution::resolve(meta, schema, &wanted)?;
        for path in options.predicate.iter().flat_map(Predicate::columns) {
            let found = columns_of_path(path).find_map(|name| position(name).ok());
            let found = found.map_or_else(|| position(path), Ok)?;
            if !wanted.contains(&found) {
                wanted.push(found);
            }
        }
        let (evolution, stored) = Evolution::resolve(meta, schema, &wanted)?;
        Ok(Self {
            columns: stored.columns,
            projected: projection.columns.len(),
            fields: evolution.fields.clone(),
            yielded,
            evolution: Some(evolution),
        })
    }
}

/// The names that the column of a path may have, the longest first: a name that has dots itself comes before a struct's field.
fn columns_of_path(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |p| p.rsplit_once('.').map(|(head, _)| head))
}
