//! Values that are selected, moved together.

use super::Level;
use crate::limits::VECTOR_ROWS;
use crate::phys::Lane;

/// A bit for each value of a vector.
pub type Selected = [u64; VECTOR_ROWS / 64];

/// Moves the values of a vector whose bits are set to its front, and returns how many there are. What comes after them is anything.
pub fn compress<L: Lane>(level: Level, values: &mut [L; VECTOR_ROWS], selected: &Selected) -> usize {
    #[cfg(target_arch = "x86_64")]
    if level.has_vbmi2() {
        // SAFETY: the level says that the processor has the instructions, and lanes are plain data of as many bits as they say.
        return unsafe { x86::compress(values, selected) };
    }
    let _ = level;
    portable(values, selected)
}

fn portable<L: Lane>(values: &mut [L; VECTOR_ROWS], selected: &Selected) -> usize {
    let mut kept = 0;
    for (word, bits) in selected.iter().enumerate() {
        // Run by run: most words have one or two.
        let (mut bits, mut at) = (*bits, word * 64);
        while bits != 0 {
            let skip = bits.trailing_zeros();
            bits >>= skip;
            let run = bits.trailing_ones();
            at += skip as usize;
            values.copy_within(at..at + run as usize, kept);
            kept += run as usize;
            at += run as usize;
            bits = bits.checked_shr(run).unwrap_or(0);
        }
    }
    kept
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm512_loadu_si512, _mm512_maskz_compress_epi8, _mm512_maskz_compress_epi16,
        _mm512_maskz_compress_epi32, _mm512_maskz_compress_epi64, _mm512_storeu_si512,
    };

    use super::Selected;
    use crate::limits::VECTOR_ROWS;
    use crate::phys::Lane;

    /// A register at a time. Each is loaded before anything is written to where it was: the values before it are no more than there were.
    ///
    /// # Safety
    /// `L` is a lane of 8, 16, 32 or 64 bits of plain data.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    pub(super) unsafe fn compress<L: Lane>(values: &mut [L; VECTOR_ROWS], selected: &Selected) -> usize {
        // Up to the first that is not selected, all are where they belong.
        let whole = selected.iter().take_while(|bits| **bits == u64::MAX).count();
        let (start, mut kept) = (values.as_mut_ptr(), whole * 64);
        for (word, bits) in selected.iter().enumerate().skip(whole) {
            for part in 0..L::BITS / 8 {
                let lanes = 512 / L::BITS;
                let bits = bits >> (part * lanes);
                // SAFETY: a register of this word's values lies in the vector, and so does one that starts no later.
                unsafe {
                    let all = _mm512_loadu_si512(start.add(word * 64 + part * lanes).cast());
                    let (some, count) = match L::BITS {
                        8 => (_mm512_maskz_compress_epi8(bits, all), bits.count_ones()),
                        16 => (_mm512_maskz_compress_epi16(bits as u32, all), (bits as u32).count_ones()),
                        32 => (_mm512_maskz_compress_epi32(bits as u16, all), (bits as u16).count_ones()),
                        _ => (_mm512_maskz_compress_epi64(bits as u8, all), (bits as u8).count_ones()),
                    };
                    _mm512_storeu_si512(start.add(kept).cast(), some);
                    kept += count as usize;
                }
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<L: Lane>(selected: &Selected) {
        let all: [L; VECTOR_ROWS] =
            std::array::from_fn(|i| L::from_u64((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 7));
        let kept: Vec<u64> = (0..VECTOR_ROWS)
            .filter(|i| selected[i / 64] >> (i % 64) & 1 == 1)
            .map(|i| all[i].to_u64())
            .collect();
        for level in Level::available() {
            let mut values = all;
            let n = compress(level, &mut values, selected);
            assert_eq!(values[..n].iter().map(|v| v.to_u64()).collect::<Vec<_>>(), kept);
        }
    }

    proptest! {
        #[test]
        fn what_is_selected_is_kept(words in prop::array::uniform16(prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), (0..64u32).prop_map(|i| !(1 << i))])) {
            check::<u8>(&words);
            check::<u16>(&words);
            check::<u32>(&words);
            check::<u64>(&words);
        }
    }
}
