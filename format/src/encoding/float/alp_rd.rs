//! ALP-RD: floats that never were decimals. Sign, exponent and the first bits of the mantissa take few forms: they become a
//! code of at most three bits; the bits below are packed as they are (ALP paper, section 3.4).
//!
//! Node: `width` = number of right bits, 1 to the type's width − 1; buffer 0: at most 8 left parts (`u16`), by code; buffer 1:
//! ascending rows (`u16`) whose left part is none of them, buffer 2: their left parts (`u16`); child 0: codes (`U8`); child 1:
//! right parts, unsigned, of the value's width.

use super::Float;
use super::patches::Patches;
use crate::encoding::int::{IntDecoder, encode_ints};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::Result;
use crate::kernels::Level;
use crate::kernels::alp::join;
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};

/// Left parts with a code.
const CODES: usize = 8;
/// Bits of a left part, at most.
const LEFT_BITS_MAX: u32 = 16;

/// Where values are cut, and the left parts that have codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    right: u32,
    left: Vec<u16>,
}

impl Cut {
    /// The best cut for a sample, and the bits a value takes with it.
    pub(super) fn best<F: Float>(sample: &[F]) -> Option<(Self, f64)> {
        let bits = F::Bits::BITS as u32;
        let mut sorted: Vec<u64> = sample.iter().map(|v| v.bits().to_u64()).collect();
        sorted.sort_unstable();
        (bits - LEFT_BITS_MAX..bits)
            .map(|right| Self::at(&sorted, right))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|_| !sample.is_empty())
    }

    /// The cut that leaves `right` bits, judged by the ascending bits of a sample.
    fn at(sorted: &[u64], right: u32) -> (Self, f64) {
        let runs = sorted.chunk_by(|a, b| a >> right == b >> right);
        let mut counts: Vec<(usize, u16)> = runs.map(|run| (run.len(), (run[0] >> right) as u16)).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts.truncate(CODES);
        let coded: usize = counts.iter().map(|c| c.0).sum();
        let cut = Self { right, left: counts.into_iter().map(|c| c.1).collect() };
        let cost = cut.cost(sorted.len() - coded, sorted.len());
        (cut, cost)
    }

    /// Bits a value takes with this cut, judged by a sample.
    pub(super) fn bits_per_value<F: Float>(&self, sample: &[F]) -> f64 {
        let left = |v: &&F| !self.left.contains(&((v.bits().to_u64() >> self.right) as u16));
        self.cost(sample.iter().filter(left).count(), sample.len())
    }

    fn cost(&self, misses: usize, of: usize) -> f64 {
        let code = self.left.len().next_power_of_two().trailing_zeros();
        f64::from(self.right + code) + 32.0 * misses as f64 / of.max(1) as f64
    }
}

/// Writes values as an ALP-RD node; `depth` levels of nodes may be used.
pub(super) fn encode<F: Float>(
    values: &[F],
    cut: &Cut,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let mask = (1u64 << cut.right) - 1;
    let (mut rows, mut odd) = (Vec::<u16>::new(), Vec::<u16>::new());
    let mut codes = Vec::with_capacity(values.len());
    let mut right = Vec::with_capacity(values.len());
    for (i, v) in values.iter().enumerate() {
        let bits = v.bits().to_u64();
        let left = (bits >> cut.right) as u16;
        let code = cut.left.iter().position(|l| *l == left);
        if code.is_none() {
            rows.push(i as u16);
            odd.push(left);
        }
        codes.push(code.unwrap_or(0) as u8);
        right.push(F::Bits::from_u64(bits & mask));
    }
    out.node(NodeSpec {
        children: 2,
        width: cut.right,
        ..NodeSpec::new(EncodingKind::AlpRd, F::PTYPE, values.len())
    });
    out.buffer(&cut.left);
    out.buffer(&rows);
    out.buffer(&odd);
    encode_ints(&codes, PhysType::U8, depth.saturating_sub(1), options, out)?;
    encode_ints(&right, F::UNSIGNED, depth.saturating_sub(1), options, out)
}

/// An ALP-RD node, checked.
#[derive(Debug)]
pub(super) struct AlpRd<'a> {
    right_bits: u32,
    /// Left parts by code, in their place.
    left: [u64; CODES],
    patches: Patches<'a>,
    codes: IntDecoder<'a>,
    right: IntDecoder<'a>,
}

impl<'a> AlpRd<'a> {
    pub(super) fn open<F: Float>(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let right_bits = node.width();
        let lefts = node.typed::<u16>(0)?;
        if right_bits == 0 || right_bits >= F::Bits::BITS as u32 || lefts.len() > CODES {
            return Err(node.corrupt(format!("{right_bits} right bits, {} left parts", lefts.len())));
        }
        let (codes, right) = (node.child(0)?, node.child(1)?);
        if codes.len() != node.len()
            || right.len() != node.len()
            || codes.ptype() != PhysType::U8
            || right.ptype() != F::UNSIGNED
        {
            return Err(node.corrupt(format!(
                "{} codes of {:?}, {} right parts of {:?}",
                codes.len(),
                codes.ptype(),
                right.len(),
                right.ptype()
            )));
        }
        let mut left = [0; CODES];
        for (place, part) in left.iter_mut().zip(lefts) {
            *place = u64::from(*part) << right_bits;
        }
        Ok(Self {
            right_bits,
            left,
            patches: Patches::open(&node, 1, 2)?,
            codes: IntDecoder::open(codes, cx)?,
            right: IntDecoder::open(right, cx)?,
        })
    }

    pub(super) fn decode<F: Float>(&self, start: usize, out: &mut [F::Bits]) -> Result<()> {
        let level = Level::current();
        let mut codes = [0u8; VECTOR_ROWS];
        let mut at = 0;
        while at < out.len() {
            let n = (VECTOR_ROWS - (start + at) % VECTOR_ROWS).min(out.len() - at);
            self.codes.decode(start + at, &mut codes[..n])?;
            self.right.decode(start + at, &mut out[at..at + n])?;
            join(level, &codes[..n], &self.left, &mut out[at..at + n]);
            at += n;
        }
        self.put::<F>(self.patches.in_range(start, out.len()), out);
        Ok(())
    }

    pub(super) fn take<F: Float>(&self, rows: &[u32], out: &mut [F::Bits]) -> Result<()> {
        let mut codes = [0u8; 256];
        for (rows, out) in rows.chunks(codes.len()).zip(out.chunks_mut(codes.len())) {
            let codes = &mut codes[..rows.len()];
            self.codes.take(rows, codes)?;
            self.right.take(rows, out)?;
            join(Level::current(), codes, &self.left, out);
            self.put::<F>(self.patches.among(rows), out);
        }
        Ok(())
    }

    fn put<F: Float>(&self, patches: impl Iterator<Item = (usize, u64)>, out: &mut [F::Bits]) {
        let mask = (1u64 << self.right_bits) - 1;
        for (i, left) in patches {
            out[i] = F::Bits::from_u64(left << self.right_bits | out[i].to_u64() & mask);
        }
    }
}
