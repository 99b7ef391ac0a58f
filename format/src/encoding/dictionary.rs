//! Dictionaries: the distinct values that codes of a chunk's pages point to.
//!
//! A chunk's dictionary is a page of its own after the chunk's pages: the distinct values in the order of their first appearance, in
//! whatever encoding suits them.

use std::ops::Range;

use arrow_buffer::Buffer;
use deltalite_alloc::BufferPool;

use super::bytes::{BytesDecoder, decode_all};
use super::fixed::FixedDecoder;
use super::int::{IntDecoder, encode_ints};
use super::{DecodeContext, EncodeOptions};
use crate::error::{FormatError, Result};
use crate::kernels::gather::gather_views;
use crate::kernels::{Level, extent};
use crate::limits::VECTOR_ROWS;
use crate::mask::Selection;
use crate::page::{NodeView, PageBuilder, PageView};
use crate::phys::PhysType;
use crate::predicate::leaf::IntPred;

/// Flag of a `Dictionary` node: the values are not in the page but shared by the chunk.
pub(crate) const FLAG_SHARED: u8 = 1;

/// The decoded dictionary of a chunk.
#[derive(Debug, Clone)]
pub enum ChunkDictionary {
    /// Integers of at most 64 bits, as the lane's bits, zero-extended.
    Ints(Vec<u64>),
    /// 128-bit integers.
    Wide(Vec<i128>),
    /// Byte strings in Arrow's view format; buffer indices are positions in `data`.
    Bytes {
        /// One view a value.
        views: Vec<u128>,
        /// What the views point to.
        data: Vec<Buffer>,
    },
    /// Byte strings of one length.
    Fixed {
        /// The length, in bytes.
        width: usize,
        /// The values, one after another.
        bytes: Buffer,
        /// Number of values.
        len: usize,
    },
}

impl ChunkDictionary {
    /// Decodes the dictionary page of a chunk whose values have type `ptype`. With `utf8`, byte strings must be text.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the page contradicts itself or has values of another type.
    pub fn open(page: &Buffer, ptype: PhysType, utf8: bool, pool: &BufferPool) -> Result<Self> {
        let view = PageView::parse(page)?;
        let root = view.root();
        if root.ptype() != ptype || view.validity().is_some() {
            return Err(root.corrupt(format!(
                "a dictionary of {:?} where values of {ptype:?} are expected",
                root.ptype()
            )));
        }
        let cx = DecodeContext { dictionary: None, pool, utf8 };
        Ok(match ptype {
            PhysType::Bytes => {
                let (views, data) = decode_all(&BytesDecoder::open(root, cx)?)?;
                Self::Bytes { views, data }
            }
            PhysType::Fixed => {
                let values = FixedDecoder::open(root, root.width(), cx)?;
                let mut bytes = vec![0; values.byte_len()?];
                values.decode(0, &mut bytes)?;
                Self::Fixed { width: root.width() as usize, bytes: Buffer::from_vec(bytes), len: root.len() }
            }
            _ if ptype.is_int() => {
                let mut values = vec![0; root.len()];
                IntDecoder::open(root, cx)?.decode(0, &mut values)?;
                let unused = 64 - 8 * ptype.width().unwrap_or(8);
                for v in &mut values {
                    *v = *v << unused >> unused;
                }
                Self::Ints(values)
            }
            other => return Err(root.corrupt(format!("values of {other:?} have no shared dictionary"))),
        })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Ints(v) => v.len(),
            Self::Wide(v) => v.len(),
            Self::Bytes { views, .. } => views.len(),
            Self::Fixed { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it holds: what a cache charges for it.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Ints(v) => v.capacity() * size_of::<u64>(),
            Self::Wide(v) => v.capacity() * size_of::<i128>(),
            // A buffer that shares a page's memory keeps the whole page.
            Self::Bytes { views, data } => {
                views.capacity() * size_of::<u128>() + data.iter().map(Buffer::capacity).sum::<usize>()
            }
            Self::Fixed { bytes, .. } => bytes.capacity(),
        }
    }
}

