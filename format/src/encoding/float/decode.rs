//! Reads floats: ranges, rows, tests.

use arrow_buffer::Buffer;
use bytemuck::{cast_slice, cast_slice_mut};

use super::Float;
use super::alp::Alp;
use super::alp_rd::AlpRd;
use super::dictionary::Dictionary;
use super::pcodec::{PART_ROWS, Pcodec};
use super::run_end::Runs;
use crate::encoding::DecodeContext;
use crate::encoding::bounds::{check_mask, check_range, check_rows, fill_words};
use crate::error::{FormatError, Result};
use crate::kernels::Level;
use crate::kernels::total_order::{key_bits, member_bits};
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeView};
use crate::phys::{Lane, PhysType};
use crate::predicate::leaf::FloatPred;

/// A node of floats, checked.
#[derive(Debug)]
pub struct FloatDecoder<'a> {
    node: NodeView<'a>,
    form: Form<'a>,
}

#[derive(Debug)]
enum Form<'a> {
    /// Exactly the node's values, as bytes.
    Plain(&'a [u8]),
    /// The bits of every value.
    Constant(u64),
    Alp(Box<Alp<'a>>),
    AlpRd(Box<AlpRd<'a>>),
    Dictionary(Box<Dictionary<'a>>),
    Runs(Runs),
    Pcodec(Pcodec<'a>),
}

impl<'a> FloatDecoder<'a> {
    /// Opens a node of [`PhysType::F32`] or [`PhysType::F64`].
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not one of floats or contradicts itself.
    pub fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let form = match node.ptype() {
            PhysType::F32 => Self::open_as::<f32>(node, cx)?,
            PhysType::F64 => Self::open_as::<f64>(node, cx)?,
            other => return Err(node.corrupt(format!("floats expected, found {other:?}"))),
        };
        Ok(Self { node, form })
    }

    fn open_as<F: Float>(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Form<'a>> {
        let exactly = |n: usize| {
            let bytes = node.bytes(0)?;
            if bytes.len() == n * size_of::<F>() {
                return Ok(bytes);
            }
            Err(node.corrupt(format!("{} bytes for {n} values of {:?}", bytes.len(), F::PTYPE)))
        };
        Ok(match node.kind() {
            EncodingKind::Plain => Form::Plain(exactly(node.len())?),
            EncodingKind::Constant => {
                let bits = cast_slice::<u8, F::Bits>(exactly(node.len().min(1))?);
                Form::Constant(bits.first().map_or(0, |b| b.to_u64()))
            }
            EncodingKind::Alp => Form::Alp(Box::new(Alp::open::<F>(node, cx)?)),
            EncodingKind::AlpRd => Form::AlpRd(Box::new(AlpRd::open::<F>(node, cx)?)),
            EncodingKind::Dictionary => Form::Dictionary(Box::new(Dictionary::open::<F>(node, cx)?)),
            EncodingKind::RunEnd => Form::Runs(Runs::open::<F>(node, cx)?),
            EncodingKind::Pco => Form::Pcodec(Pcodec::open(node)?),
            other => return Err(node.corrupt(format!("floats are never {}", other.name()))),
        })
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

    fn check_type<F: Float>(&self) -> Result<()> {
        if self.node.ptype() == F::PTYPE {
            return Ok(());
        }
        Err(FormatError::invalid(
            "reading floats",
            format!("a page of {:?} read as {:?}", self.node.ptype(), F::PTYPE),
        ))
    }

    /// Decodes rows `start..start + out.len()`.
    ///
    /// # Errors
    /// When `F` is not the node's type, or the range lies outside it; [`FormatError::Corrupt`] when the encoded values
    /// contradict themselves.
    pub fn decode<F: Float>(&self, start: usize, out: &mut [F]) -> Result<()> {
        self.check_type::<F>()?;
        check_range(self.len(), start, out.len())?;
        let out: &mut [F::Bits] = cast_slice_mut(out);
        match &self.form {
            Form::Plain(bytes) => {
                out.copy_from_slice(&cast_slice::<u8, F::Bits>(bytes)[start..start + out.len()]);
            }
            Form::Constant(bits) => out.fill(F::Bits::from_u64(*bits)),
            Form::Alp(alp) => alp.decode::<F>(start, out)?,
            Form::AlpRd(rd) => rd.decode::<F>(start, out)?,
            Form::Dictionary(dictionary) => dictionary.decode::<F>(start, out)?,
            Form::Runs(runs) => runs.decode::<F>(start, out),
            Form::Pcodec(pco) => pco.decode::<F>(start, out)?,
        }
        Ok(())
    }

    /// The bits of all values.
    pub(super) fn all_bits<F: Float>(&self) -> Result<Vec<u64>> {
        let mut values = vec![F::zeroed(); self.len()];
        self.decode(0, &mut values)?;
        Ok(values.into_iter().map(|v| v.bits().to_u64()).collect())
    }

    /// Decodes single rows, ascending.
    ///
    /// # Errors
    /// When `F` is not the node's type, a row lies outside it, or `out` is not of the rows' number; [`FormatError::Corrupt`]
    /// when the encoded values contradict themselves.
    pub fn take<F: Float>(&self, rows: &[u32], out: &mut [F]) -> Result<()> {
        self.check_type::<F>()?;
        check_rows(self.len(), rows, out.len())?;
        let out: &mut [F::Bits] = cast_slice_mut(out);
        match &self.form {
            Form::Plain(bytes) => {
                let values: &[F::Bits] = cast_slice(bytes);
                for (row, o) in rows.iter().zip(out) {
                    *o = values[*row as usize];
                }
            }
            Form::Constant(bits) => out.fill(F::Bits::from_u64(*bits)),
            Form::Alp(alp) => alp.take::<F>(rows, out)?,
            Form::AlpRd(rd) => rd.take::<F>(rows, out)?,
            Form::Dictionary(dictionary) => dictionary.take::<F>(rows, out)?,
            Form::Runs(runs) => runs.take::<F>(rows, out),
            Form::Pcodec(pco) => pco.take::<F>(rows, out)?,
        }
        Ok(())
    }

    /// Tests rows `start..start + len` into whole mask words; bits past `len` are zero. `start` is a multiple of 1,024.
    ///
    /// # Errors
    /// When the range lies outside the node, or `out` is too short; [`FormatError::Corrupt`] when the encoded values
    /// contradict themselves.
    pub fn filter(&self, pred: &FloatPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        check_mask(self.len(), start, len, out.len())?;
        if !start.is_multiple_of(VECTOR_ROWS) {
            return Err(FormatError::invalid("filtering values", format!("row {start} starts no vector")));
        }
        let out = &mut out[..len.div_ceil(64)];
        match self.node.ptype() {
            PhysType::F32 => self.filter_as::<f32>(pred, start, out, len),
            _ => self.filter_as::<f64>(pred, start, out, len),
        }
    }

    fn filter_as<F: Float>(&self, pred: &FloatPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        match &self.form {
            Form::Plain(bytes) => {
                test_values(&cast_slice::<u8, F>(bytes)[start..start + len], pred, out);
            }
            Form::Constant(bits) => {
                fill_words(out, len, pred.matches(F::of_bits(F::Bits::from_u64(*bits)).key()));
            }
            Form::Alp(alp) => {
                if !alp.filter::<F>(pred, start, out, len)? {
                    self.filter_decoded::<F>(pred, start, out, len)?;
                }
            }
            Form::Dictionary(dictionary) => dictionary.filter::<F>(pred, start, out, len)?,
            Form::Runs(runs) => runs.filter::<F>(pred, start, out, len),
            Form::AlpRd(_) | Form::Pcodec(_) => self.filter_decoded::<F>(pred, start, out, len)?,
        }
        Ok(())
    }

    fn filter_decoded<F: Float>(
        &self,
        pred: &FloatPred,
        start: usize,
        out: &mut [u64],
        len: usize,
    ) -> Result<()> {
        let mut values = vec![F::zeroed(); len.min(PART_ROWS)];
        let mut at = 0;
        while at < len {
            let n = (PART_ROWS - (start + at) % PART_ROWS).min(len - at);
            self.decode(start + at, &mut values[..n])?;
            test_values(&values[..n], pred, &mut out[at / 64..(at + n).div_ceil(64)]);
            at += n;
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

/// Tests values into mask words.
fn test_values<F: Float>(values: &[F], pred: &FloatPred, out: &mut [u64]) {
    let level = Level::current();
    match pred {
        FloatPred::Range { lo, hi, negated } => key_bits(level, values, *lo, *hi, *negated, out),
        FloatPred::Set { values: set, negated } => match set.as_slice() {
            [one] => key_bits(level, values, *one, *one, *negated, out),
            _ => member_bits(level, values, set, *negated, out),
        },
    }
}
