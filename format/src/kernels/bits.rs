//! Bits of masks: how many, and where.

use super::leveled;

leveled! {
    /// Number of bits set.
    pub fn ones<>(words: &[u64]) -> usize {
        words.iter().map(|w| w.count_ones() as usize).sum()
    }
}

leveled! {
    /// Appends the positions of the bits set, ascending; the first bit of `words` has position `first`.
    pub fn positions<>(words: &[u64], first: usize, out: &mut Vec<u32>) {
        for (i, word) in words.iter().enumerate() {
            let mut word = *word;
            let at = (first + i * 64) as u32;
            while word != 0 {
                out.push(at + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }
}
