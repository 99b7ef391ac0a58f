//! Few distinct values: codes into a dictionary.
//!
//! Node: child 0: codes (`U8` or `U16`); child 1: the distinct values, a node of floats of the same type. The writer sorts
//! them by total order, so that a range of values is a range of codes; readers don't rely on it.

use super::{Float, FloatDecoder};
use crate::encoding::bounds::fill_words;
use crate::encoding::int::{IntDecoder, encode_ints};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::{FormatError, Result};
use crate::kernels::Level;
use crate::kernels::gather::gather;
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::{Lane, PhysType};
use crate::predicate::leaf::{FloatPred, IntPred};

/// Distinct values above which a writer gives up.
pub(super) const DISTINCT_MAX: usize = 4096;
/// Slots of the writer's hash table: four for every value it may hold.
const SLOTS: usize = 4 * DISTINCT_MAX;

/// The distinct values of a page and the code of each value.
#[derive(Debug)]
pub(super) struct Coded<F> {
    values: Vec<F>,
    codes: Vec<u16>,
}

impl<F: Float> Coded<F> {
    /// Codes for all values, unless they are too various.
    pub(super) fn of(values: &[F]) -> Option<Self> {
        // 0 is a free slot, else the code + 1.
        let mut slots = vec![0u16; SLOTS];
        let mut distinct: Vec<F> = Vec::new();
        let mut codes = Vec::with_capacity(values.len());
        for v in values {
            let bits = v.bits();
            // Fibonacci hashing, twice folded: decimals differ in high bits, small integers in low ones.
            let mixed = (bits.to_u64() ^ bits.to_u64() >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut at = (mixed >> 50) as usize % SLOTS;
            loop {
                match slots[at] {
                    0 if distinct.len() == DISTINCT_MAX => return None,
                    0 => {
                        distinct.push(*v);
                        slots[at] = distinct.len() as u16;
                    }
                    code if distinct[code as usize - 1].bits() != bits => {
                        at = (at + 1) % SLOTS;
                        continue;
                    }
                    _ => {}
                }
                codes.push(slots[at] - 1);
                break;
            }
        }
        let mut order: Vec<u16> = (0..distinct.len() as u16).collect();
        order.sort_unstable_by_key(|i| distinct[*i as usize].key());
        let mut rank = vec![0u16; distinct.len()];
        for (r, i) in order.iter().enumerate() {
            rank[*i as usize] = r as u16;
        }
        for code in &mut codes {
            *code = rank[*code as usize];
        }
        Some(Self { values: order.iter().map(|i| distinct[*i as usize]).collect(), codes })
    }

    /// Bits a value takes.
    pub(super) fn bits_per_value(&self) -> f64 {
        let code = self.values.len().next_power_of_two().trailing_zeros();
        let dictionary = self.values.len() * F::Bits::BITS;
        f64::from(code) + dictionary as f64 / self.codes.len().max(1) as f64
    }

    /// Writes the codes and the dictionary.
    pub(super) fn write(&self, depth: usize, options: EncodeOptions, out: &mut PageBuilder) -> Result<()> {
        out.node(NodeSpec {
            children: 2,
            ..NodeSpec::new(EncodingKind::Dictionary, F::PTYPE, self.codes.len())
        });
        let depth = depth.saturating_sub(1);
        if self.values.len() <= 256 {
            let codes: Vec<u8> = self.codes.iter().map(|c| *c as u8).collect();
            encode_ints(&codes, PhysType::U8, depth, options, out)?;
        } else {
            encode_ints(&self.codes, PhysType::U16, depth, options, out)?;
        }
        super::encode::write_plain(&self.values, out);
        Ok(())
    }
}

/// A dictionary node, checked; its dictionary is decoded.
#[derive(Debug)]
pub(super) struct Dictionary<'a> {
    codes: IntDecoder<'a>,
    /// Bits of the distinct values.
    values: Vec<u64>,
}

impl<'a> Dictionary<'a> {
    pub(super) fn open<F: Float>(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let (codes, values) = (node.child(0)?, node.child(1)?);
        if codes.len() != node.len()
            || !matches!(codes.ptype(), PhysType::U8 | PhysType::U16)
            || values.ptype() != F::PTYPE
        {
            return Err(node.corrupt(format!(
                "{} codes of {:?} for values of {:?}",
                codes.len(),
                codes.ptype(),
                values.ptype()
            )));
        }
        Ok(Self {
            codes: IntDecoder::open(codes, cx)?,
            values: FloatDecoder::open(values, cx)?.all_bits::<F>()?,
        })
    }

    pub(super) fn decode<F: Float>(&self, start: usize, out: &mut [F::Bits]) -> Result<()> {
        let mut codes = [0u16; VECTOR_ROWS];
        let mut at = 0;
        while at < out.len() {
            let n = (VECTOR_ROWS - (start + at) % VECTOR_ROWS).min(out.len() - at);
            self.codes.decode(start + at, &mut codes[..n])?;
            self.look_up(&codes[..n], &mut out[at..at + n])?;
            at += n;
        }
        Ok(())
    }

    pub(super) fn take<F: Float>(&self, rows: &[u32], out: &mut [F::Bits]) -> Result<()> {
        let mut codes = [0u16; 256];
        for (rows, out) in rows.chunks(codes.len()).zip(out.chunks_mut(codes.len())) {
            let codes = &mut codes[..rows.len()];
            self.codes.take(rows, codes)?;
            self.look_up(codes, out)?;
        }
        Ok(())
    }

    fn look_up<O: crate::kernels::widen::OutInt>(&self, codes: &[u16], out: &mut [O]) -> Result<()> {
        if gather(Level::current(), codes, &self.values, false, out) {
            return Ok(());
        }
        Err(FormatError::corrupt(
            "page",
            format!("a code lies outside a dictionary of {}", self.values.len()),
        ))
    }

    /// Tests the dictionary, then the codes as they are packed.
    pub(super) fn filter<F: Float>(
        &self,
        pred: &FloatPred,
        start: usize,
        out: &mut [u64],
        len: usize,
    ) -> Result<()> {
        let hit = |bits: &u64| pred.matches(F::of_bits(F::Bits::from_u64(*bits)).key());
        let hits: Vec<i128> =
            self.values.iter().enumerate().filter(|(_, v)| hit(v)).map(|(i, _)| i as i128).collect();
        let (Some(first), Some(last)) = (hits.first(), hits.last()) else {
            fill_words(out, len, false);
            return Ok(());
        };
        if hits.len() == self.values.len() {
            fill_words(out, len, true);
            return Ok(());
        }
        let pred = if last - first + 1 == hits.len() as i128 {
            IntPred::Range { lo: *first, hi: *last, negated: false }
        } else {
            let others: Vec<i128> =
                (0..self.values.len() as i128).filter(|i| hits.binary_search(i).is_err()).collect();
            match (others.first(), others.last()) {
                (Some(lo), Some(hi)) if hi - lo + 1 == others.len() as i128 => {
                    IntPred::Range { lo: *lo, hi: *hi, negated: true }
                }
                _ => IntPred::Set { values: hits, negated: false },
            }
        };
        self.codes.filter(&pred, start, out, len)
    }
}
