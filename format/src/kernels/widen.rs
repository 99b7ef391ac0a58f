//! From offsets to values: `reference + offset * factor`, in the type the caller wants, and back.

use bytemuck::Pod;

use super::leveled;
use crate::phys::Lane;

/// A type that integers are decoded to: the unsigned lane of at least the stored width, or 128 bits for decimals.
///
/// Inside the encodings a value is its *canonical* 64 bits: sign-extended when its type is signed, else zero-extended.
pub trait OutInt: Pod + Send + Sync + 'static {
    /// Bits of a value.
    const BITS: usize;

    /// The value of canonical bits; `signed` says how they extend to more than 64.
    fn from_canonical(v: u64, signed: bool) -> Self;

    /// `out[i] = from_canonical(f(i))` for all of `out`.
    fn fill_with(out: &mut [Self], signed: bool, f: impl FnMut(usize) -> u64);
}

macro_rules! out_int {
    ($($t:ty),*) => {$(
        impl OutInt for $t {
            const BITS: usize = <$t>::BITS as usize;
            #[inline(always)]
            fn from_canonical(v: u64, _signed: bool) -> Self { v as $t }
            #[inline(always)]
            fn fill_with(out: &mut [Self], _signed: bool, mut f: impl FnMut(usize) -> u64) {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f(i) as $t;
                }
            }
        }
    )*};
}
out_int!(u8, u16, u32, u64);

impl OutInt for i128 {
    const BITS: usize = 128;

    #[inline(always)]
    fn from_canonical(v: u64, signed: bool) -> Self {
        if signed { i128::from(v as i64) } else { i128::from(v) }
    }

    #[inline(always)]
    fn fill_with(out: &mut [Self], signed: bool, mut f: impl FnMut(usize) -> u64) {
        // As pairs of words (little-endian), because compilers vectorise those but not 128-bit integers.
        let pairs: &mut [[u64; 2]] = bytemuck::cast_slice_mut(out);
        let sign = if signed { u64::MAX } else { 0 };
        for (i, o) in pairs.iter_mut().enumerate() {
            let v = f(i);
            *o = [v, ((v as i64 >> 63) as u64) & sign];
        }
    }
}

leveled! {
    /// `out[i] = reference + offsets[i]`.
    pub fn widen<L: Lane, O: OutInt>(offsets: &[L], reference: u64, signed: bool, out: &mut [O]) {
        let offsets = &offsets[..out.len()];
        O::fill_with(out, signed, |i| reference.wrapping_add(offsets[i].to_u64()));
    }
}

leveled! {
    /// `out[i] = reference + offsets[i] * factor`.
    pub fn widen_scaled<L: Lane, O: OutInt>(offsets: &[L], reference: u64, factor: u32, signed: bool, out: &mut [O]) {
        let offsets = &offsets[..out.len()];
        let factor = u64::from(factor);
        O::fill_with(out, signed, |i| reference.wrapping_add(offsets[i].to_u64().wrapping_mul(factor)));
    }
}

leveled! {
    /// `out[i] = values[i] - reference`, its low bits.
    pub fn narrow<T: Lane, L: Lane>(values: &[T], reference: u64, out: &mut [L]) {
        let values = &values[..out.len()];
        for (o, v) in out.iter_mut().zip(values) {
            *o = L::from_u64(v.to_u64().wrapping_sub(reference));
        }
    }
}

/// Divides exactly by one number, without a division.
#[derive(Debug, Clone, Copy)]
pub struct ExactDivisor {
    shift: u32,
    inverse: u64,
    quotient_max: u64,
}

impl ExactDivisor {
    /// A divisor; 0 counts as 1.
    pub fn new(divisor: u64) -> Self {
        let divisor = divisor.max(1);
        let shift = divisor.trailing_zeros();
        let odd = divisor >> shift;
        // Newton's iteration doubles the correct low bits each time: 5, 10, 20, 40, 80.
        let mut inverse = odd.wrapping_mul(3) ^ 2;
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self { shift, inverse, quotient_max: u64::MAX / divisor }
    }
}

leveled! {
    /// `out[i] = (values[i] - reference) / divisor` with differences in the width of `T`; whether all divided without a rest.
    pub fn divide_exact<T: Lane, L: Lane>(values: &[T], reference: u64, divisor: ExactDivisor, out: &mut [L]) -> bool {
        let values = &values[..out.len()];
        let mut exact = true;
        for (o, v) in out.iter_mut().zip(values) {
            let n = T::from_u64(v.to_u64().wrapping_sub(reference)).to_u64();
            // A multiple has zeros below, which rotate to the top and vanish; anything else comes out too large.
            let q = n.wrapping_mul(divisor.inverse).rotate_right(divisor.shift);
            exact &= q <= divisor.quotient_max;
            *o = L::from_u64(q);
        }
        exact
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::Level;

    proptest! {
        #[test]
        fn exact_division_tells_multiples(divisor in prop_oneof![1u64..1000, any::<u64>()], values in prop::collection::vec(any::<u64>(), 1..50)) {
            let divisor = divisor.max(1);
            let multiples: Vec<u64> = values.iter().map(|v| v / divisor * divisor).collect();
            for level in Level::available() {
                let mut out = vec![0u64; values.len()];
                prop_assert!(divide_exact(level, &multiples, 0, ExactDivisor::new(divisor), &mut out));
                prop_assert!(out.iter().zip(&values).all(|(q, v)| *q == v / divisor));
                let exact = divide_exact(level, &values, 0, ExactDivisor::new(divisor), &mut out);
                prop_assert_eq!(exact, values == multiples);
            }
        }

        #[test]
        fn widening_is_the_same_at_every_level(values in prop::collection::vec(any::<u32>(), 1..200), reference: u64, factor: u32, signed: bool) {
            let want: Vec<i128> = values.iter().map(|v| {
                let v = reference.wrapping_add(u64::from(*v).wrapping_mul(u64::from(factor)));
                if signed { i128::from(v as i64) } else { i128::from(v) }
            }).collect();
            for level in Level::available() {
                let mut out = vec![0i128; values.len()];
                widen_scaled(level, &values, reference, factor, signed, &mut out);
                prop_assert_eq!(&out, &want);
                let mut low = vec![0u32; values.len()];
                widen_scaled(level, &values, reference, factor, signed, &mut low);
                prop_assert!(low.iter().zip(&want).all(|(a, b)| *a == *b as u32));
            }
        }
    }
}
