//! Codes to values of a dictionary.

use super::widen::OutInt;
use super::{Level, extent, leveled};
use crate::limits::VECTOR_ROWS;
use crate::phys::Lane;

leveled! {
    /// # Safety
    /// Every code is below `table.len()`.
    fn gather_checked<C: Lane, O: OutInt>(codes: &[C], table: &[u64], signed: bool, out: &mut [O]) {
        let codes = &codes[..out.len()];
        O::fill_with(out, signed, |i| {
            // SAFETY: `gather`, the only caller, has compared the largest code with the table's length.
            unsafe { *table.get_unchecked(codes[i].to_u64() as usize) }
        });
    }
}

leveled! {
    /// `out[i] = reference + lanes[rows[i] % 1024] * factor`.
    pub fn pick<L: Lane>(lanes: &[L; VECTOR_ROWS], rows: &[u32], reference: u64, factor: u32, out: &mut [u64]) {
        let factor = u64::from(factor);
        for (out, row) in out.iter_mut().zip(rows) {
            let offset = lanes[*row as usize % VECTOR_ROWS].to_u64();
            *out = reference.wrapping_add(offset.wrapping_mul(factor));
        }
    }
}

leveled! {
    /// # Safety
    /// Every code is below `table.len()`.
    fn gather_views_checked<C: Lane>(codes: &[C], table: &[u128], out: &mut [u128]) {
        for (out, code) in out.iter_mut().zip(codes) {
            // SAFETY: `gather_views`, the only caller, has compared the largest code with the table's length.
            *out = unsafe { *table.get_unchecked(code.to_u64() as usize) };
        }
    }
}

/// `out[i] = table[codes[i]]` of 16-byte values; false, and `out` untouched, when a code lies outside the table.
#[must_use]
pub fn gather_views<C: Lane>(level: Level, codes: &[C], table: &[u128], out: &mut [u128]) -> bool {
    if !codes.is_empty() && extent::max(level, codes).to_u64() >= table.len() as u64 {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    if C::BITS == 8 && table.len() <= FEW && level.isa() == super::level::Isa::Avx512 {
        // SAFETY: the level says that the processor has the instructions, and `C` is a lane of 8 bits.
        unsafe { gather_few_avx512(bytemuck::cast_slice(codes), table, out) };
        return true;
    }
    gather_views_checked(level, codes, table, out);
    true
}

/// Values that two registers hold.
#[cfg(target_arch = "x86_64")]
const FEW: usize = 8;

/// Views of at most [`FEW`] values are permuted from registers, four at a time: most text columns worth a dictionary have so few.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn gather_few_avx512(codes: &[u8], table: &[u128], out: &mut [u128]) {
    use std::arch::x86_64::{
        __m512i, _mm_cvtsi64_si128, _mm512_cvtepu8_epi64, _mm512_or_si512, _mm512_permutex2var_epi64,
        _mm512_permutexvar_epi64, _mm512_set_epi64, _mm512_slli_epi64, _mm512_storeu_si512,
    };
    let mut few = [0u128; FEW];
    few[..table.len()].copy_from_slice(table);
    // SAFETY: sixteen words of plain data either way.
    let [first, second]: [__m512i; 2] = unsafe { std::mem::transmute(few) };
    let pairs = [_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0), _mm512_set_epi64(7, 7, 6, 6, 5, 5, 4, 4)];
    let halves = _mm512_set_epi64(1, 0, 1, 0, 1, 0, 1, 0);
    let n = codes.len().min(out.len());
    let (codes, out) = (&codes[..n], &mut out[..n]);
    let (eights, rest) = codes.as_chunks::<8>();
    let (outs, out_rest) = out.as_chunks_mut::<8>();
    for (codes, out) in eights.iter().zip(outs) {
        let doubled =
            _mm512_slli_epi64::<1>(_mm512_cvtepu8_epi64(_mm_cvtsi64_si128(i64::from_le_bytes(*codes))));
        for (pair, out) in pairs.iter().zip(out.as_chunks_mut::<4>().0) {
            let words = _mm512_or_si512(_mm512_permutexvar_epi64(*pair, doubled), halves);
            let views = _mm512_permutex2var_epi64(first, words, second);
            // SAFETY: four views are 64 bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), views) };
        }
    }
    for (out, code) in out_rest.iter_mut().zip(rest) {
        *out = few[usize::from(*code) % FEW];
    }
}

/// `out[i] = table[codes[i]]`; false, and `out` untouched, when a code lies outside the table.
#[must_use]
pub fn gather<C: Lane, O: OutInt>(
    level: Level,
    codes: &[C],
    table: &[u64],
    signed: bool,
    out: &mut [O],
) -> bool {
    let codes = &codes[..out.len()];
    if !codes.is_empty() && extent::max(level, codes).to_u64() >= table.len() as u64 {
        return false;
    }
    gather_checked(level, codes, table, signed, out);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn views_are_gathered_the_same_at_every_level(table in prop::collection::vec(any::<u128>(), 1..20), picks in prop::collection::vec(any::<u8>(), 0..200)) {
            let codes: Vec<u8> = picks.iter().map(|p| p % table.len() as u8).collect();
            let expected: Vec<u128> = codes.iter().map(|c| table[usize::from(*c)]).collect();
            let wide: Vec<u16> = codes.iter().map(|c| u16::from(*c)).collect();
            let outside: Vec<u8> = codes.iter().copied().chain([table.len() as u8]).collect();
            for level in Level::available() {
                let mut out = vec![0; codes.len()];
                prop_assert!(gather_views(level, &codes, &table, &mut out));
                prop_assert_eq!(&out, &expected);
                out.fill(0);
                prop_assert!(gather_views(level, &wide, &table, &mut out));
                prop_assert_eq!(&out, &expected);
                prop_assert!(!gather_views(level, &outside, &table, &mut vec![0; outside.len()]));
            }
        }
    }
}
