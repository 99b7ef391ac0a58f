//! Splits: ranges of a file that can be read independently.

use std::ops::Range;

use crate::layout::BlockEntry;
use crate::reader::FileMeta;

/// A range of a file. It owns a block iff the block's header starts in `start..end`, so any set of ranges that covers a file
/// without overlap yields every row exactly once, wherever its borders lie.
///
/// A split may also take only some rows of the blocks it owns (a block cut finer, at rows of pages).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitSpec {
    /// The file, as its reader knows it.
    pub file: String,
    /// First byte of the range.
    pub start: u64,
    /// Byte after the range.
    pub end: u64,
    /// The file's rows wanted of the blocks owned; all when absent.
    pub rows: Option<Range<u64>>,
}

impl SplitSpec {
    /// The whole file.
    pub fn whole(file: impl Into<String>) -> Self {
        Self { file: file.into(), start: 0, end: u64::MAX, rows: None }
    }

    /// Whether the block whose header starts at `offset` belongs to this split.
    pub fn owns(&self, offset: u64) -> bool {
        (self.start..self.end).contains(&offset)
    }

    /// The rows wanted of a block that is owned, counted in the block.
    pub(crate) fn rows_of_block(&self, block: &BlockEntry) -> Range<u32> {
        match &self.rows {
            None => 0..block.rows,
            Some(rows) => {
                let cut = |row: u64| row.saturating_sub(block.first_row).min(u64::from(block.rows)) as u32;
                cut(rows.start)..cut(rows.end)
            }
        }
    }
}

/// Cuts a file into splits of about `target_bytes`, at borders of blocks, or of units inside blocks larger than that.
///
/// Together they yield every row exactly once.
pub fn plan_splits(meta: &FileMeta, target_bytes: u64) -> Vec<SplitSpec> {
    let target = target_bytes.max(1);
    let file = meta.file().to_string();
    let mut splits: Vec<SplitSpec> = Vec::new();
    let mut open: Option<(u64, u64)> = None;
    let close = |open: &mut Option<(u64, u64)>, splits: &mut Vec<SplitSpec>| {
        if let Some((start, end)) = open.take() {
            splits.push(SplitSpec { file: file.clone(), start, end, rows: None });
        }
    };
    for block in meta.blocks() {
        let end = block.offset + block.length;
        if block.length >= target.saturating_mul(2) {
            close(&mut open, &mut splits);
            let units = u64::from(block.rows.div_ceil(block.unit_rows));
            let parts = (block.length / target).min(units).max(1);
            for part in 0..parts {
                let row = |p: u64| {
                    block.first_row
                        + (units * p / parts * u64::from(block.unit_rows)).min(u64::from(block.rows))
                };
                splits.push(SplitSpec {
                    file: file.clone(),
                    start: block.offset,
                    end,
                    rows: Some(row(part)..row(part + 1)),
                });
            }
            continue;
        }
        if open.is_some_and(|(start, _)| end - start > target) {
            close(&mut open, &mut splits);
        }
        open = Some((open.map_or(block.offset, |o| o.0), end));
    }
    close(&mut open, &mut splits);
    splits
}
