//! Single rows by number: which pages hold them, and one batch in the order asked for.
//!
//! A row of a column touches one page and, inside it, one vector. Rows are sorted once; each column appends them page by page
//! into one array, whatever blocks they come from.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow_buffer::Buffer;

use super::leaf::{LeafBuilder, PageDecoder};
use super::meta::{ColumnMeta, PageRef};
use super::plan::{ScanPlan, UnitTask};
use super::unit::{Step, UnitScan, open_dictionary};
use crate::encoding::DecodeContext;
use crate::encoding::dictionary::ChunkDictionary;
use crate::error::{FormatError, Result};
use crate::kernels::prefetch::prefetch;

/// Rows wanted, resolved to pages.
#[derive(Debug)]
pub struct TakePlan {
    plan: Arc<ScanPlan>,
    /// Rows wanted, ascending and distinct.
    sorted: Vec<u64>,
    /// For each row asked for, its position in `sorted`; absent when the request was ascending and distinct.
    order: Option<Vec<u32>>,
    /// Runs of `sorted` in one unit.
    units: Vec<UnitRun>,
}

#[derive(Debug)]
struct UnitRun {
    block: u32,
    unit: u32,
    /// The file's row at which the unit starts.
    first_row: u64,
    rows: Range<usize>,
}

impl TakePlan {
    /// Resolves rows of the file (the plan's predicate is not applied, and deleted rows are not left out).
    ///
    /// # Errors
    /// When a row is beyond the file's end.
    pub fn new(plan: Arc<ScanPlan>, rows: &[u64]) -> Result<Self> {
        let ascending = rows.windows(2).all(|w| w[0] < w[1]);
        let (sorted, order) = if ascending {
            (rows.to_vec(), None)
        } else {
            let mut sorted = rows.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            let order = rows.iter().map(|r| sorted.partition_point(|s| s < r) as u32).collect();
            (sorted, Some(order))
        };
        let mut units: Vec<UnitRun> = Vec::new();
        let blocks = plan.meta.blocks();
        if let Some(&last) = sorted.last().filter(|&&r| r >= plan.meta.rows()) {
            return Err(FormatError::invalid(
                "taking rows",
                format!("row {last} is beyond the file's {} rows", plan.meta.rows()),
            ));
        }
        let mut at = 0;
        while at < sorted.len() {
            let block = blocks.partition_point(|b| b.first_row <= sorted[at]) - 1;
            let b = &blocks[block];
            let unit = ((sorted[at] - b.first_row) / u64::from(b.unit_rows)) as u32;
            let first_row = b.first_row + u64::from(unit) * u64::from(b.unit_rows);
            let end_row = (first_row + u64::from(b.unit_rows)).min(b.first_row + u64::from(b.rows));
            let end = at + sorted[at..].partition_point(|&r| r < end_row);
            units.push(UnitRun { block: block as u32, unit, first_row, rows: at..end });
            at = end;
        }
        Ok(Self { plan, sorted, order, units })
    }

    /// Number of rows asked for.
    pub fn len(&self) -> usize {
        self.order.as_ref().map_or(self.sorted.len(), Vec::len)
    }

    /// Whether no row was asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pages by offset: given in ascending order mostly, and looked for again and again.
#[derive(Debug, Default)]
struct PagesGiven(Vec<(u64, Buffer)>);

impl PagesGiven {
    fn insert(&mut self, offset: u64, bytes: Buffer) {
        let at = match self.0.last() {
            Some((last, _)) if *last >= offset => self.0.partition_point(|(o, _)| *o < offset),
            _ => self.0.len(),
        };
        match self.0.get_mut(at) {
            Some((o, known)) if *o == offset => *known = bytes,
            _ => self.0.insert(at, (offset, bytes)),
        }
    }

    fn get(&self, offset: u64) -> Option<&Buffer> {
        let at = self.0.binary_search_by_key(&offset, |(o, _)| *o).ok()?;
        self.0.get(at).map(|(_, bytes)| bytes)
    }
}

/// Takes the rows of a [`TakePlan`]: says which pages it needs, is given them, yields one batch.
#[derive(Debug)]
pub struct TakeScan {
    plan: TakePlan,
    /// Pages given, by offset.
    pages: PagesGiven,
    asked: bool,
    done: bool,
}

impl TakeScan {
    /// A take of these rows.
    pub fn new(plan: TakePlan) -> Self {
        Self { plan, pages: PagesGiven::default(), asked: false, done: false }
    }

    /// Gives a page asked for. Its bytes must start at a multiple of 64 and have been verified.
    pub fn provide(&mut self, page: &PageRef, bytes: Buffer) {
        // Pages of single rows lie all over the memory: their heads are on the way while the others are still being given.
        prefetch(&bytes);
        self.pages.insert(page.offset, bytes);
    }

    /// The pages needed, then the batch, then the end.
    ///
    /// # Errors
    /// When a page is damaged or missing, or memory can't be had.
    pub fn step(&mut self) -> Result<Step> {
        if self.done {
            return Ok(Step::Done);
        }
        if !self.asked {
            self.asked = true;
            let pages = self.needed();
            if !pages.is_empty() {
                return Ok(Step::NeedsData(pages));
            }
        }
        self.done = true;
        let batch = self.batch().map_err(|e| e.with_place(Some(self.plan.plan.meta.file()), 0))?;
        Ok(Step::Batch(batch))
    }

