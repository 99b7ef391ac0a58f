//! Reads floats: ranges, rows, tests.

use arrow_buffer::Buffer;
use bytemuck::{cast_slice, pod_read_unaligned};
use multiversion::multiversion;

use super::Float;
use crate::encoding::DecodeContext;
use crate::encoding::bounds::{check_mask, check_range, check_rows, fill_words, mask_of};
use crate::error::{FormatError, Result};
use crate::page::{EncodingKind, NodeView};
use crate::phys::PhysType;
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
    /// The value's bytes; empty when the node is.
    Constant(&'a [u8]),
}

impl<'a> FloatDecoder<'a> {
    /// Opens a node of [`PhysType::F32`] or [`PhysType::F64`].
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the node is not one of floats or contradicts itself.
    pub fn open(node: NodeView<'a>, _cx: DecodeContext<'a>) -> Result<Self> {
        let width = match node.ptype() {
            PhysType::F32 => 4,
            PhysType::F64 => 8,
            other => return Err(node.corrupt(format!("floats expected, found {other:?}"))),
        };
        let exactly = |n: usize| {
            let bytes = node.bytes(0)?;
            if bytes.len() == n * width {
                return Ok(bytes);
            }
            Err(node.corrupt(format!("{} bytes for {n} values of {width}", bytes.len())))
        };
        let form = match node.kind() {
            EncodingKind::Plain => Form::Plain(exactly(node.len())?),
            EncodingKind::Constant => Form::Constant(exactly(node.len().min(1))?),
            other => return Err(node.corrupt(format!("floats are never {}", other.name()))),
        };
        Ok(Self { node, form })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.node.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
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
    /// When `F` is not the node's type, or the range lies outside it.
    pub fn decode<F: Float>(&self, start: usize, out: &mut [F]) -> Result<()> {
        self.check_type::<F>()?;
        check_range(self.len(), start, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                let width = size_of::<F>();
                let end = (start + out.len()) * width;
                bytemuck::cast_slice_mut::<F, u8>(out).copy_from_slice(&bytes[start * width..end]);
            }
            Form::Constant(bytes) => {
                if !out.is_empty() {
                    out.fill(pod_read_unaligned(bytes));
                }
            }
        }
        Ok(())
    }

    /// Decodes single rows, ascending.
    ///
    /// # Errors
    /// When `F` is not the node's type, a row lies outside it, or `out` is not of the rows' number.
    pub fn take<F: Float>(&self, rows: &[u32], out: &mut [F]) -> Result<()> {
        self.check_type::<F>()?;
        check_rows(self.len(), rows, out.len())?;
        match &self.form {
            Form::Plain(bytes) => {
                let values: &[F] = cast_slice(bytes);
                out.iter_mut().zip(rows).for_each(|(o, &r)| *o = values[r as usize]);
            }
            Form::Constant(bytes) => {
                if !out.is_empty() {
                    out.fill(pod_read_unaligned(bytes));
                }
            }
        }
        Ok(())
    }

    /// Tests rows `start..start + len` into whole mask words; bits past `len` are zero.
    ///
    /// # Errors
    /// When the range lies outside the node, or `out` is too short.
    pub fn filter(&self, pred: &FloatPred, start: usize, out: &mut [u64], len: usize) -> Result<()> {
        check_mask(self.len(), start, len, out.len())?;
        match self.node.ptype() {
            PhysType::F32 => self.filter_as::<f32>(pred, start, out, len),
            _ => self.filter_as::<f64>(pred, start, out, len),
        }
        Ok(())
    }

    fn filter_as<F: Float>(&self, pred: &FloatPred, start: usize, out: &mut [u64], len: usize) {
        match &self.form {
            Form::Plain(bytes) => {
                test_values(&cast_slice::<u8, F>(bytes)[start..start + len], pred, out);
            }
            Form::Constant(bytes) => {
                let pass = len > 0 && pred.matches(pod_read_unaligned::<F>(bytes).key());
                fill_words(out, len, pass);
            }
        }
    }

    /// The page's own bytes, where the values lie in it as they are.
    pub fn plain_buffer(&self) -> Option<Buffer> {
        match self.form {
            Form::Plain(_) => self.node.arrow(0).ok(),
            Form::Constant(_) => None,
        }
    }
}

/// Tests values into mask words.
pub(super) fn test_values<F: Float>(values: &[F], pred: &FloatPred, out: &mut [u64]) {
    match pred {
        FloatPred::Range { lo, hi, negated } => test_range(values, *lo, *hi, *negated, out),
        FloatPred::Set { values: set, negated } if set.len() == 1 => {
            test_range(values, set[0], set[0], *negated, out);
        }
        FloatPred::Set { .. } => mask_of(values, out, |v| pred.matches(v.key())),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+bmi2", "x86_64+avx2+bmi2"))]
fn test_range<F: Float>(values: &[F], lo: i64, hi: i64, negated: bool, out: &mut [u64]) {
    mask_of(values, out, |v| {
        let key = v.key();
        (lo <= key && key <= hi) != negated
    });
}
