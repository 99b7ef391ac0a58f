//! Opens an integer node, and decodes, takes or tests its values.

use arrow_buffer::Buffer;

use super::bitpack::BitPack;
use super::scratch::Scratch;
use super::test::{IntTest, fill};
use super::{OutInt, bits_of, extend};
use crate::encoding::DecodeContext;
use crate::error::{FormatError, Result};
use crate::kernels::Level;
use crate::kernels::widen::widen;
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeView};
use crate::phys::PhysType;
use crate::predicate::IntPred;

/// Rows of one vector from which decoding all of it is cheaper than unpacking them one by one.
const TAKE_DENSE: usize = 48;

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
    BitPack(BitPack<'a>),
}

impl<'a> IntDecoder<'a> {
    /// Opens a node, and checks that its buffers are as long as decoding will need.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not an integer node or contradicts itself.
    pub fn open(node: NodeView<'a>, _cx: DecodeContext<'a>) -> Result<Self> {
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
            EncodingKind::BitPack => Kind::BitPack(BitPack::open(node)?),
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

    fn decode_range<O: OutInt>(&self, start: usize, out: &mut [O], scratch: &mut Scratch) -> Result<()> {
        let level = Level::current();
        let rows = start..start + out.len();
        match &self.kind {
            Kind::Plain8(v) => self.copy(level, &v[rows], out),
            Kind::Plain16(v) => self.copy(level, &v[rows], out),
            Kind::Plain32(v) => self.copy(level, &v[rows], out),
            Kind::Plain64(v) => self.copy(level, &v[rows], out),
            Kind::Constant(v) => out.fill(O::from_canonical(*v, self.signed)),
            Kind::BitPack(_) => return self.decode_by_vectors(start, out, scratch),
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
    fn decode_vector<O: OutInt>(&self, v: usize, out: &mut [O], scratch: &mut Scratch) -> Result<()> {
        match &self.kind {
            Kind::BitPack(b) => b.decode_vector(v, out, scratch),
            _ => self.decode_range(v * VECTOR_ROWS, out, scratch),
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
        let mut values = [0u64; 256];
        for (rows, out) in rows.chunks(256).zip(out.chunks_mut(256)) {
            let values = &mut values[..rows.len()];
            self.take_canonical(rows, values, &mut scratch)?;
            widen_canonical(values, self.signed, out);
        }
        Ok(())
    }

    /// Takes canonical values, in any order.
    fn take_canonical(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
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
                return self
                    .take_by_vectors(rows, out, scratch, |v, rows, out| b.take_in_vector(v, rows, out));
            }
        }
        Ok(())
    }

    fn take_by_vectors(
        &self,
        rows: &[u32],
        out: &mut [u64],
        scratch: &mut Scratch,
        sparse: impl Fn(usize, &[u32], &mut [u64]) -> Result<()>,
    ) -> Result<()> {
        let mut out = out;
        for group in rows.chunk_by(|a, b| *a as usize / VECTOR_ROWS == *b as usize / VECTOR_ROWS) {
            let v = group[0] as usize / VECTOR_ROWS;
            let (now, later) = out.split_at_mut(group.len());
            out = later;
            if group.len() < TAKE_DENSE {
                sparse(v, group, now)?;
                continue;
            }
            let n = (self.len() - v * VECTOR_ROWS).min(VECTOR_ROWS);
            let mut values = scratch.take();
            let done = self.decode_vector(v, &mut values[..n], scratch);
            if done.is_ok() {
                for (row, o) in group.iter().zip(now) {
                    *o = values[*row as usize % VECTOR_ROWS];
                }
            }
            scratch.give(values);
            done?;
        }
        Ok(())
    }

    /// Evaluates a test on the encoded values of rows `start .. start + len`: bit `i` of `out` is row `start + i`. Whole words
    /// are written, zero past the last row.
    ///
    /// # Errors
    /// As [`IntDecoder::decode`]; also when `start` is not a multiple of 1,024 or `out` has too few words.
    pub fn filter(&self, pred: &IntPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        self.filter_test(&IntTest::new(pred, self.bits, self.signed), start, out, len)
    }

    fn filter_test(&self, test: &IntTest, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        self.check_range(start, len)?;
        let words = len.div_ceil(64);
        if !start.is_multiple_of(VECTOR_ROWS) || out.len() < words {
            return Err(FormatError::invalid(
                "filtering a page",
                format!("{len} rows from {start} into {} words", out.len()),
            ));
        }
        let out = &mut out[..words];
        if let Kind::Constant(v) = &self.kind {
            fill(out, len, test.matches(*v));
            return Ok(());
        }
        let mut scratch = Scratch::new();
        let mut whole = [0u64; VECTOR_ROWS / 64];
        for (i, out) in out.chunks_mut(VECTOR_ROWS / 64).enumerate() {
            let v = start / VECTOR_ROWS + i;
            let rows = (self.len() - v * VECTOR_ROWS).min(VECTOR_ROWS);
            let wanted = (len - i * VECTOR_ROWS).min(rows);
            if wanted == rows {
                self.filter_vector(v, rows, test, out, &mut scratch)?;
            } else {
                let whole = &mut whole[..rows.div_ceil(64)];
                self.filter_vector(v, rows, test, whole, &mut scratch)?;
                out.copy_from_slice(&whole[..out.len()]);
                super::test::trim(out, wanted);
            }
        }
        Ok(())
    }

    fn filter_vector(
        &self,
        v: usize,
        rows: usize,
        test: &IntTest,
        out: &mut [u64],
        scratch: &mut Scratch,
    ) -> Result<()> {
        if let Kind::BitPack(b) = &self.kind {
            return b.filter_vector(v, rows, test, out, scratch);
        }
        let mut values = scratch.take();
        let done = self.decode_vector(v, &mut values[..rows], scratch);
        if done.is_ok() {
            test.bits(Level::current(), &values[..rows], out);
        }
        scratch.give(values);
        done
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
