//! Which of a few values each value is.

use super::{Level, leveled};

/// Values that are told apart.
pub const FEW: usize = 8;
/// What stands for a value that is none of them.
pub const OTHER: u8 = u8::MAX;

/// Values that are gone over once for each of the few: few enough to stay in the nearest cache.
const BLOCK: usize = 512;

/// A value whose bits tell whether it is another.
pub trait Word: Copy + Send + Sync + 'static {
    /// Whether all bits are the same.
    fn is(self, other: Self) -> bool;
}

macro_rules! word {
    ($($t:ty),*) => {$(
        impl Word for $t {
            #[inline(always)]
            fn is(self, other: Self) -> bool { self == other }
        }
    )*};
}
word!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Word for [u64; 2] {
    #[inline(always)]
    fn is(self, other: Self) -> bool {
        // As words, because compilers vectorise those but not 128-bit integers.
        (self[0] ^ other[0]) | (self[1] ^ other[1]) == 0
    }
}

leveled! {
    fn which_block<T: Word>(values: &[T], few: &[T], out: &mut [u8]) -> u8 {
        out.fill(OTHER);
        for (number, one) in few.iter().enumerate() {
            let number = number as u8;
            for (out, value) in out.iter_mut().zip(values) {
                *out = if value.is(*one) { number } else { *out };
            }
        }
        out.iter().fold(0, |most, number| most.max(*number))
    }
}

/// Writes the position in `few`, of at most [`FEW`], of each value, [`OTHER`] where it is none of them; whether all are.
pub fn which<T: Word>(level: Level, values: &[T], few: &[T], out: &mut [u8]) -> bool {
    let few = &few[..few.len().min(FEW)];
    let blocks = values.chunks(BLOCK).zip(out.chunks_mut(BLOCK));
    blocks.fold(true, |all, (values, out)| (which_block(level, values, few, out) != OTHER) & all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check<T: Word + PartialEq>(values: &[T], few: &[T]) {
        let number = |v: &T| few.iter().rposition(|one| one == v).map_or(OTHER, |at| at as u8);
        let expected: Vec<u8> = values.iter().map(number).collect();
        for level in Level::available() {
            let mut out = vec![7; values.len()];
            assert_eq!(which(level, values, few, &mut out), !expected.contains(&OTHER));
            assert_eq!(out, expected);
        }
    }

    proptest! {
        #[test]
        fn values_are_found(picks in prop::collection::vec((0..10u8, any::<bool>()), 0..1200), few in 0..=FEW) {
            let words = |pick: &(u8, bool)| if pick.1 { [u64::from(pick.0), 1] } else { [1, u64::from(pick.0)] };
            let wide: Vec<[u64; 2]> = picks.iter().map(words).collect();
            let known: Vec<[u64; 2]> = (0..few as u8).map(|pick| words(&(pick, pick % 2 == 0))).collect();
            check(&wide, &known);
            let narrow: Vec<i32> = picks.iter().map(|pick| i32::from(pick.0)).collect();
            check(&narrow, &(0..few as i32).collect::<Vec<_>>());
            let bytes: Vec<u8> = picks.iter().map(|pick| pick.0).collect();
            check(&bytes, &(0..few as u8).collect::<Vec<_>>());
        }
    }
}
