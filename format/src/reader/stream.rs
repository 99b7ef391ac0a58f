//! A stream's pages of one unit, opened: the decoders together with the buffers they borrow.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer};
use arrow_schema::DataType;
use deltalite_alloc::BufferPool;
use self_cell::self_cell;

use super::leaf::{LeafBuilder, PageDecoder, ValueDecoder};
use super::meta::PageRef;
use crate::encoding::DecodeContext;
use crate::encoding::dictionary::ChunkDictionary;
use crate::error::{FormatError, Result};
use crate::mask::{BitMask, Selection};
use crate::schema::shape::StreamSpec;

/// What the decoders of a stream borrow.
pub(crate) struct StreamPages {
    pub(crate) spec: StreamSpec,
    pub(crate) pool: BufferPool,
    pub(crate) dictionary: Option<Arc<ChunkDictionary>>,
    /// The unit's pages; those that hold no wanted row have no bytes.
    pub(crate) pages: Vec<(PageRef, Option<Buffer>)>,
}

type Decoders<'a> = Vec<Option<PageDecoder<'a>>>;

self_cell! {
    struct Cell {
        owner: StreamPages,
        #[not_covariant]
        dependent: Decoders,
    }
}

/// An opened stream of a unit.
pub(crate) struct OpenStream {
    cell: Cell,
    /// First row of each page, and at the end the number of rows.
    firsts: Vec<usize>,
}

