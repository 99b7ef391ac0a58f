//! Differences to values.

use super::leveled;
use super::widen::OutInt;

/// Differences summed on their own, before what came before is added.
const GROUP: usize = 8;

leveled! {
    /// `out[i] = base + deltas[0] + … + deltas[i]`, in the wrapping arithmetic of `bits`-bit integers, extended to 64 bits with
    /// their sign if `signed`.
    pub fn prefix_sum<O: OutInt>(deltas: &[u64], base: u64, bits: u32, signed: bool, out: &mut [O]) {
        let deltas = &deltas[..out.len()];
        let shift = 64 - bits;
        let sign = signed && shift > 0 && O::BITS > bits as usize;
        let mut before = base;
        for (deltas, out) in deltas.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
            // Sums of a group don't wait for those of the group before.
            let mut sums = [0u64; GROUP];
            let mut sum = 0u64;
            for (s, d) in sums.iter_mut().zip(deltas) {
                sum = sum.wrapping_add(*d);
                *s = sum;
            }
            if sign {
                O::fill_with(out, signed, |i| ((before.wrapping_add(sums[i]) << shift) as i64 >> shift) as u64);
            } else {
                O::fill_with(out, signed, |i| before.wrapping_add(sums[i]) << shift >> shift);
            }
            before = before.wrapping_add(sum);
        }
    }
}

leveled! {
    /// The sum of differences, in wrapping arithmetic.
    pub fn sum<>(deltas: &[u64]) -> u64 {
        deltas.iter().fold(0u64, |sum, d| sum.wrapping_add(*d))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::Level;

    proptest! {
        #[test]
        fn sums_are_the_same_at_every_level(deltas in prop::collection::vec(any::<u64>(), 0..60), base: u64, bits in prop::sample::select(vec![8u32, 16, 32, 64]), signed: bool) {
            let mut sum = base;
            let expected: Vec<u64> = deltas.iter().map(|d| {
                sum = sum.wrapping_add(*d);
                let low = sum << (64 - bits);
                if signed { (low as i64 >> (64 - bits)) as u64 } else { low >> (64 - bits) }
            }).collect();
            for level in Level::available() {
                prop_assert_eq!(super::sum(level, &deltas), deltas.iter().fold(0u64, |a, d| a.wrapping_add(*d)));
                let mut out = vec![0u64; deltas.len()];
                prefix_sum(level, &deltas, base, bits, signed, &mut out);
                prop_assert_eq!(&out, &expected);
                let mut bytes = vec![0u8; deltas.len()];
                prefix_sum(level, &deltas, base, bits, signed, &mut bytes);
                prop_assert!(bytes.iter().zip(&expected).all(|(b, e)| *b == *e as u8));
            }
        }
    }
}
