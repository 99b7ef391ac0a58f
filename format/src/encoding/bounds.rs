//! Checks of what callers ask for: ranges and rows inside a node. Slices are indexed only after one of these.

use crate::error::{FormatError, Result};

/// Checks that rows `start..start + n` lie in a node of `len` values.
#[inline]
pub(crate) fn check_range(len: usize, start: usize, n: usize) -> Result<()> {
    if start.checked_add(n).is_some_and(|end| end <= len) {
        Ok(())
    } else {
        Err(FormatError::invalid("reading values", format!("{n} values from {start} of a page of {len}")))
    }
}

/// Checks that every row lies in a node of `len` values, and that there is an output slot for each.
#[inline]
pub(crate) fn check_rows(len: usize, rows: &[u32], slots: usize) -> Result<()> {
    if rows.len() != slots {
        return Err(FormatError::invalid("taking values", format!("{} rows into {slots} slots", rows.len())));
    }
    match rows.iter().copied().max() {
        Some(last) if last as usize >= len => {
            Err(FormatError::invalid("taking values", format!("row {last} of a page of {len}")))
        }
        _ => Ok(()),
    }
}

/// Checks a filter's range, and that `words` has room for `n` bits.
#[inline]
pub(crate) fn check_mask(len: usize, start: usize, n: usize, words: usize) -> Result<()> {
    check_range(len, start, n)?;
    if words < n.div_ceil(64) {
        return Err(FormatError::invalid(
            "filtering values",
            format!("{n} rows into a mask of {words} words"),
        ));
    }
    Ok(())
}

/// Writes `n` bits of one value to a mask: all set or all clear. Bits past `n` in the last word are zero.
pub(crate) fn fill_words(words: &mut [u64], n: usize, value: bool) {
    let whole = n / 64;
    words[..whole].fill(if value { u64::MAX } else { 0 });
    if !n.is_multiple_of(64) {
        words[whole] = if value { (1 << (n % 64)) - 1 } else { 0 };
    }
}

/// Sets bits `start..end`.
pub(crate) fn set_range(words: &mut [u64], start: usize, end: usize) {
    let mut at = start;
    while at < end {
        let bit = at % 64;
        let n = (64 - bit).min(end - at);
        words[at / 64] |= (u64::MAX >> (64 - n)) << bit;
        at += n;
    }
}
