//! Differences between neighbours, for values that ascend or drift.
//!
//! ```text
//! buffer 0  u64 a vector: what the vector's first value is the first difference away from
//! child 0   the differences, of the signed type of the same width, as many as values; they wrap in that width
//! ```
//!
//! Each vector has its own base, so a vector decodes without the ones before it.

use super::decode::IntDecoder;
use super::encode::encode_leaf;
use super::scratch::Scratch;
use super::{OutInt, bits_of, extend};
use crate::encoding::DecodeContext;
use crate::error::Result;
use crate::kernels::Level;
use crate::kernels::prefetch::prefetch_at;
use crate::kernels::prefix::{prefix_sum, sum};
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};

use super::bitpack::Packing;

/// A delta node.
#[derive(Debug)]
pub(super) struct Delta<'a> {
    bases: &'a [u64],
    deltas: Box<IntDecoder<'a>>,
    bits: u32,
    signed: bool,
}

impl<'a> Delta<'a> {
    pub(super) fn open(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let bases: &[u64] = node.typed(0)?;
        let deltas = IntDecoder::open(node.child(0)?, cx)?;
        let bits = bits_of(node.ptype());
        if deltas.len() != node.len()
            || bits_of(deltas.ptype()) != bits
            || bases.len() != node.len().div_ceil(VECTOR_ROWS)
        {
            return Err(node.corrupt(format!(
                "{} differences of {:?} and {} bases for {} values",
                deltas.len(),
                deltas.ptype(),
                bases.len(),
                node.len()
            )));
        }
        Ok(Self { bases, deltas: Box::new(deltas), bits, signed: node.ptype().is_signed_int() })
    }

    pub(super) fn decode_vector<O: OutInt>(
        &self,
        v: usize,
        out: &mut [O],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut deltas = scratch.take();
        let done = self.deltas.decode_vector(v, &mut deltas[..out.len()], scratch);
        if done.is_ok() {
            prefix_sum(Level::current(), &deltas[..out.len()], self.bases[v], self.bits, self.signed, out);
        }
        scratch.give(deltas);
        done
    }

    /// Asks for the memory of a row's difference.
    pub(super) fn prefetch(&self, row: usize) {
        prefetch_at(self.bases, row / VECTOR_ROWS);
        self.deltas.prefetch(row);
    }

    /// The canonical values at `rows` of the node, in any order. A vector's differences are decoded once for all its rows that
    /// follow each other, but summed only up to these.
    pub(super) fn take(&self, rows: &[u32], out: &mut [u64], scratch: &mut Scratch) -> Result<()> {
        let level = Level::current();
        let mut deltas = scratch.take();
        let mut decoded = None;
        let (mut value, mut summed) = (0u64, 0);
        let taking = || {
            for (row, out) in rows.iter().zip(out) {
                let (v, at) = (*row as usize / VECTOR_ROWS, *row as usize % VECTOR_ROWS);
                if decoded != Some(v) {
                    let n = (self.deltas.len() - v * VECTOR_ROWS).min(VECTOR_ROWS);
                    self.deltas.decode_vector(v, &mut deltas[..n], scratch)?;
                    (decoded, value, summed) = (Some(v), self.bases[v], 0);
                } else if at + 1 < summed {
                    (value, summed) = (self.bases[v], 0);
                }
                if at >= summed {
                    value = value.wrapping_add(sum(level, &deltas[summed..=at]));
                    summed = at + 1;
                }
                *out = extend(value, self.bits, self.signed);
            }
            Ok(())
        };
        let done = taking();
        scratch.give(deltas);
        done
    }
}

/// The signed type of a width.
fn signed_of(bits: usize) -> PhysType {
    match bits {
        8 => PhysType::I8,
        16 => PhysType::I16,
        32 => PhysType::I32,
        _ => PhysType::I64,
    }
}

/// Writes values, at least one, as differences.
pub(super) fn encode<T: Lane>(values: &[T], ptype: PhysType, out: &mut PageBuilder) {
    let difference = |a: T, b: T| T::from_u64(a.to_u64().wrapping_sub(b.to_u64()));
    let mut deltas = Vec::with_capacity(values.len());
    // The first difference is free to choose: the second fits in with the others.
    deltas.push(if values.len() > 1 { difference(values[1], values[0]) } else { T::from_u64(0) });
    deltas.extend(values.windows(2).map(|w| difference(w[1], w[0])));
    let bases: Vec<u64> = values
        .iter()
        .step_by(VECTOR_ROWS)
        .zip(deltas.iter().step_by(VECTOR_ROWS))
        .map(|(v, d)| difference(*v, *d).to_u64())
        .collect();
    out.node(NodeSpec { children: 1, ..NodeSpec::new(EncodingKind::Delta, ptype, values.len()) });
    out.buffer(&bases);
    encode_leaf(&deltas, signed_of(T::BITS), Packing { factor: 1, patches: true }, out);
}
