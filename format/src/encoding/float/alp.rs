//! ALP: floats that were decimals, as integers (Afroozeh, Kuffó, Boncz: "ALP: Adaptive Lossless floating-Point
//! Compression", SIGMOD 2023), with two changes: the exponents are those of the page, and the last step may divide.
//!
//! A value is `n * 10^f * 10^-e`, in that order, each step rounded to double; with flag 2 the last step is a division by
//! `10^e`, which brings back every decimal of at most 15 digits where the multiplication misses a few. `10^-e` is the double
//! nearest to it. With `e` 0, `f` stands for zeros at the end of large numbers. Singles are calculated in double precision and rounded once more. `n` is in
//! [`Float::ALP_RANGE`](super::Float::ALP_RANGE), inside which the function is monotonic: a range of values is a range of
//! integers, and the child filters it as it is packed.
//!
//! Node: `width` = `e | f << 8`; child 0: the integers, signed, of the value's width; with flag 1, buffer 0: ascending rows
//! (`u16`) of values that did not come back bit for bit, buffer 1: those values.

use super::Float;
use super::patches::Patches;
use crate::encoding::bounds::fill_words;
use crate::encoding::int::{IntDecoder, encode_ints};
use crate::encoding::{DecodeContext, EncodeOptions};
use crate::error::Result;
use crate::kernels::Level;
use crate::kernels::alp::{Scale, comes_back, to_floats, to_integers};
use crate::limits::VECTOR_ROWS;
use crate::page::{EncodingKind, NodeSpec, NodeView, PageBuilder};
use crate::phys::Lane;
use crate::predicate::leaf::{FloatPred, IntPred};

const FLAG_PATCHES: u8 = 1;
const FLAG_DIVIDES: u8 = 2;

/// Largest exponent of either type.
const EXPONENT_MAX: u8 = 18;
const POWERS: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];
const INVERSES: [f64; 19] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15,
    1e-16, 1e-17, 1e-18,
];

/// Rows decoded at a time, so that the integers are still in the first-level cache when they are scaled.
const BATCH_ROWS: usize = 2 * VECTOR_ROWS;

/// How a page's integers were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exponents {
    e: u8,
    f: u8,
    divides: bool,
}

impl Exponents {
    /// Every choice a writer considers for a type, the cheapest to decode first.
    pub(super) fn all<F: Float>() -> Vec<Self> {
        let max = F::ALP_EXPONENT_MAX;
        // Singles are scaled with precision to spare: only the difference of the exponents matters to them.
        let single = F::PTYPE.width() == Some(4);
        let mut all = Vec::new();
        for e in 0..=max {
            all.extend((0..=if single { 0 } else { e }).map(|f| Self { e, f, divides: false }));
        }
        all.extend((1..=max).map(|f| Self { e: 0, f, divides: false }));
        if !single {
            all.extend((1..=max).map(|e| Self { e, f: 0, divides: true }));
        }
        all
    }

    /// Whether decoding divides.
    pub(super) fn divides(self) -> bool {
        self.divides
    }

    fn scale(self) -> Scale {
        let down = if self.divides { POWERS } else { INVERSES }[self.e as usize];
        Scale { up: POWERS[self.f as usize], down, divides: self.divides }
    }

    /// The integers of `values`, and how many do not come back.
    fn integers<F: Float>(self, values: &[F], out: &mut [F::Bits]) -> usize {
        let (up, down) = (POWERS[self.e as usize], INVERSES[self.f as usize]);
        to_integers(Level::current(), values, up, down, self.scale(), out)
    }

    /// Bits a value that these exponents would take, judged by a sample; `scratch` is as long as the sample.
    pub(super) fn bits_per_value<F: Float>(self, sample: &[F], scratch: &mut [F::Bits]) -> f64 {
        let misses = self.integers(sample, scratch);
        if sample.is_empty() || misses * 4 > sample.len() {
            return f64::INFINITY;
        }
        let scale = self.scale();
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        for (v, bits) in sample.iter().zip(&*scratch) {
            let n = signed::<F>(*bits);
            if misses == 0 || comes_back(*v, n, *bits, scale) {
                (min, max) = (min.min(n), max.max(n));
            }
        }
        let width = 64 - max.wrapping_sub(min).leading_zeros();
        let patch = (F::Bits::BITS + 16) as f64;
        f64::from(width) + patch * misses as f64 / sample.len() as f64
    }
}

/// The integer stored as these bits.
#[inline(always)]
fn signed<F: Float>(bits: F::Bits) -> i64 {
    let shift = 64 - F::Bits::BITS as u32;
    (bits.to_u64() << shift) as i64 >> shift
}

/// Writes values as an ALP node; `depth` levels of nodes may be used.
pub(super) fn encode<F: Float>(
    values: &[F],
    exponents: Exponents,
    depth: usize,
    options: EncodeOptions,
    out: &mut PageBuilder,
) -> Result<()> {
    let mut integers = vec![F::Bits::from_u64(0); values.len()];
    let scale = exponents.scale();
    let (mut rows, mut odd) = (Vec::<u16>::new(), Vec::<F>::new());
    for (v, values) in values.chunks(VECTOR_ROWS).enumerate() {
        let integers = &mut integers[v * VECTOR_ROWS..][..values.len()];
        if exponents.integers(values, integers) == 0 {
            continue;
        }
        let good =
            |i: usize, bits: F::Bits| comes_back(values[i], nearest(values[i], exponents), bits, scale);
        // What stands in for a value that is patched packs as its neighbours do.
        let first = (0..values.len()).find(|&i| good(i, integers[i]));
        let mut stand_in = first.map_or(F::Bits::from_u64(0), |i| integers[i]);
        for i in 0..values.len() {
            if good(i, integers[i]) {
                stand_in = integers[i];
            } else {
                integers[i] = stand_in;
                rows.push((v * VECTOR_ROWS + i) as u16);
                odd.push(values[i]);
            }
        }
    }
    let patched = !rows.is_empty();
    out.node(NodeSpec {
        flags: if patched { FLAG_PATCHES } else { 0 } | if exponents.divides { FLAG_DIVIDES } else { 0 },
        children: 1,
        width: u32::from(exponents.e) | u32::from(exponents.f) << 8,
        ..NodeSpec::new(EncodingKind::Alp, F::PTYPE, values.len())
    });
    if patched {
        out.buffer(&rows);
        out.buffer(&odd);
    }
    encode_ints(&integers, F::SIGNED, depth.saturating_sub(1), options, out)
}

