//! Which encoding a page gets.
//!
//! From 10 × 64 values the bytes that each encoding would take are estimated, and with them its cost: a byte has a price in
//! nanoseconds, which depends on the profile, and decoding a value takes a time. The smallest cost wins. What a sample can't
//! tell exactly – all distinct values, the best width of each vector – is found while encoding, which may decline; then the
//! next best is taken.

use super::bitpack::{Packing, best_width};
use super::{bit_width, canonical};
use crate::encoding::{EncodeOptions, Profile};
use crate::kernels::bitpack::packed_words;
use crate::kernels::{Level, extent};
use crate::limits::VECTOR_ROWS;
use crate::phys::{Lane, PhysType};

/// An encoding and what it has to know beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Plain,
    BitPack(Packing),
    Delta,
    RunEnd,
    Sparse,
    Dictionary,
    SharedDictionary,
    Pcodec,
}

/// What may be chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// Levels of nodes left; with one, only leaves.
    pub(super) depth: usize,
    /// Whether the stream can have a dictionary shared by its chunk.
    pub(super) shared: bool,
    /// Whether pcodec may be tried.
    pub(super) pcodec: bool,
}

/// Runs of consecutive values in a sample, and their length.
const RUNS: usize = 10;
const RUN_VALUES: usize = 64;
/// Values up to which the sample is everything.
const WHOLE: usize = 2 * RUNS * RUN_VALUES;
/// Pages of a chunk that are expected to share a dictionary.
pub(super) const SHARING_PAGES: usize = 8;

/// Price of a byte in nanoseconds of decoding. About what reading it from a disk takes in the default profile.
fn byte_price(profile: Profile) -> f64 {
    match profile {
        Profile::Compact => 40.0,
        Profile::Default | Profile::Plain => 1.5,
    }
}

/// Consecutive values from all over the page, canonical.
fn sample<T: Lane>(values: &[T], signed: bool) -> Vec<Vec<u64>> {
    let of = |values: &[T]| values.iter().map(|v| canonical(*v, signed)).collect();
    if values.len() <= WHOLE {
        return vec![of(values)];
    }
    let stride = (values.len() - RUN_VALUES) / (RUNS - 1);
    (0..RUNS).map(|i| of(&values[i * stride..][..RUN_VALUES])).collect()
}

/// Encodings of at least one value, not all equal, cheapest first.
pub(super) fn choose<T: Lane>(
    values: &[T],
    ptype: PhysType,
    (min, max): (T, T),
    allowed: Allowed,
    options: EncodeOptions,
) -> Vec<Scheme> {
    let signed = ptype.is_signed_int();
    let len = values.len() as f64;
    let lane_bytes = (T::BITS / 8) as f64;
    let price = byte_price(options.profile);
    let (min, max) = (canonical(min, signed), canonical(max, signed));
    let sample = sample(values, signed);
    let sampled: usize = sample.iter().map(Vec::len).sum();
    let mut costs: Vec<(f64, Scheme)> = Vec::new();
    let mut add = |bytes: f64, nanos: f64, scheme| costs.push((bytes * price + nanos, scheme));

    add(lane_bytes, 0.05, Scheme::Plain);

    let mut all: Vec<u64> = sample.iter().flatten().copied().collect();
    let vectors = values.len().div_ceil(VECTOR_ROWS);
    // A vector is packed whole: short pages pay for rows they don't have.
    let fill = (vectors * VECTOR_ROWS) as f64 / len;

    let factor = common_factor(&all, min, max);
    let widths = |reference: u64, factor: u64| {
        let mut widths = [0u32; 65];
        for v in &all {
            widths[bit_width(v.wrapping_sub(reference) / factor)] += 1;
        }
        widths
    };
    let uniform = bit_width(max.wrapping_sub(min) / factor);
    let of_vectors = bytes_by_vector(values, signed, factor) / len;
    let plain_packed = (uniform as f64 / 8.0 * fill).min(of_vectors);
    let patched = packed_estimate(&widths(min, factor), uniform, sampled, T::BITS, fill);
    let scaled_nanos = if factor > 1 { 0.25 } else { 0.15 };
    let packing = |patches| Scheme::BitPack(Packing { factor: factor as u32, patches });
    add(plain_packed, scaled_nanos, packing(false));
    add(patched.min(of_vectors), scaled_nanos + 0.15, packing(true));
    let packed = plain_packed.min(patched);

    if allowed.depth > 1 && sampled >= 16 {
        let leaf = packed.min(lane_bytes);

        let deltas: Vec<u64> = sample
            .iter()
            .flat_map(|run| run.windows(2).map(|w| narrow::<T>(w[1].wrapping_sub(w[0]))))
            .collect();
        add(delta_bytes(&deltas, T::BITS, fill) + 8.0 * vectors as f64 / len, 0.6, Scheme::Delta);

        let changes = deltas.iter().filter(|d| **d != 0).count().max(1);
        let runs = (changes as f64 / deltas.len() as f64).max(1.0 / RUN_VALUES as f64 / 8.0);
        let mean = 1.0 / runs;
        add(runs * (leaf + bit_width(mean as u64 * 2) as f64 / 8.0), 0.2 + runs * 3.0, Scheme::RunEnd);

        all.sort_unstable();
        let counts: Vec<usize> = all.chunk_by(|a, b| a == b).map(<[u64]>::len).collect();
        let top = counts.iter().copied().max().unwrap_or(0);
        let others = 1.0 - top as f64 / sampled as f64;
        if others < 0.15 {
            add(others.max(0.5 / sampled as f64) * (2.0 + leaf), 0.1 + others * 3.0, Scheme::Sparse);
        }

        let distinct = estimate_distinct(&counts, values.len(), sampled);
        if distinct * 3.0 < len {
            let codes = (distinct.log2().ceil().max(1.0) / 8.0) * fill;
            let value = leaf.max(1.0).min(lane_bytes);
            add(codes + distinct * value / len, 0.55, Scheme::Dictionary);
            if allowed.shared && distinct < 40_000.0 && values.len() >= 1 << 14 {
                // Shared values are decoded and kept by readers: worth it only for a gain.
                add(
                    codes * 1.02 + distinct * value / len / SHARING_PAGES as f64,
                    0.65,
                    Scheme::SharedDictionary,
                );
            }
        }
    }
    costs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut schemes: Vec<Scheme> = costs.into_iter().map(|(_, scheme)| scheme).collect();
    if allowed.pcodec && options.profile == Profile::Compact && values.len() >= 256 {
        // How small pcodec makes a page only it can tell.
        schemes.insert(0, Scheme::Pcodec);
    }
    schemes
}

