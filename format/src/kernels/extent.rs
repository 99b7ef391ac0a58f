//! Smallest and largest value.

use super::leveled;
use crate::phys::Lane;

leveled! {
    /// The smallest and the largest of the values, each value's bits xored with `flip` before comparing (the sign bit for
    /// signed lanes, so that they order as they should), as flipped lanes. Of no values: the largest lane and the smallest.
    fn extent_flipped<T: Lane>(values: &[T], flip: u64) -> (T, T) {
        let mut lo = T::from_u64(u64::MAX);
        let mut hi = T::from_u64(0);
        for v in values {
            let v = T::from_u64(v.to_u64() ^ flip);
            lo = lo.min(v);
            hi = hi.max(v);
        }
        (lo, hi)
    }
}

/// The smallest and the largest value in signed or unsigned order. Of no values: something with min > max.
pub fn extent<T: Lane>(level: super::Level, values: &[T], signed: bool) -> (T, T) {
    let flip = if signed { 1 << (T::BITS - 1) } else { 0 };
    let (lo, hi) = extent_flipped(level, values, flip);
    (T::from_u64(lo.to_u64() ^ flip), T::from_u64(hi.to_u64() ^ flip))
}

leveled! {
    /// The largest value; zero of none.
    pub fn max<T: Lane>(values: &[T]) -> T {
        values.iter().fold(T::from_u64(0), |hi, v| hi.max(*v))
    }
}