/// The integer found for a value, before it was cut to the stored width.
fn nearest<F: Float>(v: F, exponents: Exponents) -> i64 {
    F::alp_round(v.to_f64() * POWERS[exponents.e as usize] * INVERSES[exponents.f as usize])
}

/// An ALP node, checked.
#[derive(Debug)]
pub(super) struct Alp<'a> {
    scale: Scale,
    integers: IntDecoder<'a>,
    patches: Patches<'a>,
}

impl<'a> Alp<'a> {
    pub(super) fn open<F: Float>(node: NodeView<'a>, cx: DecodeContext<'a>) -> Result<Self> {
        let (e, f, divides) =
            (node.width() & 0xFF, node.width() >> 8, node.flags() & FLAG_DIVIDES == FLAG_DIVIDES);
        if e > u32::from(EXPONENT_MAX) || f > u32::from(EXPONENT_MAX) || node.flags() > 3 {
            return Err(node.corrupt(format!("exponents {e} and {f}, flags {}", node.flags())));
        }
        let child = node.child(0)?;
        if child.len() != node.len() || child.ptype() != F::SIGNED {
            return Err(node.corrupt(format!("{} integers of {:?}", child.len(), child.ptype())));
        }
        let patches = match node.flags() & FLAG_PATCHES {
            0 => Patches::NONE,
            _ => Patches::open(&node, 0, size_of::<F>())?,
        };
        Ok(Self {
            scale: Exponents { e: e as u8, f: f as u8, divides }.scale(),
            integers: IntDecoder::open(child, cx)?,
            patches,
        })
    }

    pub(super) fn decode<F: Float>(&self, start: usize, out: &mut [F::Bits]) -> Result<()> {
        let level = Level::current();
        let mut at = 0;
        while at < out.len() {
            // Up to the next boundary of a batch, so that the child decodes whole vectors.
            let n = (BATCH_ROWS - (start + at) % BATCH_ROWS).min(out.len() - at);
            let batch = &mut out[at..at + n];
            self.integers.decode(start + at, batch)?;
            to_floats::<F>(level, self.scale, batch);
            at += n;
        }
        for (i, bits) in self.patches.in_range(start, out.len()) {
            out[i] = F::Bits::from_u64(bits);
        }
        Ok(())
    }

    pub(super) fn take<F: Float>(&self, rows: &[u32], out: &mut [F::Bits]) -> Result<()> {
        self.integers.take(rows, out)?;
        to_floats::<F>(Level::current(), self.scale, out);
        for (i, bits) in self.patches.among(rows) {
            out[i] = F::Bits::from_u64(bits);
        }
        Ok(())
    }

    /// Tests the integers as they are packed; false when the test can't be asked of integers.
    pub(super) fn filter<F: Float>(
        &self,
        pred: &FloatPred,
        start: usize,
        out: &mut [u64],
        len: usize,
    ) -> Result<bool> {
        match pred {
            FloatPred::Range { lo, hi, negated } => match self.integer_range::<F>(*lo, *hi) {
                Some((lo, hi)) => {
                    let pred = IntPred::Range { lo: lo.into(), hi: hi.into(), negated: *negated };
                    self.integers.filter(&pred, start, out, len)?;
                }
                None => fill_words(out, len, *negated),
            },
            FloatPred::Set { values, negated } => {
                let mut members = Vec::new();
                for key in values {
                    match self.integer_range::<F>(*key, *key) {
                        Some((lo, hi)) if lo == hi => members.push(i128::from(lo)),
                        Some(_) => return Ok(false),
                        None => {}
                    }
                }
                let pred = IntPred::Set { values: members, negated: *negated };
                self.integers.filter(&pred, start, out, len)?;
            }
        }
        for (i, bits) in self.patches.in_range(start, len) {
            let hit = pred.matches(F::of_bits(F::Bits::from_u64(bits)).key());
            out[i / 64] = out[i / 64] & !(1 << (i % 64)) | u64::from(hit) << (i % 64);
        }
        Ok(true)
    }

    /// The integers whose values have keys in `lo..=hi`.
    fn integer_range<F: Float>(&self, lo: i64, hi: i64) -> Option<(i64, i64)> {
        let first = self.first_at_least::<F>(lo);
        let last = match hi.checked_add(1) {
            Some(above) => self.first_at_least::<F>(above) - 1,
            None => F::ALP_RANGE.1,
        };
        (lo <= hi && first <= last).then_some((first, last))
    }

    /// The smallest integer whose value has a key of at least `key`; one past the last when there is none.
    fn first_at_least<F: Float>(&self, key: i64) -> i64 {
        let (mut from, mut to) = (F::ALP_RANGE.0, F::ALP_RANGE.1 + 1);
        while from < to {
            let middle = from + (to - from) / 2;
            if self.scale.apply::<F>(F::Bits::from_u64(middle as u64)).key() < key {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }
}
