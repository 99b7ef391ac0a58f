//! Codes to the symbols that they stand for, one after another.
//!
//! A symbol has 0 to 8 bytes, so each store depends on how long the symbols before were. The portable loop stores one symbol at a
//! time, which costs two cycles each. With AVX-512 VBMI2 eight symbols are put side by side in a register, the bytes that are
//! theirs are moved together, and one store writes all of them: about a third of that.

use super::level::Level;

/// Bytes that may be written past the end of what was decoded.
pub const SLACK: usize = 64;

/// What codes stand for.
#[derive(Debug, Clone)]
pub struct Symbols {
    /// The bytes of each symbol, the first one lowest.
    words: [u64; 256],
    lens: [u8; 256],
    /// A bit for each byte that a symbol has, from the lowest on.
    masks: [u8; 256],
}

impl Symbols {
    /// Of no symbols: every code stands for nothing.
    pub fn none() -> Self {
        Self { words: [0; 256], lens: [0; 256], masks: [0; 256] }
    }

    /// Makes `code` stand for the lowest `len` bytes of `word`, 1 to 8.
    #[inline]
    pub fn set(&mut self, code: usize, word: u64, len: u8) {
        self.words[code] = word;
        self.lens[code] = len;
        self.masks[code] = (0xff_u16 >> (8 - len)) as u8;
    }

    /// The symbol of a code and its length.
    #[inline]
    pub fn get(&self, code: u8) -> (u64, usize) {
        (self.words[code as usize], self.lens[code as usize] as usize)
    }

