//! Reads wide integers: ranges, rows, tests.

use std::ops::Range;

use arrow_buffer::{Buffer, i256};
use bytemuck::cast_slice;

use super::{WORDS_MAX, Wide};
use crate::encoding::DecodeContext;
use crate::encoding::bounds::{check_mask, check_range, check_rows, fill_words};
use crate::encoding::int::{IntDecoder, OutInt};
use crate::error::{FormatError, Result};
use crate::kernels::total_order::mask_of;
use crate::limits::VECTOR_ROWS;
use crate::mask::Selection;
use crate::page::{EncodingKind, NodeView};
use crate::phys::PhysType;
use crate::predicate::leaf::IntPred;

/// A node of wide integers, checked.
#[derive(Debug)]
pub struct WideDecoder<'a> {
    node: NodeView<'a>,
    form: Form<'a>,
}

#[derive(Debug)]
enum Form<'a> {
    /// Exactly the node's values, as bytes.
    Plain(&'a [u8]),
    /// The value's bytes; empty when the node is.
    Constant(&'a [u8]),
    /// Words of 64 bits, lowest first; at least one.
    Words(Vec<IntDecoder<'a>>),
    /// Codes, and the bytes of the distinct values.
    Dictionary(Box<IntDecoder<'a>>, &'a [u8]),
}

impl<'a> WideDecoder<'a> {
    /// Asks for the memory that taking a row will read.
    pub(crate) fn prefetch(&self, row: usize) {
        match &self.form {
            Form::Words(words) => words.iter().for_each(|w| w.prefetch(row)),
            Form::Dictionary(codes, _) => codes.prefetch(row),
            _ => {}
        }
    }

    /// Opens a node of [`PhysType::I128`] or [`PhysType::I256`].
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not one of wide integers or contradicts itself.
    pub fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let width = match node.ptype() {
            PhysType::I128 => 16,
            PhysType::I256 => 32,
            other => return Err(node.corrupt(format!("wide integers expected, found {other:?}"))),
        };
        let form = match node.kind() {
            EncodingKind::Plain => Form::Plain(exactly(&node, node.len(), width)?),
            EncodingKind::Constant => Form::Constant(exactly(&node, node.len().min(1), width)?),
            EncodingKind::Narrow => Form::Words(Self::open_words(&node, width / 8, cx)?),
            EncodingKind::Dictionary => {
                let (codes, values) = (node.child(0)?, node.child(1)?);
                if codes.len() != node.len()
                    || !matches!(codes.ptype(), PhysType::U8 | PhysType::U16)
                    || values.ptype() != node.ptype()
                    || values.kind() != EncodingKind::Plain
                {
                    return Err(node.corrupt(format!(
                        "{} codes of {:?} for {} values of {:?}",
                        codes.len(),
                        codes.ptype(),
                        values.kind().name(),
                        values.ptype()
                    )));
                }
                let codes = Box::new(IntDecoder::open(codes, cx)?);
                Form::Dictionary(codes, exactly(&values, values.len(), width)?)
            }
            other => return Err(node.corrupt(format!("wide integers are never {}", other.name()))),
        };
        Ok(Self { node, form })
    }

    fn open_words(
        node: &NodeView<'a>,
        words_max: usize,
        cx: DecodeContext<'a>,
    ) -> Result<Vec<IntDecoder<'a>>> {
        let words = node.children();
        if words == 0 || words > words_max {
            return Err(node.corrupt(format!("{words} words of at most {words_max}")));
        }
        (0..words)
            .map(|i| {
                let child = node.child(i)?;
                let ptype = if i + 1 == words { PhysType::I64 } else { PhysType::U64 };
                if child.len() != node.len() || child.ptype() != ptype {
                    return Err(node.corrupt(format!(
                        "word {i} has {} values of {:?}, not {ptype:?}",
                        child.len(),
                        child.ptype()
                    )));
                }
                IntDecoder::open(child, cx)
            })
            .collect()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }

    /// How the values are encoded.
    pub fn kind(&self) -> EncodingKind {
        self.node.kind()
    }

    /// Decodes rows `start..start + out.len()` of a node of [`PhysType::I128`].
    ///
    /// # Errors
    /// When the node has another type, or the range lies outside it; [`FormatError::Corrupt`] when the encoded values
    /// contradict themselves.
    pub fn decode_i128(&self, start: usize, out: &mut [i128]) -> Result<()> {
        if let Some(word) = self.only_word()? {
            return word.decode(start, out);
        }
        self.decode(start, out)
    }

    /// Decodes the selected ones of `rows` of a node of [`PhysType::I128`] whose values fit 64 bits, sign included; false, and nothing is
    /// decoded, of others.
    ///
    /// # Errors
    /// As [`WideDecoder::decode_i128`].
    pub(crate) fn decode_selected<O: OutInt>(
        &self,
        rows: &Range<usize>,
        selection: Selection<'_>,
        out: &mut [O],
    ) -> Result<bool> {
        match self.only_word()? {
            Some(word) => word.decode_selected(rows, selection, out),
            None => Ok(false),
        }
    }

    /// The one word of each value, where one is enough for all.
    fn only_word(&self) -> Result<Option<&IntDecoder<'a>>> {
        self.check_type::<i128>()?;
        Ok(match &self.form {
            Form::Words(words) => words.first().filter(|_| words.len() == 1),
            _ => None,
        })
    }

    /// Decodes rows `start..start + out.len()` of a node of [`PhysType::I128`] into 64 bits, sign included.
    ///
    /// # Errors
    /// As [`WideDecoder::decode_i128`]; [`FormatError::Corrupt`] when a value does not fit.
    pub(crate) fn decode_i64(&self, start: usize, out: &mut [u64]) -> Result<()> {
        if let Some(word) = self.only_word()? {
            return word.decode(start, out);
        }
        let mut wide = [0; VECTOR_ROWS];
        let mut start = start;
        for out in out.chunks_mut(VECTOR_ROWS) {
            self.decode(start, &mut wide[..out.len()])?;
            self.narrow(&wide, out)?;
            start += out.len();
        }
        Ok(())
    }

    /// Decodes single rows, ascending, of a node of [`PhysType::I128`] into 64 bits.
    ///
    /// # Errors
    /// As [`WideDecoder::take_i128`]; [`FormatError::Corrupt`] when a value does not fit.
    pub(crate) fn take_i64(&self, rows: &[u32], out: &mut [u64]) -> Result<()> {
        if let Some(word) = self.only_word()? {
            return word.take(rows, out);
        }
        check_rows(self.len(), rows, out.len())?;
        let mut wide = [0; VECTOR_ROWS];
        for (rows, out) in rows.chunks(VECTOR_ROWS).zip(out.chunks_mut(VECTOR_ROWS)) {
            self.take(rows, &mut wide[..out.len()])?;
            self.narrow(&wide, out)?;
        }
        Ok(())
    }

    fn narrow(&self, wide: &[i128], out: &mut [u64]) -> Result<()> {
        for (out, value) in out.iter_mut().zip(wide) {
            let narrow = i64::try_from(*value);
            *out = narrow.map_err(|_| self.node.corrupt(format!("{value} has more than 18 digits")))? as u64;
        }
        Ok(())
    }

    /// Decodes rows `start..start + out.len()` of a node of [`PhysType::I256`].
    ///
    /// # Errors
    /// As [`WideDecoder::decode_i128`].
    pub fn decode_i256(&self, start: usize, out: &mut [i256]) -> Result<()> {
        self.decode(start, out)
    }

    /// Decodes single rows, ascending, of a node of [`PhysType::I128`].
    ///
    /// # Errors
    /// When the node has another type, a row lies outside it, or `out` is not of the rows' number; [`FormatError::Corrupt`]
    /// when the encoded values contradict themselves.
    pub fn take_i128(&self, rows: &[u32], out: &mut [i128]) -> Result<()> {
        self.take(rows, out)
    }

    /// Decodes single rows, ascending, of a node of [`PhysType::I256`].
    ///
    /// # Errors
    /// As [`WideDecoder::take_i128`].
    pub fn take_i256(&self, rows: &[u32], out: &mut [i256]) -> Result<()> {
        self.take(rows, out)
    }

    fn check_type<W: Wide>(&self) -> Result<()> {
        if self.node.ptype() == W::PTYPE {
            return Ok(());
        }
        Err(FormatError::invalid(
            "reading wide integers",
            format!("a page of {:?} read as {:?}", self.node.ptype(), W::PTYPE),
        ))
    }

    pub(super) fn decode<W: Wide>(&self, start: usize, out: &mut [W]) -> Result<()> {
        self.check_type::<W>()?;
        check_range(self.len(), start, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                let values = bytes[start * W::BYTES..].chunks_exact(W::BYTES);
                out.iter_mut().zip(values).for_each(|(o, b)| *o = W::read(b));
            }
            Form::Constant(bytes) => out.fill(W::read(bytes)),
            Form::Words(words) => {
                let mut columns = vec![0; words.len() * VECTOR_ROWS];
                by_vectors(start, out, |row, out| {
                    join(words, &mut columns, out, |child, column| child.decode(row, column))
                })?;
            }
            Form::Dictionary(codes, values) => {
                by_vectors(start, out, |row, out| look_up(values, out, |column| codes.decode(row, column)))?;
            }
        }
        Ok(())
    }

    pub(super) fn take<W: Wide>(&self, rows: &[u32], out: &mut [W]) -> Result<()> {
        self.check_type::<W>()?;
        check_rows(self.len(), rows, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                out.iter_mut().zip(rows).for_each(|(o, &r)| *o = W::read(&bytes[r as usize * W::BYTES..]));
            }
            Form::Constant(bytes) => out.fill(W::read(bytes)),
            Form::Words(words) => {
                let mut columns = vec![0; words.len() * VECTOR_ROWS];
                for (rows, out) in rows.chunks(VECTOR_ROWS).zip(out.chunks_mut(VECTOR_ROWS)) {
                    join(words, &mut columns, out, |child, column| child.take(rows, column))?;
                }
            }
            Form::Dictionary(codes, values) => {
                for (rows, out) in rows.chunks(VECTOR_ROWS).zip(out.chunks_mut(VECTOR_ROWS)) {
                    look_up(values, out, |column| codes.take(rows, column))?;
                }
            }
        }
        Ok(())
    }

    /// Tests rows `start..start + len` of a node of [`PhysType::I128`] into whole mask words; bits past `len` are zero. `start`
    /// is a multiple of 1,024.
    ///
    /// # Errors
    /// When the node has another type, the range lies outside it, or `out` is too short; [`FormatError::Corrupt`] when the
    /// encoded values contradict themselves.
    pub fn filter(&self, pred: &IntPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        self.check_type::<i128>()?;
        check_mask(self.len(), start, len, out.len())?;
        if !start.is_multiple_of(VECTOR_ROWS) {
            return Err(FormatError::invalid("filtering values", format!("row {start} starts no vector")));
        }
        match &self.form {
            Form::Plain(bytes) => {
                test_values(&cast_slice::<u8, i128>(bytes)[start..start + len], pred, out);
            }
            Form::Constant(bytes) => fill_words(out, len, pred.matches(i128::read(bytes))),
            Form::Words(words) if words.len() == 1 => words[0].filter(pred, start, out, len)?,
            Form::Dictionary(codes, values) => {
                let hits = values.chunks_exact(16).enumerate().filter(|(_, b)| pred.matches(i128::read(b)));
                let hits = IntPred::Set { values: hits.map(|(i, _)| i as i128).collect(), negated: false };
                codes.filter(&hits, start, out, len)?;
            }
            Form::Words(_) => {
                let mut values = vec![0i128; len.min(VECTOR_ROWS)];
                for at in (0..len).step_by(VECTOR_ROWS) {
                    let n = VECTOR_ROWS.min(len - at);
                    self.decode(start + at, &mut values[..n])?;
                    test_values(&values[..n], pred, &mut out[at / 64..(at + n).div_ceil(64)]);
                }
            }
        }
        Ok(())
    }

    /// The page's own bytes, where the values lie in it as they are.
    pub fn plain_buffer(&self) -> Option<Buffer> {
        match self.form {
            Form::Plain(_) => self.node.arrow(0).ok(),
            _ => None,
        }
    }
}

