//! Scanning one unit: says which pages it needs, is given them, yields batches.
//!
//! The pages of the predicate's columns come first; the mask they give decides which pages of the other columns are needed at
//! all, and whether those are decoded whole or row by row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow_buffer::{BooleanBuffer, Buffer};

use super::evolution::Source;
use super::leaf::{LeafBuilder, PageDecoder, ValueDecoder};
use super::meta::{ColumnMeta, PageRef};
use super::nested::assemble;
use super::plan::{BATCH_ROWS_DEFAULT, ScanPlan, UnitTask};
use super::stream::{OpenStream, StreamPages};
use crate::encoding::dictionary::ChunkDictionary;
use crate::error::{FormatError, Result};
use crate::limits::UNIT_ROWS_MAX;
use crate::mask::{BitMask, counts_of_vectors};
use crate::phys::PhysType;
use crate::predicate::{Leaf, LeafTest};
use crate::schema::convert::Conversion;

/// Selected rows per row scanned above which a column is decoded whole and filtered, instead of row by row.
const DENSE_SELECTIVITY: f64 = 0.3;

/// What a [`UnitScan`] wants or has.
#[derive(Debug)]
pub enum Step {
    /// These pages, through [`UnitScan::provide`], verified against their checksums.
    NeedsData(Vec<PageRef>),
    /// Rows.
    Batch(RecordBatch),
    /// No more rows.
    Done,
}

/// What a unit's scan did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnitCounts {
    /// Pages given.
    pub pages: u64,
    /// Pages that the mask made unnecessary.
    pub pages_skipped: u64,
    /// Rows the predicate was evaluated on.
    pub rows_tested: u64,
    /// Rows yielded.
    pub rows: u64,
    /// Bytes of values decoded or copied into output buffers.
    pub bytes_decoded: u64,
    /// Bytes of values handed out in the buffer they were read into.
    pub bytes_in_place: u64,
}

impl UnitCounts {
    /// Adds another unit's counts.
    pub fn add(&mut self, other: &Self) {
        self.pages += other.pages;
        self.pages_skipped += other.pages_skipped;
        self.rows_tested += other.rows_tested;
        self.rows += other.rows;
        self.bytes_decoded += other.bytes_decoded;
        self.bytes_in_place += other.bytes_in_place;
    }
}

enum State {
    Start,
    /// The predicate's pages were asked for; the rows that zones leave.
    Filtering(BitMask),
    /// The mask is final; the projection's pages were asked for.
    Loading(BitMask),
    Emitting(Emitter),
    Done,
}

/// How selected rows are cut into batches.
enum Emitter {
    /// All rows of `next..end`.
    Whole { next: usize, end: usize },
    /// Many rows: decode a window, filter it.
    Dense { next: usize, end: usize, mask: BitMask, counts: Vec<u16> },
    /// Few rows: take them.
    Sparse { rows: Vec<u32>, next: usize },
}

enum Column {
    Leaf(OpenStream),
    /// A nested column of the whole unit, cut into batches afterwards.
    Nested(ArrayRef),
}

/// The scan of one unit.
pub struct UnitScan {
    plan: Arc<ScanPlan>,
    task: UnitTask,
    rows: usize,
    pages: HashMap<u64, Buffer>,
    state: State,
    columns: Vec<Column>,
    /// Most rows of a batch.
    batch_rows: usize,
    /// Predicate columns opened for filtering, by slot, reused for the projection.
    opened: HashMap<usize, Column>,
    counts: UnitCounts,
    scratch: Vec<u32>,
}