/// The codes of a `Dictionary` node: its first child.
#[derive(Debug)]
pub(crate) struct Codes<'a> {
    ints: IntDecoder<'a>,
    width: usize,
    len: usize,
    /// Codes are below this.
    distinct: usize,
}

impl<'a> Codes<'a> {
    /// Asks for the memory of a row's code.
    pub(crate) fn prefetch(&self, row: usize) {
        self.ints.prefetch(row);
    }

    /// Opens the codes of a node with `distinct` values.
    pub(crate) fn open(node: NodeView<'a>, distinct: usize, cx: DecodeContext<'a>) -> Result<Self> {
        let codes = node.child(0)?;
        let width = match codes.ptype() {
            PhysType::U8 => 1,
            PhysType::U16 => 2,
            PhysType::U32 => 4,
            other => return Err(node.corrupt(format!("codes of {other:?}"))),
        };
        if codes.len() != node.len() {
            return Err(node.corrupt(format!("{} codes for {} values", codes.len(), node.len())));
        }
        Ok(Self { ints: IntDecoder::open(codes, cx)?, width, len: node.len(), distinct })
    }

    fn outside(&self) -> FormatError {
        FormatError::corrupt("page", format!("a code points past the dictionary's {} values", self.distinct))
    }

    /// Writes `values[code]` of rows from `start` on to `out`. There must be as many values as the codes were opened with.
    pub(crate) fn gather(&self, start: usize, values: &[u128], out: &mut [u128]) -> Result<()> {
        match self.width {
            1 => self.gather_lanes::<u8>(start, values, out),
            2 => self.gather_lanes::<u16>(start, values, out),
            _ => self.gather_lanes::<u32>(start, values, out),
        }
    }

    fn gather_lanes<T>(&self, start: usize, values: &[u128], out: &mut [u128]) -> Result<()>
    where
        T: crate::phys::Lane + super::int::OutInt,
    {
        let values = values.get(..self.distinct).ok_or_else(|| self.outside())?;
        let level = Level::current();
        let mut scratch = [T::from_u64(0); VECTOR_ROWS];
        let mut row = start;
        let mut rest = out;
        while !rest.is_empty() {
            let n = (VECTOR_ROWS - row % VECTOR_ROWS).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            self.ints.decode(row, &mut scratch[..n])?;
            if !gather_views(level, &scratch[..n], values, now) {
                return Err(self.outside());
            }
            row += n;
            rest = later;
        }
        Ok(())
    }

    /// As [`Codes::gather`], of the selected ones of `rows` as [`IntDecoder::decode_selected`] has them; false where that does not.
    pub(crate) fn gather_selected(
        &self,
        rows: &Range<usize>,
        selection: Selection<'_>,
        values: &[u128],
        out: &mut [u128],
    ) -> Result<bool> {
        match self.width {
            1 => self.gather_selected_lanes::<u8>(rows, selection, values, out),
            2 => self.gather_selected_lanes::<u16>(rows, selection, values, out),
            _ => self.gather_selected_lanes::<u32>(rows, selection, values, out),
        }
    }

    fn gather_selected_lanes<T>(
        &self,
        rows: &Range<usize>,
        selection: Selection<'_>,
        values: &[u128],
        out: &mut [u128],
    ) -> Result<bool>
    where
        T: crate::phys::Lane + super::int::OutInt,
    {
        let values = values.get(..self.distinct).ok_or_else(|| self.outside())?;
        let mut codes = vec![T::from_u64(0); out.len()];
        if !self.ints.decode_selected(rows, selection, &mut codes)? {
            return Ok(false);
        }
        if gather_views(Level::current(), &codes, values, out) { Ok(true) } else { Err(self.outside()) }
    }

