//! Floats, by their keys of IEEE 754 total order, to bits, LSB first.

use super::leveled;
use crate::encoding::float::Float;

leveled! {
    /// Bit `i` of `out` says whether `lo <= key(values[i]) <= hi`, or with `negated` that it is not so. Writes whole words; bits
    /// past the last value are zero.
    pub fn key_bits<F: Float>(values: &[F], lo: i64, hi: i64, negated: bool, out: &mut [u64]) {
        mask_of(values, out, |v| {
            let key = v.key();
            (lo <= key && key <= hi) != negated
        });
    }
}

leveled! {
    /// Bit `i` of `out` says whether `key(values[i])` is in `set`, which ascends, or with `negated` that it is not. Writes whole
    /// words; bits past the last value are zero.
    pub fn member_bits<F: Float>(values: &[F], set: &[i64], negated: bool, out: &mut [u64]) {
        mask_of(values, out, |v| set.binary_search(&v.key()).is_ok() != negated);
    }
}

/// Evaluates a test on each of `values` into mask words; bits past the last value are zero.
#[inline(always)]
pub(crate) fn mask_of<T: Copy>(values: &[T], words: &mut [u64], test: impl Fn(T) -> bool) {
    let (chunks, tail) = values.as_chunks::<64>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        let mut bits = 0u64;
        for i in 0..64 {
            bits |= u64::from(test(chunk[i])) << i;
        }
        *word = bits;
    }
    if !tail.is_empty() {
        words[chunks.len()] = tail.iter().enumerate().fold(0, |bits, (i, &v)| bits | u64::from(test(v)) << i);
    }
}