impl std::fmt::Debug for UnitScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitScan")
            .field("task", &self.task)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl UnitScan {
    /// A scan of a unit.
    pub fn new(plan: Arc<ScanPlan>, task: UnitTask) -> Self {
        let rows = plan.unit_rows(&task);
        Self {
            plan,
            task,
            rows,
            pages: HashMap::new(),
            state: State::Start,
            columns: Vec::new(),
            batch_rows: BATCH_ROWS_DEFAULT,
            opened: HashMap::new(),
            counts: UnitCounts::default(),
            scratch: Vec::new(),
        }
    }

    /// Gives a page asked for. Its bytes must start at a multiple of 64 and have been verified.
    pub fn provide(&mut self, page: &PageRef, bytes: Buffer) {
        self.counts.pages += 1;
        self.pages.insert(page.offset, bytes);
    }

    /// What was done so far.
    pub fn counts(&self) -> UnitCounts {
        self.counts
    }

    /// The unit scanned.
    pub fn task(&self) -> UnitTask {
        self.task
    }

    /// Every page that the scan of this unit may need, before any is read: what to prefetch.
    pub fn all_pages(plan: &ScanPlan, task: &UnitTask) -> Vec<PageRef> {
        pages_of(plan, task, 0..plan.columns.len())
    }

    /// The pages that the scan of this unit needs first: the predicate's columns.
    pub fn predicate_pages(plan: &ScanPlan, task: &UnitTask) -> Vec<PageRef> {
        pages_of(plan, task, plan.predicate_slots())
    }

    /// A nested column of a whole unit, from pages given.
    pub(crate) fn nested_column(
        plan: &Arc<ScanPlan>,
        task: UnitTask,
        slot: usize,
        pages: &[(u64, Buffer)],
    ) -> Result<ArrayRef> {
        let mut scan = Self::new(plan.clone(), task);
        scan.pages.extend(pages.iter().cloned());
        match scan.open_column(&plan.columns[slot])? {
            Column::Nested(array) => Ok(array),
            Column::Leaf(stream) => stream.array(plan.columns[slot].field.data_type()),
        }
    }

    /// Goes on as far as the pages given allow.
    ///
    /// # Errors
    /// When a page is damaged or memory can't be had; the scan can't go on then.
    pub fn step(&mut self) -> Result<Step> {
        let result = self.advance();
        if result.is_err() {
            self.state = State::Done;
        }
        result.map_err(|e| {
            e.with_place(
                Some(self.plan.meta.file()),
                self.plan.meta.blocks()[self.task.block as usize].offset,
            )
        })
    }

    fn advance(&mut self) -> Result<Step> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Start => {
                    let plan = self.plan.clone();
                    self.state = match &plan.predicate {
                        None => {
                            let mut mask = BitMask::zeros(self.rows);
                            mask.fill(self.task.start as usize, self.task.end as usize, true);
                            plan.without_deleted(&self.task, &mut mask);
                            if mask.none() { State::Done } else { State::Loading(mask) }
                        }
                        Some(predicate) => {
                            let (mut mask, known) = plan.zone_mask(predicate, &self.task, self.rows);
                            plan.without_deleted(&self.task, &mut mask);
                            if mask.none() {
                                State::Done
                            } else if known {
                                State::Loading(mask)
                            } else {
                                State::Filtering(mask)
                            }
                        }
                    };
                }
                State::Filtering(mask) => {
                    let slots = self.plan.predicate_slots();
                    let missing = self.missing(&slots, &mask, true);
                    if !missing.is_empty() {
                        self.state = State::Filtering(mask);
                        return Ok(Step::NeedsData(missing));
                    }
                    let mask = self.filter(&mask)?;
                    self.state = if mask.none() { self.skip_projection() } else { State::Loading(mask) };
                }
                State::Loading(mask) => {
                    let slots: Vec<usize> = (0..self.plan.projected).collect();
                    let missing = self.missing(&slots, &mask, false);
                    if !missing.is_empty() {
                        self.state = State::Loading(mask);
                        return Ok(Step::NeedsData(missing));
                    }
                    self.open_projection(&mask)?;
                    self.state = State::Emitting(Emitter::new(mask));
                }
                State::Emitting(mut emitter) => {
                    if let Some(batch) = self.emit(&mut emitter)? {
                        self.counts.rows += batch.num_rows() as u64;
                        self.state = State::Emitting(emitter);
                        return Ok(Step::Batch(batch));
                    }
                    self.columns.clear();
                    self.pages.clear();
                }
                State::Done => return Ok(Step::Done),
            }
        }
    }

    fn skip_projection(&mut self) -> State {
        for slot in 0..self.plan.projected {
            self.counts.pages_skipped += self.plan.columns[slot]
                .streams
                .iter()
                .filter_map(|s| s.get(self.task.block as usize))
                .flat_map(|c| c.unit(self.task.unit))
                .filter(|p| !self.pages.contains_key(&p.offset))
                .count() as u64;
        }
        State::Done
    }

    /// Pages of the slots' columns that hold a row of `mask` and were not given yet.
    fn missing(&self, slots: &[usize], mask: &BitMask, filtering: bool) -> Vec<PageRef> {
        let mut out: Vec<PageRef> = Vec::new();
        for &slot in slots {
            if !filtering && self.opened.contains_key(&slot) {
                continue;
            }
            let column = &self.plan.columns[slot];
            let whole = column.shape.leaf().is_none();
            for stream in 0..column.shape.streams.len() {
                let Some(chunk) = column.chunk(stream, self.task.block) else { continue };
                if let Some(d) = chunk.dictionary
                    && self.plan.meta.cached_dictionary(d.offset).is_none()
                    && !self.pages.contains_key(&d.offset)
                {
                    out.push(d);
                }
                let mut row = 0;
                for page in chunk.unit(self.task.unit) {
                    let end = row + page.values as usize;
                    if (whole || mask.any_range(row, end)) && !self.pages.contains_key(&page.offset) {
                        out.push(*page);
                    }
                    row = end;
                }
            }
        }
        out.sort_unstable_by_key(|p| p.offset);
        out.dedup();
        out
    }

    fn open_column(&self, column: &ColumnMeta) -> Result<Column> {
        let streams = (0..column.shape.streams.len())
            .map(|s| self.open_stream(column, s))
            .collect::<Result<Vec<_>>>()?;
        if column.shape.leaf().is_some() {
            let mut streams = streams;
            return streams
                .pop()
                .map(Column::Leaf)
                .ok_or_else(|| FormatError::corrupt("column", "it has no stream"));
        }
        Ok(Column::Nested(assemble(&column.shape.root, &streams, self.rows)?))
    }

    fn open_stream(&self, column: &ColumnMeta, stream: usize) -> Result<OpenStream> {
        let spec = column.shape.streams[stream];
        let chunk = column.chunk(stream, self.task.block).ok_or_else(|| {
            FormatError::corrupt(
                "column",
                format!("stream {stream} has no chunk in block {}", self.task.block),
            )
        })?;
        let dictionary = chunk.dictionary.map(|d| self.dictionary(&d, spec.ptype, spec.utf8)).transpose()?;
        let pages =
            chunk.unit(self.task.unit).iter().map(|p| (*p, self.pages.get(&p.offset).cloned())).collect();
        OpenStream::open(StreamPages { spec, pool: self.plan.options.pool.clone(), dictionary, pages })
    }

    fn dictionary(&self, page: &PageRef, ptype: PhysType, utf8: bool) -> Result<Arc<ChunkDictionary>> {
        open_dictionary(&self.plan, page, ptype, utf8, self.pages.get(&page.offset))
    }

    fn filter(&mut self, candidates: &BitMask) -> Result<BitMask> {
        let plan = self.plan.clone();
        let Some(predicate) = &plan.predicate else { return Ok(candidates.clone()) };
        self.counts.rows_tested += candidates.count() as u64;
        for slot in plan.predicate_slots() {
            if !self.opened.contains_key(&slot) {
                let column = self.open_column(&plan.columns[slot])?;
                self.opened.insert(slot, column);
            }
        }
        let (rows, opened) = (self.rows, &self.opened);
        let mut mask = predicate.evaluate(rows, candidates, &mut |leaf, candidates| {
            let not_opened = || FormatError::invalid("filter", "a column was not opened".to_owned());
            match plan.predicate_source(leaf.column).ok_or_else(not_opened)? {
                Source::Stored(slot, conversion) => {
                    let column = opened.get(&slot).ok_or_else(not_opened)?;
                    filter_leaf(column, leaf, candidates, plan.columns[slot].field.data_type(), &conversion)
                }
                Source::Constant(one) => {
                    let mut mask = BitMask::zeros(rows);
                    mask.fill(0, rows, leaf.evaluate_array(&one)?.get(0));
                    Ok(mask)
                }
            }
        })?;
        mask.and(candidates);
        Ok(mask)
    }

    fn open_projection(&mut self, mask: &BitMask) -> Result<()> {
        for slot in 0..self.plan.projected {
            let column = match self.opened.remove(&slot) {
                Some(column) => column,
                None => self.open_column(&self.plan.columns[slot])?,
            };
            self.columns.push(column);
            let mut row = 0;
            for page in
                self.plan.columns[slot].chunk(0, self.task.block).map_or(&[][..], |c| c.unit(self.task.unit))
            {
                let end = row + page.values as usize;
                self.counts.pages_skipped += u64::from(end <= mask.len() && !mask.any_range(row, end));
                row = end;
            }
        }
        self.opened.clear();
        self.batch_rows = self.plan.options.batch_rows.unwrap_or_else(|| {
            let in_place = self.columns.iter().enumerate().all(|(slot, column)| match column {
                Column::Leaf(stream) => stream.is_in_place(self.plan.decoded_type(slot)),
                Column::Nested(_) => false,
            });
            if in_place { UNIT_ROWS_MAX } else { BATCH_ROWS_DEFAULT }
        });
        Ok(())
    }

    fn emit(&mut self, emitter: &mut Emitter) -> Result<Option<RecordBatch>> {
        let batch_rows = self.batch_rows;
        match emitter {
            Emitter::Whole { next, end } => {
                if next == end {
                    return Ok(None);
                }
                let n = batch_rows.min(*end - *next);
                let batch = self.window(*next, n)?;
                *next += n;
                Ok(Some(batch))
            }
            Emitter::Dense { next, end, mask, counts } => {
                while next < end {
                    let (start, n) = (*next, batch_rows.min(*end - *next));
                    *next += n;
                    let selected = mask.count_range(start, start + n);
                    if selected == n {
                        return Ok(Some(self.window(start, n)?));
                    }
                    if selected > 0 {
                        let bits = BooleanBuffer::new(Buffer::from_slice_ref(mask.words()), start, n);
                        if let Some(chunks) = runs_of(&bits, selected) {
                            return Ok(Some(self.window_of(
                                start,
                                &bits,
                                (mask, counts),
                                selected,
                                &chunks,
                            )?));
                        }
                        let batch = self.window(start, n)?;
                        return Ok(Some(arrow_select::filter::filter_record_batch(
                            &batch,
                            &BooleanArray::new(bits, None),
                        )?));
                    }
                }
                Ok(None)
            }
            Emitter::Sparse { rows, next } => {
                if *next == rows.len() {
                    return Ok(None);
                }
                let end = (*next + batch_rows).min(rows.len());
                let batch = self.take(&rows[*next..end])?;
                *next = end;
                Ok(Some(batch))
            }
        }
    }

    fn window(&mut self, start: usize, n: usize) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (slot, column) in self.columns.iter().enumerate() {
            arrays.push(match column {
                Column::Leaf(stream) => {
                    let meta = &self.plan.columns[slot];
                    let mut builder = LeafBuilder::new(
                        self.plan.decoded_type(slot),
                        meta.shape.streams[0],
                        n,
                        &self.plan.options.pool,
                    );
                    stream.append_range(&mut builder, start, n)?;
                    self.counts.bytes_decoded += builder.bytes_decoded() as u64;
                    self.counts.bytes_in_place += builder.bytes_in_place() as u64;
                    builder.finish()?
                }
                Column::Nested(array) => array.slice(start, n),
            });
        }
        let numbers = self.plan.options.row_numbers.is_some().then(|| {
            let first = self.plan.first_row(&self.task) + start as u64;
            Arc::new(UInt64Array::from_iter_values(first..first + n as u64)) as ArrayRef
        });
        self.plan.batch(arrays, n, numbers)
    }

    /// The selected rows of a window, of which most are: columns are decoded piece by piece. Of packed values only those selected are written;
    /// others are moved together while they are in the core's cache.
    fn window_of(
        &mut self,
        start: usize,
        bits: &BooleanBuffer,
        mask: (&BitMask, &[u16]),
        selected: usize,
        chunks: &[Vec<(usize, usize)>],
    ) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (slot, column) in self.columns.iter().enumerate() {
            arrays.push(match column {
                Column::Leaf(stream) => {
                    let meta = &self.plan.columns[slot];
                    let mut builder = LeafBuilder::new(
                        self.plan.decoded_type(slot),
                        meta.shape.streams[0],
                        selected + CHUNK_ROWS.min(bits.len()),
                        &self.plan.options.pool,
                    );
                    for (i, runs) in chunks.iter().enumerate().filter(|(_, runs)| !runs.is_empty()) {
                        let at = i * CHUNK_ROWS;
                        let rows = CHUNK_ROWS.min(bits.len() - at);
                        stream.append_selected(&mut builder, start + at, rows, mask, runs)?;
                    }
                    self.counts.bytes_decoded += builder.bytes_decoded() as u64;
                    builder.finish_early()?
                }
                Column::Nested(array) => arrow_select::filter::filter(
                    &array.slice(start, bits.len()),
                    &BooleanArray::new(bits.clone(), None),
                )?,
            });
        }
        let numbers = self.plan.options.row_numbers.is_some().then(|| {
            let first = self.plan.first_row(&self.task) + start as u64;
            Arc::new(UInt64Array::from_iter_values(bits.set_indices().map(|at| first + at as u64)))
                as ArrayRef
        });
        self.plan.batch(arrays, selected, numbers)
    }

    fn take(&mut self, rows: &[u32]) -> Result<RecordBatch> {
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (slot, column) in self.columns.iter().enumerate() {
            arrays.push(match column {
                Column::Leaf(stream) => {
                    let meta = &self.plan.columns[slot];
                    let mut builder = LeafBuilder::new(
                        self.plan.decoded_type(slot),
                        meta.shape.streams[0],
                        rows.len(),
                        &self.plan.options.pool,
                    );
                    stream.append_rows(&mut builder, rows, &mut self.scratch)?;
                    self.counts.bytes_decoded += builder.bytes_decoded() as u64;
                    builder.finish()?
                }
                Column::Nested(array) => {
                    let indices = arrow_array::UInt32Array::from(rows.to_vec());
                    arrow_select::take::take(array.as_ref(), &indices, None)?
                }
            });
        }
        let numbers = self.plan.options.row_numbers.is_some().then(|| {
            let first = self.plan.first_row(&self.task);
            let rows = rows.iter().map(|row| first + u64::from(*row));
            Arc::new(UInt64Array::from_iter_values(rows)) as ArrayRef
        });
        self.plan.batch(arrays, rows.len(), numbers)
    }
}