    /// Writes what `codes` stand for to the start of `out`, until there are `enough` bytes, and returns how many there are. The code
    /// after an `escape` stands for itself. `None` when an escape is cut off or `out` is full. Bytes of `out` past what is returned
    /// may be overwritten.
    #[inline]
    pub fn decode(
        &self,
        level: Level,
        codes: &[u8],
        out: &mut [u8],
        enough: usize,
        escape: u8,
    ) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        if level.has_vbmi2() {
            // SAFETY: the level is only made where the processor has the instructions.
            let (i, o) = unsafe { self.decode_vbmi2(codes, out, enough, escape) };
            return self.decode_singly(codes, out, enough, escape, (i, o));
        }
        let _ = level;
        let done = self.decode_words(codes, out, enough, escape);
        self.decode_singly(codes, out, enough, escape, done)
    }

    /// Goes on from where so many codes have become so many bytes, to the last byte of both.
    fn decode_singly(
        &self,
        codes: &[u8],
        out: &mut [u8],
        enough: usize,
        escape: u8,
        (mut i, mut o): (usize, usize),
    ) -> Option<usize> {
        while let Some(&code) = codes.get(i)
            && o < enough
        {
            i += 1;
            if code == escape {
                *out.get_mut(o)? = *codes.get(i)?;
                i += 1;
                o += 1;
            } else {
                let (symbol, n) = self.get(code);
                out.get_mut(o..o + n)?.copy_from_slice(&symbol.to_le_bytes()[..n]);
                o += n;
            }
        }
        Some(o)
    }

    /// Decodes eight codes at a time while there are eight, and room for what eight can become.
    #[inline(always)]
    fn decode_words(&self, codes: &[u8], out: &mut [u8], enough: usize, escape: u8) -> (usize, usize) {
        let (mut i, mut o) = (0, 0);
        let Some(last) = out.len().checked_sub(SLACK) else { return (0, 0) };
        let dst = out.as_mut_ptr();
        let pattern = u64::from_ne_bytes([escape; 8]);
        while i + 8 <= codes.len() && o <= last && o < enough {
            // SAFETY: `i + 8 <= codes.len()`.
            let word = u64::from_le(unsafe { codes.as_ptr().add(i).cast::<u64>().read_unaligned() });
            // The lowest zero byte of the difference is the first escape; bits above it may be wrong, which is not asked for.
            let diff = word ^ pattern;
            let escapes = diff.wrapping_sub(0x0101_0101_0101_0101) & !diff & 0x8080_8080_8080_8080;
            let plain = (escapes.trailing_zeros() / 8) as usize;
            let mut store = |code: u64| {
                let (symbol, len) = self.get(code as u8);
                // SAFETY: at most eight symbols of at most 8 bytes, each stored as 8 bytes, end at `o + SLACK <= out.len()`.
                unsafe { dst.add(o).cast::<[u8; 8]>().write_unaligned(symbol.to_le_bytes()) };
                o += len;
            };
            if plain == 8 {
                for k in 0..8 {
                    store(word >> (8 * k));
                }
                i += 8;
            } else {
                for k in 0..plain {
                    store(word >> (8 * k));
                }
                i += plain;
                let Some(&literal) = codes.get(i + 1) else { break };
                // SAFETY: at most seven symbols were stored, so `o < out.len()`.
                unsafe { dst.add(o).write(literal) };
                o += 1;
                i += 2;
            }
        }
        (i, o)
    }

    /// As [`Self::decode_words`], of up to 64 codes at a time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn decode_vbmi2(&self, codes: &[u8], out: &mut [u8], enough: usize, escape: u8) -> (usize, usize) {
        use std::arch::x86_64::{
            _mm512_cmpeq_epi8_mask, _mm512_loadu_si512, _mm512_mask_blend_epi8, _mm512_maskz_compress_epi8,
            _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8, _mm512_movepi8_mask, _mm512_permutex2var_epi8,
            _mm512_set_epi64, _mm512_set1_epi8, _mm512_storeu_si512,
        };
        let (mut i, mut o) = (0, 0);
        let Some(last) = out.len().checked_sub(SLACK) else { return (0, 0) };
        let dst = out.as_mut_ptr();
        // SAFETY: four stretches of 64 bytes of an array of 256.
        let masks = unsafe {
            let at = self.masks.as_ptr();
            [0, 64, 128, 192].map(|from| _mm512_loadu_si512(at.add(from).cast()))
        };
        let escapes = _mm512_set1_epi8(escape as i8);
        let mut rest = [0u8; 64];
        while i < codes.len() && o < enough {
            let left = codes.len() - i;
            let (block, words) = if left >= 64 {
                // SAFETY: there are 64 codes from `i` on.
                unsafe {
                    let at = codes.as_ptr().add(i);
                    (_mm512_loadu_si512(at.cast()), at)
                }
            } else {
                // SAFETY: only the bytes of the codes that are left are loaded; `rest` has 64 bytes.
                unsafe {
                    let block = _mm512_maskz_loadu_epi8((1 << left) - 1, codes.as_ptr().add(i).cast());
                    _mm512_storeu_si512(rest.as_mut_ptr().cast(), block);
                    (block, rest.as_ptr())
                }
            };
            let n = left.min(_mm512_cmpeq_epi8_mask(block, escapes).trailing_zeros() as usize);
            let low = _mm512_permutex2var_epi8(masks[0], block, masks[1]);
            let high = _mm512_permutex2var_epi8(masks[2], block, masks[3]);
            let mut kept = _mm512_mask_blend_epi8(_mm512_movepi8_mask(block), low, high);
            if n < 64 {
                // Codes from the escape or the end on stand for nothing here.
                kept = _mm512_maskz_mov_epi8((1 << n) - 1, kept);
            }
            let mut lanes = [0u64; 8];
            // SAFETY: both are 64 bytes.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), kept) };
            for (group, kept) in lanes.into_iter().enumerate().take(n.div_ceil(8)) {
                if o > last {
                    return (i + 8 * group, o);
                }
                // SAFETY: one of eight words of the 64 bytes at `words`.
                let word = u64::from_le(unsafe { words.add(8 * group).cast::<u64>().read_unaligned() });
                let symbol = |k: u32| self.words[(word >> (8 * k)) as u8 as usize] as i64;
                let side_by_side = _mm512_set_epi64(
                    symbol(7),
                    symbol(6),
                    symbol(5),
                    symbol(4),
                    symbol(3),
                    symbol(2),
                    symbol(1),
                    symbol(0),
                );
                let together = _mm512_maskz_compress_epi8(kept, side_by_side);
                // SAFETY: `o + SLACK <= out.len()`.
                unsafe { _mm512_storeu_si512(dst.add(o).cast(), together) };
                o += kept.count_ones() as usize;
            }
            i += n;
            if n < left.min(64) {
                let (Some(&literal), Some(place)) = (codes.get(i + 1), out.get_mut(o)) else { return (i, o) };
                *place = literal;
                o += 1;
                i += 2;
            }
        }
        (i, o)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_become_symbols_at_every_level(
            lens in prop::collection::vec(1u8..=8, 0..=255),
            codes in prop::collection::vec(any::<u8>(), 0..700),
            escape in prop::sample::select(vec![255u8, 255, 7]),
            room in 0usize..6000,
            enough in prop::sample::select(vec![usize::MAX, 100, 900]),
            rare in any::<bool>(),
        ) {
            let mut symbols = Symbols::none();
            for (code, &len) in lens.iter().enumerate() {
                let word = (code as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 8 * u32::from(len));
                symbols.set(code, word, len);
                prop_assert_eq!(symbols.get(code as u8), (word, len as usize));
            }
            // Long stretches without the escape.
            let codes: Vec<u8> =
                codes.into_iter().map(|c| if c == escape && rare { c.wrapping_add(1) } else { c }).collect();
            let (mut expected, mut is_cut_off, mut i) = (Vec::new(), false, 0);
            while i < codes.len() && expected.len() < enough {
                if codes[i] == escape {
                    is_cut_off = i + 1 == codes.len();
                    expected.extend(codes.get(i + 1));
                    i += 2;
                } else {
                    let (word, n) = symbols.get(codes[i]);
                    expected.extend_from_slice(&word.to_le_bytes()[..n]);
                    i += 1;
                }
            }
            for level in Level::available() {
                let mut out = vec![0xAA; room];
                let decoded = symbols.decode(level, &codes, &mut out, enough, escape);
                if is_cut_off || expected.len() > room {
                    // Where it went past `enough` it met what comes after.
                    prop_assert_eq!(decoded, None);
                } else if let Some(n) = decoded {
                    prop_assert!(n >= expected.len() && (enough == usize::MAX || n <= expected.len() + 512));
                    prop_assert_eq!(&out[..expected.len()], &expected);
                    prop_assert!(enough < usize::MAX || n == expected.len());
                } else {
                    prop_assert!(enough < usize::MAX, "it failed without reason");
                }
            }
        }
    }
}