impl OpenStream {
    pub(crate) fn open(pages: StreamPages) -> Result<Self> {
        let mut firsts = Vec::with_capacity(pages.pages.len() + 1);
        let mut row = 0;
        for (page, _) in &pages.pages {
            firsts.push(row);
            row += page.values as usize;
        }
        firsts.push(row);
        let cell = Cell::try_new(pages, |owner| {
            let cx = DecodeContext {
                dictionary: owner.dictionary.as_deref(),
                pool: &owner.pool,
                utf8: owner.spec.utf8,
            };
            owner
                .pages
                .iter()
                .map(|entry| match &entry.1 {
                    Some(bytes) => PageDecoder::open(bytes, &owner.spec, entry.0.values as usize, cx)
                        .map(Some)
                        .map_err(|e| e.with_place(None, entry.0.offset)),
                    None => Ok(None),
                })
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(Self { cell, firsts })
    }

    /// Rows of the stream in the unit.
    pub(crate) fn rows(&self) -> usize {
        self.firsts[self.firsts.len() - 1]
    }

    fn missing(&self, page: usize) -> FormatError {
        let offset = self.cell.borrow_owner().pages[page].0.offset;
        FormatError::invalid("decoding a unit", format!("the page at byte {offset} was not provided"))
    }

    /// Calls `f(page's first row, decoder, start in page, rows)` for each page that `start..start + n` touches.
    pub(crate) fn for_range(
        &self,
        start: usize,
        n: usize,
        mut f: impl FnMut(usize, &PageDecoder<'_>, usize, usize) -> Result<()>,
    ) -> Result<()> {
        self.cell.with_dependent(|owner, decoders| {
            for (i, decoder) in decoders.iter().enumerate() {
                let (first, end) = (self.firsts[i], self.firsts[i + 1]);
                let (a, b) = (start.max(first), (start + n).min(end));
                if a < b {
                    let decoder = decoder.as_ref().ok_or_else(|| self.missing(i))?;
                    f(first, decoder, a - first, b - a)
                        .map_err(|e| e.with_place(None, owner.pages[i].0.offset))?;
                }
            }
            Ok(())
        })
    }

    /// Whether all rows lie in one page and can be handed out in its own buffer, as an array of `data_type`.
    pub(crate) fn is_in_place(&self, data_type: &DataType) -> bool {
        self.cell.with_dependent(|_, decoders| match decoders.as_slice() {
            [Some(page)] => page.is_in_place(data_type),
            _ => false,
        })
    }

    /// Appends rows `start..start + n` to a builder.
    pub(crate) fn append_range(&self, builder: &mut LeafBuilder<'_>, start: usize, n: usize) -> Result<()> {
        self.for_range(start, n, |_, page, at, rows| builder.append_range(page, at, rows))
    }

    /// Appends those of rows `start..start + n` that a mask, given with its [`counts_of_vectors`](crate::mask::counts_of_vectors), selects; they are also given as `runs`: first row, counted from `start`, and number.
    pub(crate) fn append_selected(
        &self,
        builder: &mut LeafBuilder<'_>,
        start: usize,
        n: usize,
        (mask, counts): (&BitMask, &[u16]),
        runs: &[(usize, usize)],
    ) -> Result<()> {
        self.cell.with_dependent(|owner, decoders| {
            for (i, decoder) in decoders.iter().enumerate() {
                let (first, end) = (self.firsts[i], self.firsts[i + 1]);
                let (from, to) = (start.max(first), (start + n).min(end));
                if from >= to {
                    continue;
                }
                let selection = Selection::new(mask, counts, first);
                let rows = from - first..to - first;
                let appended = if rows.len() == n {
                    let page = decoder.as_ref().ok_or_else(|| self.missing(i))?;
                    builder.append_selected(page, &rows, selection, runs)
                } else {
                    // The part of each run that lies in this page. One without any may not be there.
                    let part = |&(run, len): &(usize, usize)| {
                        let (a, b) = ((start + run).max(from), (start + run + len).min(to));
                        (a < b).then(|| (a - from, b - a))
                    };
                    let runs: Vec<_> = runs.iter().filter_map(part).collect();
                    if runs.is_empty() {
                        continue;
                    }
                    let page = decoder.as_ref().ok_or_else(|| self.missing(i))?;
                    builder.append_selected(page, &rows, selection, &runs)
                };
                appended.map_err(|e| e.with_place(None, owner.pages[i].0.offset))?;
            }
            Ok(())
        })
    }

    /// Appends single rows, ascending; `scratch` is reused between calls.
    pub(crate) fn append_rows(
        &self,
        builder: &mut LeafBuilder<'_>,
        rows: &[u32],
        scratch: &mut Vec<u32>,
    ) -> Result<()> {
        self.cell.with_dependent(|owner, decoders| {
            let mut rest = rows;
            for (i, decoder) in decoders.iter().enumerate() {
                let (first, end) = (self.firsts[i] as u32, self.firsts[i + 1] as u32);
                let here = rest.partition_point(|&r| r < end);
                if here > 0 {
                    let decoder = decoder.as_ref().ok_or_else(|| self.missing(i))?;
                    let appended = if first == 0 {
                        builder.append_rows(decoder, &rest[..here])
                    } else {
                        scratch.clear();
                        scratch.extend(rest[..here].iter().map(|r| r - first));
                        builder.append_rows(decoder, scratch)
                    };
                    appended.map_err(|e| e.with_place(None, owner.pages[i].0.offset))?;
                    rest = &rest[here..];
                }
            }
            if rest.is_empty() {
                Ok(())
            } else {
                Err(FormatError::invalid("taking rows", format!("row {} is beyond the unit", rest[0])))
            }
        })
    }

    /// All rows as an array of the type's read form.
    pub(crate) fn array(&self, data_type: &DataType) -> Result<ArrayRef> {
        let owner = self.cell.borrow_owner();
        let mut builder = LeafBuilder::new(data_type, owner.spec, self.rows(), &owner.pool);
        self.append_range(&mut builder, 0, self.rows())?;
        builder.finish()
    }

    /// All rows of a `Bool` stream.
    pub(crate) fn bits(&self) -> Result<BooleanBuffer> {
        let mut bits = BooleanBufferBuilder::new(self.rows());
        self.for_range(0, self.rows(), |_, page, at, rows| match &page.values {
            ValueDecoder::Bool(d) => {
                bits.append_buffer(&d.decode(at, rows)?);
                Ok(())
            }
            _ => Err(FormatError::corrupt("page", "a validity stream does not hold bits")),
        })?;
        Ok(bits.finish())
    }
}