/// The node's first buffer, which must hold exactly `n` values.
fn exactly<'a>(node: &NodeView<'a>, n: usize, width: usize) -> Result<&'a [u8]> {
    let bytes = node.bytes(0)?;
    if bytes.len() == n * width {
        return Ok(bytes);
    }
    Err(node.corrupt(format!("{} bytes for {n} values of {width}", bytes.len())))
}

/// Calls `f` with the first row and the output of every vector's part of a range.
fn by_vectors<W>(
    start: usize,
    out: &mut [W],
    mut f: impl FnMut(usize, &mut [W]) -> Result<()>,
) -> Result<()> {
    let mut at = 0;
    while at < out.len() {
        let n = (VECTOR_ROWS - (start + at) % VECTOR_ROWS).min(out.len() - at);
        f(start + at, &mut out[at..at + n])?;
        at += n;
    }
    Ok(())
}

/// Fills `out`, of at most a vector, from its words, each of which `read` fetches into its own vector of `columns`.
fn join<'a, W: Wide>(
    words: &[IntDecoder<'a>],
    columns: &mut [u64],
    out: &mut [W],
    read: impl Fn(&IntDecoder<'a>, &mut [u64]) -> Result<()>,
) -> Result<()> {
    for (child, column) in words.iter().zip(columns.chunks_exact_mut(VECTOR_ROWS)) {
        read(child, &mut column[..out.len()])?;
    }
    let top = words.len() - 1;
    for (i, o) in out.iter_mut().enumerate() {
        let sign = (columns[top * VECTOR_ROWS + i] as i64 >> 63) as u64;
        let mut value = [sign; WORDS_MAX];
        for (word, v) in value[..=top].iter_mut().enumerate() {
            *v = columns[word * VECTOR_ROWS + i];
        }
        *o = W::of_words(value);
    }
    Ok(())
}

/// Fills `out`, of at most a vector, from the dictionary `values`; `read` fetches the codes.
fn look_up<W: Wide>(values: &[u8], out: &mut [W], read: impl Fn(&mut [u16]) -> Result<()>) -> Result<()> {
    let mut codes = [0u16; VECTOR_ROWS];
    let codes = &mut codes[..out.len()];
    read(codes)?;
    for (o, code) in out.iter_mut().zip(codes) {
        let at = usize::from(*code) * W::BYTES;
        let Some(bytes) = values.get(at..at + W::BYTES) else {
            return Err(FormatError::corrupt(
                "page",
                format!("code {code} lies outside a dictionary of {} values", values.len() / W::BYTES),
            ));
        };
        *o = W::read(bytes);
    }
    Ok(())
}

fn test_values(values: &[i128], pred: &IntPred, out: &mut [u64]) {
    match pred {
        IntPred::Range { lo, hi, negated } => {
            mask_of(values, out, |v| (i128::from_le(v) >= *lo && i128::from_le(v) <= *hi) != *negated);
        }
        IntPred::Set { .. } => mask_of(values, out, |v| pred.matches(i128::from_le(v))),
    }
}
