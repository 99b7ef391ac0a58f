//! Differences to values.

use super::leveled;
use super::widen::OutInt;

leveled! {
    /// `out[i] = base + deltas[0] + … + deltas[i]`, in the wrapping arithmetic of `bits`-bit integers, extended to 64 bits with
    /// their sign if `signed`.
    pub fn prefix_sum<O: OutInt>(deltas: &[u64], base: u64, bits: u32, signed: bool, out: &mut [O]) {
        let deltas = &deltas[..out.len()];
        let shift = 64 - bits;
        let mut sum = base;
        if O::BITS <= bits as usize || shift == 0 {
            O::fill_with(out, signed, |i| {
                sum = sum.wrapping_add(deltas[i]);
                sum
            });
        } else if signed {
            O::fill_with(out, signed, |i| {
                sum = sum.wrapping_add(deltas[i]);
                ((sum << shift) as i64 >> shift) as u64
            });
        } else {
            O::fill_with(out, signed, |i| {
                sum = sum.wrapping_add(deltas[i]);
                sum << shift >> shift
            });
        }
    }
}
