//! Opens an integer node, and decodes, takes or tests its values.

use std::ops::Range;

use arrow_buffer::Buffer;

use super::bitpack::BitPack;
use super::delta::Delta;
use super::dictionary::Dictionary;
use super::pcodec::Pcodec;
use super::run_end::RunEnd;
use super::scratch::Scratch;
use super::sparse::Sparse;
use super::test::{IntTest, fill};
use super::{OutInt, bits_of, extend};
use crate::encoding::DecodeContext;
use crate::error::{FormatError, Result};
use crate::kernels::Level;
use crate::kernels::compress::{Selected, compress};
use crate::kernels::prefetch::prefetch_at;
use crate::kernels::widen::widen;
use crate::limits::VECTOR_ROWS;
use crate::mask::Selection;
use crate::page::{EncodingKind, NodeView};
use crate::phys::PhysType;
use crate::predicate::IntPred;

/// Rows that are few to take from one page.
const TAKE_FEW: usize = 16;

/// The values of an integer node.
#[derive(Debug)]
pub struct IntDecoder<'a> {
    node: NodeView<'a>,
    bits: u32,
    signed: bool,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    /// Values as they are, by width.
    Plain8(&'a [u8]),
    Plain16(&'a [u16]),
    Plain32(&'a [u32]),
    Plain64(&'a [u64]),
    /// One value, canonical.
    Constant(u64),
    /// First value and step.
    Sequence(u64, u64),
    BitPack(BitPack<'a>),
    Delta(Delta<'a>),
    RunEnd(RunEnd<'a>),
    Sparse(Sparse<'a>),
    Dictionary(Dictionary<'a>),
    Pcodec(Pcodec<'a>),
}

impl<'a> IntDecoder<'a> {
    /// Opens a node, and checks that its buffers are as long as decoding will need.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not an integer node or contradicts itself.
    pub fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        if !node.ptype().is_int() {
            return Err(node.corrupt(format!("{:?} is not an integer type", node.ptype())));
        }
        let ptype = node.ptype();
        let bits = bits_of(ptype);
        let signed = ptype.is_signed_int();
        let kind = match node.kind() {
            EncodingKind::Plain => {
                let bytes = node.bytes(0)?.len();
                if bytes != node.len() * bits as usize / 8 {
                    return Err(
                        node.corrupt(format!("{bytes} bytes for {} values of {bits} bits", node.len()))
                    );
                }
                match bits {
                    8 => Kind::Plain8(node.typed(0)?),
                    16 => Kind::Plain16(node.typed(0)?),
                    32 => Kind::Plain32(node.typed(0)?),
                    _ => Kind::Plain64(node.typed(0)?),
                }
            }
            EncodingKind::Constant => Kind::Constant(extend(node.p0(), bits, signed)),
            EncodingKind::Sequence => Kind::Sequence(node.p0(), node.p1()),
            EncodingKind::BitPack => Kind::BitPack(BitPack::open(node)?),
            EncodingKind::Delta => Kind::Delta(Delta::open(node, cx)?),
            EncodingKind::RunEnd => Kind::RunEnd(RunEnd::open(node, cx)?),
            EncodingKind::Sparse => Kind::Sparse(Sparse::open(node, cx)?),
            EncodingKind::Dictionary => Kind::Dictionary(Dictionary::open(node, cx)?),
            EncodingKind::Pco => Kind::Pcodec(Pcodec::open(node)?),
            _ => return Err(node.corrupt(format!("no encoding of {ptype:?}"))),
        };
        Ok(Self { node, bits, signed, kind })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }

    /// The type of the values.
    pub fn ptype(&self) -> PhysType {
        self.node.ptype()
    }

    /// How the values are encoded.
    pub fn kind(&self) -> EncodingKind {
        self.node.kind()
    }

    /// The values as they lie in the page, when they lie there as they are: no byte is copied.
    pub fn plain_buffer(&self) -> Option<Buffer> {
        match self.kind {
            Kind::Plain8(_) | Kind::Plain16(_) | Kind::Plain32(_) | Kind::Plain64(_) => {
                self.node.arrow(0).ok()
            }
            _ => None,
        }
    }

    /// Decodes rows `start .. start + out.len()`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when the rows are not all in the page or `O` is narrower than the type;
    /// [`FormatError::Corrupt`] when the encoded values contradict themselves.
    pub fn decode<O: OutInt>(&self, start: usize, out: &mut [O]) -> Result<()> {
        self.check_output::<O>()?;
        self.check_range(start, out.len())?;
        self.decode_range(start, out, &mut Scratch::new())
    }

    /// As [`IntDecoder::decode`], of rows that exist, into a type that is wide enough.
    pub(super) fn decode_range<O: OutInt>(
        &self,
        start: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let level = Level::current();
        let rows = start..start + out.len();
        match &self.kind {
            Kind::Plain8(v) => self.copy(level, &v[rows], out),
            Kind::Plain16(v) => self.copy(level, &v[rows], out),
            Kind::Plain32(v) => self.copy(level, &v[rows], out),
            Kind::Plain64(v) => self.copy(level, &v[rows], out),
            Kind::Constant(v) => out.fill(O::from_canonical(*v, self.signed)),
            Kind::Sequence(first, step) => {
                let (bits, signed) = (self.bits, self.signed);
                O::fill_with(out, signed, |i| sequence_value(*first, *step, start + i, bits, signed));
            }
            Kind::BitPack(_) | Kind::Delta(_) => return self.decode_by_vectors(start, out, scratch),
            Kind::RunEnd(r) => return r.decode_range(start, out, scratch),
            Kind::Sparse(s) => return s.decode_range(start, out, scratch),
            Kind::Dictionary(d) => return d.decode_range(start, out, scratch),
            Kind::Pcodec(p) => return self.decompress(p, start, out),
        }
        Ok(())
    }

    /// Decodes frames into lanes of the stored type, and those into the caller's.
    fn decompress<O: OutInt>(&self, p: &Pcodec<'_>, start: usize, out: &mut [O]) -> Result<()> {
        macro_rules! lanes {
            ($number:ty, $lane:ty) => {{
                if O::BITS == <$lane>::BITS as usize {
                    return p.decode::<$number>(start, bytemuck::cast_slice_mut(out));
                }
                let mut lanes: Vec<$number> = vec![0; out.len()];
                p.decode(start, &mut lanes)?;
                self.copy::<$lane, O>(Level::current(), bytemuck::cast_slice(&lanes), out);
            }};
        }
        match (self.bits, self.signed) {
            (8, true) => lanes!(i8, u8),
            (8, false) => lanes!(u8, u8),
            (16, true) => lanes!(i16, u16),
            (16, false) => lanes!(u16, u16),
            (32, true) => lanes!(i32, u32),
            (32, false) => lanes!(u32, u32),
            (_, true) => lanes!(i64, u64),
            (_, false) => lanes!(u64, u64),
        }
        Ok(())
    }

    fn copy<T: crate::phys::Lane, O: OutInt>(&self, level: Level, values: &[T], out: &mut [O]) {
        if O::BITS == T::BITS {
            out.copy_from_slice(bytemuck::cast_slice(values));
        } else if self.signed {
            let (bits, signed) = (self.bits, self.signed);
            O::fill_with(out, signed, |i| extend(values[i].to_u64(), bits, signed));
        } else {
            widen(level, values, 0, false, out);
        }
    }

    fn decode_by_vectors<O: OutInt>(&self, start: usize, out: &mut [O], scratch: &mut Scratch) -> Result<()> {
        let mut row = start;
        let mut rest = out;
        while !rest.is_empty() {
            let vector = row / VECTOR_ROWS;
            let first = vector * VECTOR_ROWS;
            let rows = (self.len() - first).min(VECTOR_ROWS);
            let skip = row - first;
            let n = (rows - skip).min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            if n == rows {
                self.decode_vector(vector, now, scratch)?;
            } else {
                let mut values = scratch.take();
                let done = self.decode_vector(vector, &mut values[..rows], scratch);
                if done.is_ok() {
                    widen_canonical(&values[skip..skip + n], self.signed, now);
                }
                scratch.give(values);
                done?;
            }
            row += n;
            rest = later;
        }
        Ok(())
    }

    /// Decodes all rows of vector `v`; `out` has as many.
    pub(super) fn decode_vector<O: OutInt>(
        &self,
        v: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        match &self.kind {
            Kind::BitPack(b) => b.decode_vector(v, out, scratch),
            Kind::Delta(d) => d.decode_vector(v, out, scratch),
            _ => self.decode_range(v * VECTOR_ROWS, out, scratch),
        }
    }

    /// Decodes the selected ones of `rows`, one after another. Of the vectors that have some, all rows are unpacked, but only these are widened
    /// and written. False, and nothing is decoded, where whole frames have to be decompressed, or bits can't be told by the vector: then it is
    /// better to decode all rows at once.
    ///
    /// # Errors
    /// As [`IntDecoder::decode`]; also when `out` has not as many rows as are selected.
    pub(crate) fn decode_selected<O: OutInt>(
        &self,
        rows: &Range<usize>,
        selection: Selection<'_>,
        out: &mut [O],
    ) -> Result<bool> {
        if self.in_frames() || !selection.is_by_vectors() {
            return Ok(false);
        }
        self.check_output::<O>()?;
        self.check_range(rows.start, rows.len())?;
        let wrong = |out: usize| {
            FormatError::invalid("decoding selected rows", format!("{out} values are left over or missing"))
        };
        let (mut scratch, mut room, mut rest) = (Scratch::new(), Selected::default(), out);
        for vector in rows.start / VECTOR_ROWS..rows.end.div_ceil(VECTOR_ROWS) {
            let (selected, count) = selection.of_vector(vector, rows, &mut room);
            if count > rest.len() {
                return Err(wrong(count - rest.len()));
            }
            let (now, later) = rest.split_at_mut(count);
            if count > 0 {
                self.decode_vector_selected(vector, selected, now, &mut scratch)?;
            }
            rest = later;
        }
        if rest.is_empty() { Ok(true) } else { Err(wrong(rest.len())) }
    }

    /// Whether single vectors are as dear as the frames they lie in.
    fn in_frames(&self) -> bool {
        match &self.kind {
            Kind::Pcodec(_) => true,
            Kind::Dictionary(d) => d.codes().in_frames(),
            _ => false,
        }
    }

    /// Decodes the rows of vector `v` that are selected; `out` has as many.
    pub(super) fn decode_vector_selected<O: OutInt>(
        &self,
        v: usize,
        selected: &Selected,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let rows = (self.len() - v * VECTOR_ROWS).min(VECTOR_ROWS);
        if out.len() == rows {
            return self.decode_vector(v, out, scratch);
        }
        match &self.kind {
            Kind::Constant(value) => {
                out.fill(O::from_canonical(*value, self.signed));
                return Ok(());
            }
            Kind::BitPack(b) if b.decode_selected(v, selected, out, scratch)? => return Ok(()),
            Kind::Dictionary(d) => return d.decode_vector_selected(v, selected, out, scratch),
            _ => {}
        }
        let mut values = scratch.take();
        let done = self.decode_vector(v, &mut values[..rows], scratch);
        if done.is_ok() {
            compress(Level::current(), &mut values, selected);
            widen_canonical(&values[..out.len()], self.signed, out);
        }
        scratch.give(values);
        done
    }

    /// Asks for the memory that taking a row will read: worth it before rows of many pages are taken.
    pub(crate) fn prefetch(&self, row: usize) {
        match &self.kind {
            Kind::Plain8(v) => prefetch_at(v, row),
            Kind::Plain16(v) => prefetch_at(v, row),
            Kind::Plain32(v) => prefetch_at(v, row),
            Kind::Plain64(v) => prefetch_at(v, row),
            Kind::BitPack(b) if row < self.len() => b.prefetch(row),
            Kind::Delta(d) => d.prefetch(row),
            Kind::Dictionary(d) => d.prefetch(row),
            _ => {}
        }
    }

    /// Takes the values of single rows. Only vectors with rows are touched, and decoded only where many of their rows are
    /// taken. Fastest when `rows` ascend.
    ///
    /// # Errors
    /// As [`IntDecoder::decode`]; also when `rows` and `out` differ in length.
    pub fn take<O: OutInt>(&self, rows: &[u32], out: &mut [O]) -> Result<()> {
        self.check_output::<O>()?;
        if rows.len() != out.len() {
            return Err(FormatError::invalid(
                "taking rows",
                format!("{} rows into {} values", rows.len(), out.len()),
            ));
        }
        let mut scratch = Scratch::new();
        // A page has one or two of the rows taken from a large file: a place for many would cost more to clear than they.
        let mut few = [0u64; TAKE_FEW];
        if rows.len() <= TAKE_FEW {
            return self.take_chunks(rows, out, &mut few, &mut scratch);
        }
        let mut many = scratch.take();
        let done = self.take_chunks(rows, out, &mut many[..], &mut scratch);
        scratch.give(many);
        done
    }

    /// Takes as many rows at a time as there is room for.
    fn take_chunks<O: OutInt>(
        &self,
        rows: &[u32],
        out: &mut [O],
        room: &mut [u64],
        scratch: &mut Scratch,
    ) -> Result<()> {
        for (rows, out) in rows.chunks(room.len()).zip(out.chunks_mut(room.len())) {
            let values = &mut room[..rows.len()];
            self.take_canonical(rows, values, scratch)?;
            widen_canonical(values, self.signed, out);
        }
        Ok(())
    }

    /// Takes canonical values, in any order.
    pub(super) fn take_canonical(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
        let len = self.len();
        if let Some(row) = rows.iter().find(|r| **r as usize >= len) {
            return Err(FormatError::invalid("taking rows", format!("row {row} of a page of {len}")));
        }
        let (bits, signed) = (self.bits, self.signed);
        let mut each = |f: &dyn Fn(usize) -> u64| {
            for (row, out) in rows.iter().zip(&mut *out) {
                *out = extend(f(*row as usize), bits, signed);
            }
        };
        match &self.kind {
            Kind::Plain8(v) => each(&|r| u64::from(v[r])),
            Kind::Plain16(v) => each(&|r| u64::from(v[r])),
            Kind::Plain32(v) => each(&|r| u64::from(v[r])),
            Kind::Plain64(v) => each(&|r| v[r]),
            Kind::Constant(v) => out.fill(*v),
            Kind::BitPack(b) => {
                return b.take(rows, out, scratch);
            }
            Kind::Sequence(first, step) => {
                each(&|r| sequence_value(*first, *step, r, bits, signed));
            }
            Kind::Delta(d) => return d.take(rows, out, scratch),
            // Single values are as dear as the frame they lie in.
            Kind::Pcodec(p) => {
                return self.take_by_blocks(rows, out, p.frame_values(), scratch);
            }
            Kind::RunEnd(r) => return r.take(rows, out, scratch),
            Kind::Sparse(s) => return s.take(rows, out, scratch),
            Kind::Dictionary(d) => return d.take(rows, out, scratch),
        }
        Ok(())
    }

    /// Takes rows block by block: a block is decoded whole, and once for all its rows that follow each other.
    fn take_by_blocks(
        &self,
        rows: &[u32],
        out: &mut [u64],
        block: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut decoded = Vec::new();
        let mut out = out;
        for group in rows.chunk_by(|a, b| *a as usize / block == *b as usize / block) {
            let index = group[0] as usize / block;
            let (now, later) = out.split_at_mut(group.len());
            out = later;
            let first = index * block;
            decoded.resize((self.len() - first).min(block), 0u64);
            self.decode_range(first, &mut decoded, scratch)?;
            for (row, o) in group.iter().zip(now) {
                *o = decoded[*row as usize - first];
            }
        }
        Ok(())
    }

    /// Evaluates a test on the encoded values of rows `start .. start + len`: bit `i` of `out` is row `start + i`. Whole words
    /// are written, zero past the last row.
    ///
    /// # Errors
    /// As [`IntDecoder::decode`]; also when `start` is not a multiple of 64 or `out` has too few words.
    pub fn filter(&self, pred: &IntPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        self.filter_test(&IntTest::new(pred, self.bits, self.signed, len), start, out, len)
    }

    /// As [`IntDecoder::filter`], with the test made.
    pub(super) fn filter_test(
        &self,
        test: &IntTest,
        start: usize,
        out: &mut [u64],
        len: usize,
    ) -> Result<()> {
        self.check_range(start, len)?;
        let words = len.div_ceil(64);
        if !start.is_multiple_of(64) || out.len() < words {
            return Err(FormatError::invalid(
                "filtering a page",
                format!("{len} rows from {start} into {} words", out.len()),
            ));
        }
        let out = &mut out[..words];
        let mut scratch = Scratch::new();
        match &self.kind {
            Kind::Constant(v) => {
                fill(out, len, test.matches(*v));
                Ok(())
            }
            Kind::RunEnd(r) => r.filter(test, start, out, len, &mut scratch),
            Kind::Sparse(s) => s.filter(test, start, out, len),
            Kind::Dictionary(d) => d.filter(test, start, out, len, &mut scratch),
            Kind::BitPack(b) => self.filter_packed(b, test, start, out, len, &mut scratch),
            Kind::Pcodec(p) => self.filter_decoded(p.frame_values(), test, start, out, len, &mut scratch),
            _ => self.filter_decoded(VECTOR_ROWS, test, start, out, len, &mut scratch),
        }
    }

    /// Filters vectors by their packed values.
    fn filter_packed(
        &self,
        packed: &BitPack<'a>,
        test: &IntTest,
        start: usize,
        out: &mut [u64],
        len: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut whole = [0u64; VECTOR_ROWS / 64];
        let mut row = start;
        let mut rest = out;
        while row < start + len {
            let v = row / VECTOR_ROWS;
            let first = v * VECTOR_ROWS;
            let rows = (self.len() - first).min(VECTOR_ROWS);
            let skip = row - first;
            let wanted = (rows - skip).min(start + len - row);
            let (now, later) = rest.split_at_mut(wanted.div_ceil(64));
            if wanted == rows {
                packed.filter_vector(v, rows, test, now, scratch)?;
            } else {
                packed.filter_vector(v, rows, test, &mut whole[..rows.div_ceil(64)], scratch)?;
                now.copy_from_slice(&whole[skip / 64..][..now.len()]);
                super::test::trim(now, wanted);
            }
            row += wanted;
            rest = later;
        }
        Ok(())
    }

    /// Decodes `block` values at a time and tests those.
    fn filter_decoded(
        &self,
        block: usize,
        test: &IntTest,
        start: usize,
        out: &mut [u64],
        len: usize,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut values = vec![0u64; block.min(len)];
        for (i, out) in out.chunks_mut(block / 64).enumerate() {
            let from = i * block;
            let values = &mut values[..(len - from).min(block)];
            self.decode_range(start + from, values, scratch)?;
            test.bits(Level::current(), values, out);
        }
        Ok(())
    }

    fn check_output<O: OutInt>(&self) -> Result<()> {
        if O::BITS < self.bits as usize {
            return Err(FormatError::invalid(
                "decoding integers",
                format!("{:?} does not fit {} bits", self.ptype(), O::BITS),
            ));
        }
        Ok(())
    }

    fn check_range(&self, start: usize, len: usize) -> Result<()> {
        if start.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(FormatError::invalid(
                "reading a page",
                format!("rows {start}.. ({len}) of a page of {}", self.len()),
            ));
        }
        Ok(())
    }
}

/// Canonical values in the caller's type.
fn widen_canonical<O: OutInt>(values: &[u64], signed: bool, out: &mut [O]) {
    O::fill_with(out, signed, |i| values[i]);
}

#[inline(always)]
fn sequence_value(first: u64, step: u64, row: usize, bits: u32, signed: bool) -> u64 {
    extend(first.wrapping_add(step.wrapping_mul(row as u64)), bits, signed)
}
