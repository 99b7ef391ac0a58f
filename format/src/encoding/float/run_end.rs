//! Runs of equal values.
//!
//! Node: child 0: the row after each run (`U32`), ascending, the last one the node's length; child 1: the value of each run, a
//! node of floats of the same type.

use super::encode::write_best;
use super::{Float, FloatDecoder};
use crate::encoding::int::{IntDecoder, encode_ints};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::Result;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};
use crate::predicate::leaf::FloatPred;

/// Writes values as runs; `depth` levels of nodes may be used.
pub(super) fn encode<F: Float>(
    values: &[F],
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let (mut ends, mut heads) = (Vec::<u32>::new(), Vec::<F>::new());
    for run in values.chunk_by(|a, b| a.bits() == b.bits()) {
        ends.push(ends.last().unwrap_or(&0) + run.len() as u32);
        heads.push(run[0]);
    }
    out.node(NodeSpec { children: 2, ..NodeSpec::new(EncodingKind::RunEnd, F::PTYPE, values.len()) });
    encode_ints(&ends, PhysType::U32, depth.saturating_sub(1), options, out)?;
    write_best(&heads, depth.saturating_sub(1), options, out)
}

/// A node of runs, checked and decoded.
#[derive(Debug)]
pub(super) struct Runs {
    ends: Vec<u32>,
    /// Bits of the runs' values.
    values: Vec<u64>,
}

impl Runs {
    pub(super) fn open<F: Float>(node: NodeView<'_>, cx: DecodeContext<'_>) -> Result<Self> {
        let (ends, values) = (node.child(0)?, node.child(1)?);
        if ends.len() != values.len()
            || ends.len() > node.len()
            || ends.ptype() != PhysType::U32
            || values.ptype() != F::PTYPE
        {
            return Err(node.corrupt(format!(
                "{} ends of {:?} for {} values of {:?}",
                ends.len(),
                ends.ptype(),
                values.len(),
                values.ptype()
            )));
        }
        let mut decoded = vec![0u32; ends.len()];
        IntDecoder::open(ends, cx)?.decode(0, &mut decoded)?;
        let ends = decoded;
        let ascending = ends.windows(2).all(|w| w[0] < w[1]) && ends.first().is_none_or(|e| *e > 0);
        if !ascending || ends.last().map_or(0, |e| *e as usize) != node.len() {
            return Err(node.corrupt("its runs are out of order or do not cover it"));
        }
        Ok(Self { ends, values: FloatDecoder::open(values, cx)?.all_bits::<F>()? })
    }

    /// Calls `f` with each run in rows `start..start + n`: its first and last-plus-one position in that range, and its bits.
    fn in_range(&self, start: usize, n: usize, mut f: impl FnMut(usize, usize, u64)) {
        let from = self.ends.partition_point(|e| *e as usize <= start);
        let mut begin = 0;
        for (end, bits) in self.ends[from..].iter().zip(&self.values[from..]) {
            if begin == n {
                break;
            }
            let end = (*end as usize - start).min(n);
            f(begin, end, *bits);
            begin = end;
        }
    }

    pub(super) fn decode<F: Float>(&self, start: usize, out: &mut [F::Bits]) {
        self.in_range(start, out.len(), |begin, end, bits| out[begin..end].fill(F::Bits::from_u64(bits)));
    }

    pub(super) fn take<F: Float>(&self, rows: &[u32], out: &mut [F::Bits]) {
        for (row, o) in rows.iter().zip(out) {
            let run = self.ends.partition_point(|e| e <= row);
            *o = F::Bits::from_u64(self.values[run]);
        }
    }

    /// Tests each run once.
    pub(super) fn filter<F: Float>(&self, pred: &FloatPred, start: usize, out: &mut [u64], len: usize) {
        out[..len.div_ceil(64)].fill(0);
        self.in_range(start, len, |begin, end, bits| {
            if pred.matches(F::of_bits(F::Bits::from_u64(bits)).key()) {
                crate::encoding::bounds::set_range(out, begin, end);
            }
        });
    }
}