/// The low bits of a lane.
fn narrow<T: Lane>(v: u64) -> u64 {
    T::from_u64(v).to_u64()
}

/// Bytes a value, packed in one width with patches, given how many of the sample take how many bits.
fn packed_estimate(widths: &[u32; 65], widest: usize, sampled: usize, lane_bits: usize, fill: f64) -> f64 {
    // As if the sample were one vector.
    let scaled = widths.map(|n| (n as usize * VECTOR_ROWS / sampled.max(1)) as u32);
    let patch = 2 + if widest > 32 { 8 } else { lane_bits.min(32) / 8 };
    let (_, bytes) = best_width(&scaled, widest, patch);
    (bytes as f64 + 16.0) / VECTOR_ROWS as f64 * fill
}

/// Bytes a value of differences.
fn delta_bytes(deltas: &[u64], bits: usize, fill: f64) -> f64 {
    let signed: Vec<i64> = deltas.iter().map(|d| super::extend(*d, bits as u32, true) as i64).collect();
    let mut sorted = signed.clone();
    sorted.sort_unstable();
    // The few smallest count as outliers, as they do when packing.
    let low = sorted.get(sorted.len() / 50).copied().unwrap_or(0);
    let high = sorted.last().copied().unwrap_or(0);
    let mut widths = [0u32; 65];
    for d in &signed {
        widths[if *d < low { 64 } else { bit_width(d.wrapping_sub(low) as u64) }] += 1;
    }
    let widest = if sorted.first() == Some(&low) { bit_width(high.wrapping_sub(low) as u64) } else { 64 };
    packed_estimate(&widths, widest, deltas.len(), bits, fill)
}

/// The greatest common divisor of all differences from the smallest value, if it fits 32 bits; else 1.
fn common_factor(sample: &[u64], min: u64, max: u64) -> u64 {
    let mut factor = max.wrapping_sub(min);
    for v in sample {
        let mut rest = v.wrapping_sub(min);
        while rest != 0 {
            (factor, rest) = (rest, factor % rest);
        }
        if factor == 1 {
            return 1;
        }
    }
    if factor == 0 || factor > u64::from(u32::MAX) { 1 } else { factor }
}

/// Bytes when every vector has its own reference and width, without patches.
fn bytes_by_vector<T: Lane>(values: &[T], signed: bool, factor: u64) -> f64 {
    let level = Level::current();
    let bytes: usize = values
        .chunks(VECTOR_ROWS)
        .map(|vector| {
            let (lo, hi) = extent::extent(level, vector, signed);
            let range = canonical(hi, signed).wrapping_sub(canonical(lo, signed));
            packed_words(bit_width(range / factor)) * 8 + 16
        })
        .sum();
    bytes as f64
}

/// How many distinct values a page has, from how often each appears in the sample (the estimator of Chao, 1984).
fn estimate_distinct(counts: &[usize], values: usize, sampled: usize) -> f64 {
    if sampled == values {
        return counts.len() as f64;
    }
    let once = counts.iter().filter(|c| **c == 1).count() as f64;
    let twice = counts.iter().filter(|c| **c == 2).count() as f64;
    (counts.len() as f64 + once * (once - 1.0).max(0.0) / (2.0 * (twice + 1.0))).min(values as f64)
}
