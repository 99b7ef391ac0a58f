//! Ranges of values to bits, LSB first.

use super::leveled;
use crate::phys::Lane;

leveled! {
    /// Bit `i` of `out` says whether `values[i] - from <= span`, in the lane's wrapping arithmetic: one comparison for a range
    /// of signed or unsigned values. Writes whole words; bits past the last value are zero.
    pub fn range_bits<L: Lane>(values: &[L], from: L, span: L, out: &mut [u64]) {
        let from = from.to_u64();
        let mut chunks = values.chunks_exact(64);
        let mut words = out.iter_mut();
        for (chunk, word) in (&mut chunks).zip(&mut words) {
            let mut hits = [0u8; 64];
            for (hit, v) in hits.iter_mut().zip(chunk) {
                *hit = u8::from(L::from_u64(v.to_u64().wrapping_sub(from)) <= span);
            }
            *word = collect_bits(&hits);
        }
        if let (rest @ [_, ..], Some(word)) = (chunks.remainder(), words.next()) {
            *word = rest.iter().enumerate().fold(0, |word, (i, v)| {
                word | u64::from(L::from_u64(v.to_u64().wrapping_sub(from)) <= span) << i
            });
        }
    }
}

/// The low bits of 64 bytes that are 0 or 1.
#[inline(always)]
fn collect_bits(hits: &[u8; 64]) -> u64 {
    let mut word = 0;
    for (i, eight) in hits.as_chunks::<8>().0.iter().enumerate() {
        // Each byte's bit lands in its own place of the top byte.
        let gathered = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= gathered << (8 * i);
    }
    word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::Level;

    proptest! {
        #[test]
        fn bits_are_those_of_the_values(values in prop::collection::vec(any::<u16>(), 0..300), from: u16, span: u16) {
            for level in Level::available() {
                let mut out = vec![0; values.len().div_ceil(64)];
                range_bits(level, &values, from, span, &mut out);
                for i in 0..out.len() * 64 {
                    let want = values.get(i).is_some_and(|v| v.wrapping_sub(from) <= span);
                    prop_assert_eq!(out[i / 64] >> (i % 64) & 1 == 1, want);
                }
            }
        }
    }
}
