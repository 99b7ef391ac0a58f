//! What a scan of a file reads: columns, predicate, units left after pruning by statistics.

use std::ops::Range;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use deltalite_alloc::BufferPool;

use super::meta::{ChunkMeta, ColumnMeta, FileMeta};
use super::read_type;
use crate::bloom::BloomView;
use crate::error::{FormatError, Result};
use crate::limits::ZONE_ROWS;
use crate::mask::BitMask;
use crate::predicate::{BoundPredicate, Predicate, Pruned, bind};
use crate::split::SplitSpec;

/// Rows of a batch unless asked otherwise: with ~200 bytes a row its columns stay in the caches of a core while the consumer
/// looks at them.
pub const BATCH_ROWS_DEFAULT: usize = 16_384;

/// What to read.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Columns by name, in the order wanted; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Rows wanted.
    pub predicate: Option<Predicate>,
    /// Most rows of a batch, 1 to 65,536.
    pub batch_rows: usize,
    /// Where decoded values go.
    pub pool: BufferPool,
    /// Whether statistics and bloom filters may skip what can't match. On; off only to measure and to test.
    pub pruning: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            columns: None,
            predicate: None,
            batch_rows: BATCH_ROWS_DEFAULT,
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
    pub(crate) options: ScanOptions,
}

impl ScanPlan {
    /// Resolves columns and predicate against the file.
    ///
    /// # Errors
    /// For unknown columns, literals that don't fit their column, a batch size out of range, or damaged metadata.
    pub fn new(meta: Arc<FileMeta>, options: ScanOptions) -> Result<Self> {
        if options.batch_rows == 0 || options.batch_rows > crate::limits::UNIT_ROWS_MAX {
            return Err(FormatError::invalid(
                "scan",
                format!("batch_rows is {}, must be 1 to 65,536", options.batch_rows),
            ));
        }
        let mut columns = match &options.columns {
            Some(names) => names.iter().map(|n| meta.column_by_name(n)).collect::<Result<Vec<_>>>()?,
            None => (0..meta.column_count()).map(|i| meta.column(i)).collect::<Result<Vec<_>>>()?,
        };
        let projected = columns.len();
        if let Some(predicate) = &options.predicate {
            for name in predicate.columns() {
                if !columns.iter().any(|c| *c.field.name() == name) {
                    columns.push(meta.column_by_name(&name)?);
                }
            }
        }
        let read_fields: Vec<Field> = columns
            .iter()
            .map(|c| {
                Field::new(c.field.name(), read_type(c.field.data_type()), c.field.is_nullable())
                    .with_metadata(c.field.metadata().clone())
            })
            .collect();
        let predicate = match &options.predicate {
            // The predicate may name a column that is projected twice; binding needs each once.
            Some(p) => Some(bind(p, &Schema::new(read_fields.clone()))?),
            None => None,
        };
        let schema = Arc::new(Schema::new(read_fields[..projected].to_vec()));
        Ok(Self { meta, columns, projected, schema, predicate, options })
    }

    /// The batches' schema: the projected fields, strings as views, dictionaries as their values.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
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
        let verdict =
            predicate.prune(|column| self.leaf_chunk(column, block)?.stats(), |column| *blooms.get(column)?);
        Ok(verdict == Pruned::None)
    }

    /// The chunk of a leaf column in a block.
    fn leaf_chunk(&self, column: usize, block: u32) -> Option<&ChunkMeta> {
        let column = self.columns.get(column)?;
        column.chunk(column.shape.leaf()?.0, block)
    }

    fn unit_verdict(&self, predicate: &BoundPredicate, task: &UnitTask) -> Pruned {
        predicate.prune(|column| self.leaf_chunk(column, task.block)?.unit_stats(task.unit), |_| None)
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
                    |column| self.leaf_chunk(column, task.block)?.zone(task.unit, zone as u32).copied(),
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

    /// Rows of a unit.
    pub(crate) fn unit_rows(&self, task: &UnitTask) -> usize {
        let block = &self.meta.blocks()[task.block as usize];
        block.unit_rows.min(block.rows - task.unit * block.unit_rows) as usize
    }
}
