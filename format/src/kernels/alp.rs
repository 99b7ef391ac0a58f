//! ALP's arithmetic: integers that decimals were, to floats and back.

use super::leveled;
use crate::encoding::float::Float;
use crate::phys::Lane;

/// How an integer `n` becomes a float: `n * up * down`, or `n * up / down`, each operation rounded to double.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The first factor, a power of ten.
    pub up: f64,
    /// The second factor, or the divisor.
    pub down: f64,
    /// Whether `down` divides.
    pub divides: bool,
}

impl Scale {
    /// The float of an integer's bits.
    #[inline(always)]
    pub fn apply<F: Float>(self, bits: F::Bits) -> F {
        let scaled = F::alp_integer(bits) * self.up;
        F::of_f64(if self.divides { scaled / self.down } else { scaled * self.down })
    }
}

/// Replaces each integer by its float's bits.
pub fn to_floats<F: Float>(level: super::Level, scale: Scale, values: &mut [F::Bits]) {
    if scale.divides {
        divided::<F>(level, scale.up, scale.down, values);
    } else {
        multiplied::<F>(level, scale.up, scale.down, values);
    }
}

leveled! {
    fn multiplied<F: Float>(up: f64, down: f64, values: &mut [F::Bits]) {
        for v in values {
            *v = Scale { up, down, divides: false }.apply::<F>(*v).bits();
        }
    }
}

leveled! {
    fn divided<F: Float>(up: f64, down: f64, values: &mut [F::Bits]) {
        for v in values {
            *v = Scale { up, down, divides: true }.apply::<F>(*v).bits();
        }
    }
}

leveled! {
    /// `out[i]` is the integer nearest to `values[i] * up * down`. Gives the number of values that `scale` does not bring back
    /// bit for bit, or whose integer leaves [`Float::ALP_RANGE`].
    pub fn to_integers<F: Float>(values: &[F], up: f64, down: f64, scale: Scale, out: &mut [F::Bits]) -> usize {
        let values = &values[..out.len()];
        let mut misses = 0;
        for (o, v) in out.iter_mut().zip(values) {
            let n = F::alp_round(v.to_f64() * up * down);
            let bits = F::Bits::from_u64(n as u64);
            *o = bits;
            misses += usize::from(!comes_back(*v, n, bits, scale));
        }
        misses
    }
}

/// Whether `scale` makes `v` of the integer that was found for it.
#[inline(always)]
pub fn comes_back<F: Float>(v: F, n: i64, bits: F::Bits, scale: Scale) -> bool {
    let exact = scale.apply::<F>(bits).bits() == v.bits();
    n >= F::ALP_RANGE.0 && n <= F::ALP_RANGE.1 && exact
}

leveled! {
    /// `right[i] |= left[codes[i] % 8]`.
    pub fn join<T: Lane>(codes: &[u8], left: &[u64; 8], right: &mut [T]) {
        let codes = &codes[..right.len()];
        for (r, c) in right.iter_mut().zip(codes) {
            *r = T::from_u64(r.to_u64() | left[usize::from(*c & 7)]);
        }
    }
}