fn pages_of(plan: &ScanPlan, task: &UnitTask, slots: impl IntoIterator<Item = usize>) -> Vec<PageRef> {
    let mut out = Vec::new();
    for column in slots.into_iter().map(|slot| &plan.columns[slot]) {
        for stream in 0..column.shape.streams.len() {
            if let Some(chunk) = column.chunk(stream, task.block) {
                out.extend(chunk.dictionary);
                out.extend_from_slice(chunk.unit(task.unit));
            }
        }
    }
    out.sort_unstable_by_key(|p| p.offset);
    out.dedup();
    out
}

impl Emitter {
    fn new(mask: BitMask) -> Self {
        let words = mask.words();
        let first =
            words.iter().position(|&w| w != 0).map_or(0, |i| i * 64 + words[i].trailing_zeros() as usize);
        let end = words
            .iter()
            .rposition(|&w| w != 0)
            .map_or(0, |i| i * 64 + 64 - words[i].leading_zeros() as usize);
        let selected = mask.count();
        if selected == end - first {
            Self::Whole { next: first, end }
        } else if selected as f64 >= DENSE_SELECTIVITY * (end - first) as f64 {
            let counts = counts_of_vectors(&mask);
            Self::Dense { next: first, end, mask, counts }
        } else {
            let mut rows = Vec::with_capacity(selected);
            mask.indices(0, mask.len(), &mut rows);
            Self::Sparse { rows, next: 0 }
        }
    }
}