    /// Calls `each(row - start, code)` for `len` rows from `start` on; every code is below the number of values.
    pub(crate) fn for_each(
        &self,
        start: usize,
        len: usize,
        mut each: impl FnMut(usize, usize),
    ) -> Result<()> {
        let level = Level::current();
        let mut scratch = [0u32; VECTOR_ROWS];
        let mut at = 0;
        while at < len {
            let n = (VECTOR_ROWS - (start + at) % VECTOR_ROWS).min(len - at);
            let codes = &mut scratch[..n];
            self.ints.decode(start + at, codes)?;
            if extent::max(level, codes) as usize >= self.distinct {
                return Err(self.outside());
            }
            for (i, &code) in codes.iter().enumerate() {
                each(at + i, code as usize);
            }
            at += n;
        }
        Ok(())
    }

    /// The codes of single rows, each below the number of values.
    pub(crate) fn take(&self, rows: &[u32], out: &mut [u32]) -> Result<()> {
        self.ints.take(rows, out)?;
        if out.iter().any(|&code| code as usize >= self.distinct) { Err(self.outside()) } else { Ok(()) }
    }

    /// Which of `len` rows from `start` on have a value that passes, where `passes` says it of a code. Every row's bit is written.
    pub(crate) fn filter(
        &self,
        passes: impl Fn(usize) -> bool,
        start: usize,
        out: &mut [u64],
        len: usize,
    ) -> Result<()> {
        let words = &mut out[..len.div_ceil(64)];
        if self.distinct > self.len {
            // Fewer rows than values: ask for the values that occur, and only once for each.
            let mut known = vec![0u8; self.distinct];
            words.fill(0);
            return self.for_each(start, len, |i, code| {
                if known[code] == 0 {
                    known[code] = 1 + u8::from(passes(code));
                }
                words[i / 64] |= u64::from(known[code] - 1) << (i % 64);
            });
        }
        let hits: Vec<bool> = (0..self.distinct).map(passes).collect();
        match ranges(&hits) {
            Ranges::One { lo, hi, negated } => {
                // Codes past the dictionary are not looked for here; whoever decodes the rows finds them.
                let pred = IntPred::Range { lo: lo as i128, hi: hi as i128 - 1, negated };
                self.ints.filter(&pred, start, words, len)
            }
            Ranges::Many => {
                words.fill(0);
                self.for_each(start, len, |i, code| words[i / 64] |= u64::from(hits[code]) << (i % 64))
            }
        }
    }
}

/// Codes that pass a test.
enum Ranges {
    /// `lo..hi` do, or with `negated` all others.
    One {
        lo: usize,
        hi: usize,
        negated: bool,
    },
    Many,
}

fn ranges(hits: &[bool]) -> Ranges {
    let one = |value: bool| {
        let lo = hits.iter().position(|&h| h == value)?;
        let hi = hits.iter().rposition(|&h| h == value)? + 1;
        hits[lo..hi].iter().all(|&h| h == value).then_some((lo, hi))
    };
    if !hits.contains(&true) {
        // Nothing lies in an empty range.
        return Ranges::One { lo: 1, hi: 1, negated: false };
    }
    match (one(true), one(false)) {
        (Some((lo, hi)), _) => Ranges::One { lo, hi, negated: false },
        (None, Some((lo, hi))) => Ranges::One { lo, hi, negated: true },
        (None, None) => Ranges::Many,
    }
}

/// Writes codes, in the narrowest lanes that hold `distinct` values, as the next child, in at most `depth` levels of nodes.
pub(crate) fn encode_codes(
    codes: &[u32],
    distinct: usize,
    depth: usize,
    o: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    if distinct <= 1 << 8 {
        encode_ints(&codes.iter().map(|&c| c as u8).collect::<Vec<_>>(), PhysType::U8, depth, o, out)
    } else if distinct <= 1 << 16 {
        encode_ints(&codes.iter().map(|&c| c as u16).collect::<Vec<_>>(), PhysType::U16, depth, o, out)
    } else {
        encode_ints(codes, PhysType::U32, depth, o, out)
    }
}