    fn needed(&self) -> Vec<PageRef> {
        let mut out = Vec::new();
        let scan = &self.plan.plan;
        for column in &scan.columns[..scan.projected] {
            for run in &self.plan.units {
                for stream in 0..column.shape.streams.len() {
                    let Some(chunk) = column.chunk(stream, run.block) else { continue };
                    out.extend(chunk.dictionary.filter(|d| scan.meta.cached_dictionary(d.offset).is_none()));
                    let pages = chunk.unit(run.unit);
                    if column.shape.leaf().is_none() {
                        out.extend_from_slice(pages);
                        continue;
                    }
                    self.for_pages(run, pages, |page, _| out.push(*page));
                }
            }
        }
        out.sort_unstable_by_key(|p| p.offset);
        out.dedup();
        out
    }

    /// Calls `f(page, rows in the page)` for each page of a run that holds rows wanted.
    fn for_pages(&self, run: &UnitRun, pages: &[PageRef], mut f: impl FnMut(&PageRef, Range<usize>)) {
        let mut row = run.first_row;
        let mut at = run.rows.start;
        for page in pages {
            let end_row = row + u64::from(page.values);
            let end = at + self.plan.sorted[at..run.rows.end].partition_point(|&r| r < end_row);
            if end > at {
                f(page, at..end);
            }
            at = end;
            row = end_row;
        }
    }

    fn batch(&mut self) -> Result<RecordBatch> {
        let scan = self.plan.plan.clone();
        let mut arrays = Vec::with_capacity(scan.projected);
        for (slot, column) in scan.columns[..scan.projected].iter().enumerate() {
            let array =
                if column.shape.leaf().is_some() { self.leaf(slot, column)? } else { self.nested(slot)? };
            arrays.push(match &self.plan.order {
                None => array,
                Some(order) => {
                    arrow_select::take::take(array.as_ref(), &UInt32Array::from(order.clone()), None)?
                }
            });
        }
        let numbers = scan.options.row_numbers.is_some().then(|| {
            let sorted = &self.plan.sorted;
            Arc::new(match &self.plan.order {
                None => UInt64Array::from(sorted.clone()),
                Some(order) => UInt64Array::from_iter_values(order.iter().map(|at| sorted[*at as usize])),
            }) as ArrayRef
        });
        scan.batch(arrays, self.plan.len(), numbers)
    }

    fn leaf(&self, slot: usize, column: &ColumnMeta) -> Result<ArrayRef> {
        let scan = &self.plan.plan;
        let spec = column.shape.streams[0];
        let mut builder =
            LeafBuilder::new(scan.decoded_type(slot), spec, self.plan.sorted.len(), &scan.options.pool);
        let dictionaries = self.plan.units.iter().map(|run| self.dictionary(column, run.block));
        let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
        let mut rows: Vec<u32> = Vec::with_capacity(self.plan.sorted.len());
        let mut opened: Vec<(u64, PageDecoder<'_>, Range<usize>)> =
            Vec::with_capacity(self.plan.units.len() + 1);
        // Pages lie all over the memory: all are opened, and what their rows need is asked for, before the first is decoded.
        for (run, dictionary) in self.plan.units.iter().zip(&dictionaries) {
            let Some(chunk) = column.chunk(0, run.block) else { continue };
            let cx = DecodeContext {
                dictionary: dictionary.as_deref(),
                pool: &scan.options.pool,
                utf8: spec.utf8,
            };
            let mut row = run.first_row;
            let mut at = run.rows.start;
            for page in chunk.unit(run.unit) {
                let end_row = row + u64::from(page.values);
                let end = at + self.plan.sorted[at..run.rows.end].partition_point(|&r| r < end_row);
                if end > at {
                    let bytes = self.pages.get(page.offset).ok_or_else(|| {
                        FormatError::invalid(
                            "taking rows",
                            format!("the page at byte {} was not provided", page.offset),
                        )
                    })?;
                    let decoder = PageDecoder::open(bytes, &spec, page.values as usize, cx)
                        .map_err(|e| e.with_place(None, page.offset))?;
                    let from = rows.len();
                    rows.extend(self.plan.sorted[at..end].iter().map(|r| (r - row) as u32));
                    decoder.prefetch(rows[from] as usize);
                    opened.push((page.offset, decoder, from..rows.len()));
                }
                at = end;
                row = end_row;
            }
        }
        for (offset, decoder, wanted) in opened {
            builder.append_rows(&decoder, &rows[wanted]).map_err(|e| e.with_place(None, offset))?;
        }
        builder.finish()
    }

    /// The dictionary that the pages of a column share in a block.
    fn dictionary(&self, column: &ColumnMeta, block: u32) -> Result<Option<Arc<ChunkDictionary>>> {
        let spec = column.shape.streams[0];
        let page = column.chunk(0, block).and_then(|chunk| chunk.dictionary);
        page.map(|d| open_dictionary(&self.plan.plan, &d, spec.ptype, spec.utf8, self.pages.get(d.offset)))
            .transpose()
    }

    /// A nested column: its units are decoded whole, then cut to the rows wanted.
    fn nested(&self, slot: usize) -> Result<ArrayRef> {
        let scan = &self.plan.plan;
        let mut parts: Vec<ArrayRef> = Vec::new();
        for run in &self.plan.units {
            let task = UnitTask { block: run.block, unit: run.unit, start: 0, end: u32::MAX };
            let array = UnitScan::nested_column(scan, task, slot, &self.pages.0)?;
            let rows: UInt32Array =
                self.plan.sorted[run.rows.clone()].iter().map(|r| (r - run.first_row) as u32).collect();
            parts.push(arrow_select::take::take(array.as_ref(), &rows, None)?);
        }
        if parts.is_empty() {
            return Ok(arrow_array::new_empty_array(&super::read_type(scan.columns[slot].field.data_type())));
        }
        let parts: Vec<&dyn arrow_array::Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(arrow_select::concat::concat(&parts)?)
    }
}