/// The dictionary in a page, decoded once for all pages of its chunk.
pub(crate) fn open_dictionary(
    plan: &ScanPlan,
    page: &PageRef,
    ptype: PhysType,
    utf8: bool,
    bytes: Option<&Buffer>,
) -> Result<Arc<ChunkDictionary>> {
    if let Some(dictionary) = plan.meta.cached_dictionary(page.offset) {
        return Ok(dictionary);
    }
    let bytes = bytes.ok_or_else(|| {
        FormatError::invalid(
            "decoding a unit",
            format!("the dictionary at byte {} was not provided", page.offset),
        )
    })?;
    let dictionary = Arc::new(
        ChunkDictionary::open(bytes, ptype, utf8, &plan.options.pool)
            .map_err(|e| e.with_place(None, page.offset))?,
    );
    plan.meta.cache_dictionary(page.offset, &dictionary, dictionary.memory_bytes());
    Ok(dictionary)
}

/// Rows that are decoded before those that were not selected are closed over: a few columns' worth of a core's own cache.
const CHUNK_ROWS: usize = 4096;
/// Rows that runs have on average at least, for it to pay to move them one by one.
const RUN_ROWS_MIN: usize = 8;

/// The runs of selected rows, first and number, counted in each chunk of a window; none where they are short.
fn runs_of(bits: &BooleanBuffer, selected: usize) -> Option<Vec<Vec<(usize, usize)>>> {
    let most = selected / RUN_ROWS_MIN;
    let mut count = 0;
    (0..bits.len())
        .step_by(CHUNK_ROWS)
        .map(|at| {
            let chunk = bits.slice(at, CHUNK_ROWS.min(bits.len() - at));
            let runs: Vec<(usize, usize)> = chunk.set_slices().map(|(from, to)| (from, to - from)).collect();
            count += runs.len();
            (count <= most).then_some(runs)
        })
        .collect()
}

