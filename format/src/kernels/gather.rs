//! Codes to values of a dictionary.

use super::widen::OutInt;
use super::{Level, extent, leveled};
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
    gather_views_checked(level, codes, table, out);
    true
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