/// Rows of the unit for which a leaf of the predicate is true; rows outside `candidates` may be left out.
fn filter_leaf(
    column: &Column,
    leaf: &Leaf,
    candidates: &BitMask,
    data_type: &arrow_schema::DataType,
    conversion: &Conversion,
) -> Result<BitMask> {
    let stream = match column {
        Column::Nested(array) => return leaf.evaluate_array(&conversion.apply(array)?),
        Column::Leaf(stream) => stream,
    };
    let by_value = !matches!(leaf.test, LeafTest::IsNull | LeafTest::IsNotNull);
    if leaf.needs_array() || by_value && !conversion.keeps_numbers() {
        return leaf.evaluate_array(&conversion.apply(&stream.array(data_type)?)?);
    }
    let rows = candidates.len();
    let mut out = BitMask::zeros(rows);
    stream.for_range(0, rows, |first, page, _, n| {
        if !candidates.any_range(first, first + n) {
            return Ok(());
        }
        let mut mask = BitMask::zeros(n);
        test_page(page, &leaf.test, &mut mask)?;
        or_at(&mut out, first, &mask);
        Ok(())
    })?;
    Ok(out)
}

fn test_page(page: &PageDecoder<'_>, test: &LeafTest, mask: &mut BitMask) -> Result<()> {
    let n = mask.len();
    match (test, &page.values) {
        (LeafTest::IsNull, _) => {
            mask.fill(0, n, true);
            page.mask_nulls(0, mask)?;
            mask.not();
            return Ok(());
        }
        (LeafTest::IsNotNull, _) => mask.fill(0, n, true),
        (LeafTest::Int(pred), ValueDecoder::Int(d)) => d.filter(pred, 0, mask.words_mut(), n)?,
        (LeafTest::Int(pred), ValueDecoder::Wide(d)) => d.filter(pred, 0, mask.words_mut(), n)?,
        (LeafTest::Float(pred), ValueDecoder::Float(d)) => d.filter(pred, 0, mask.words_mut(), n)?,
        (LeafTest::Bytes(pred), ValueDecoder::Bytes(d)) => d.filter(pred, 0, mask.words_mut(), n)?,
        (LeafTest::Bytes(pred), ValueDecoder::Fixed(d)) => d.filter(pred, 0, mask.words_mut(), n)?,
        (LeafTest::Bool(value), ValueDecoder::Bool(d)) => {
            d.fill_mask(0, n, mask.words_mut())?;
            if !value {
                mask.not();
            }
        }
        _ => {
            return Err(FormatError::invalid(
                "filter",
                "a test does not fit its column's stored type".to_owned(),
            ));
        }
    }
    mask.trim();
    page.mask_nulls(0, mask)
}

/// Ors a page's mask into a unit's; pages start at multiples of 64 rows or are the unit's only rows.
fn or_at(out: &mut BitMask, first: usize, page: &BitMask) {
    if first.is_multiple_of(64) {
        let words = page.words();
        out.words_mut()[first / 64..first / 64 + words.len()]
            .iter_mut()
            .zip(words)
            .for_each(|(o, w)| *o |= w);
    } else {
        (0..page.len()).filter(|&i| page.get(i)).for_each(|i| out.set(first + i));
    }
}
