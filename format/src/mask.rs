//! Selection masks: one bit a row.

use std::ops::Range;

use crate::kernels::compress::Selected;
use crate::kernels::{Level, bits};
use crate::limits::VECTOR_ROWS;

/// A mask over rows, LSB first in 64-bit words; bits past `len` are zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BitMask {
    words: Vec<u64>,
    len: usize,
}

impl BitMask {
    /// All bits clear.
    pub fn zeros(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(64)], len }
    }

    /// All bits set.
    pub fn ones(len: usize) -> Self {
        let mut mask = Self { words: vec![u64::MAX; len.div_ceil(64)], len };
        mask.clear_tail();
        mask
    }

    fn clear_tail(&mut self) {
        let tail = self.len % 64;
        if tail != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << tail) - 1;
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the mask covers no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The words.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The words, to write results into; call [`BitMask::trim`] after writing whole words.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Clears what whole-word writes left past the last row.
    pub fn trim(&mut self) {
        self.clear_tail();
    }

    /// Whether row `i` is selected.
    pub fn get(&self, i: usize) -> bool {
        self.words[i / 64] >> (i % 64) & 1 != 0
    }

    /// Selects row `i`.
    pub fn set(&mut self, i: usize) {
        self.words[i / 64] |= 1 << (i % 64);
    }

    /// Sets or clears rows `start..end`.
    pub fn fill(&mut self, start: usize, end: usize, value: bool) {
        let mut i = start;
        while i < end {
            let bit = i % 64;
            let n = (64 - bit).min(end - i);
            let m = if n == 64 { u64::MAX } else { ((1u64 << n) - 1) << bit };
            if value {
                self.words[i / 64] |= m;
            } else {
                self.words[i / 64] &= !m;
            }
            i += n;
        }
    }

    /// Number of selected rows.
    pub fn count(&self) -> usize {
        bits::ones(Level::current(), &self.words)
    }

    /// The words that rows `start..end` lie in, of which there is at least one: the number of the first, it and the last without
    /// the bits of other rows (nothing of the last if it is the first), and those between.
    fn span(&self, start: usize, end: usize) -> (usize, u64, &[u64], u64) {
        let (first, last) = (start / 64, (end - 1) / 64);
        let head = self.words[first] & u64::MAX << (start % 64);
        let tail = u64::MAX >> (63 - (end - 1) % 64);
        if first == last {
            (first, head & tail, &[], 0)
        } else {
            (first, head, &self.words[first + 1..last], self.words[last] & tail)
        }
    }

    /// Number of selected rows in `start..end`.
    pub fn count_range(&self, start: usize, end: usize) -> usize {
        if start >= end {
            return 0;
        }
        let (_, head, between, tail) = self.span(start, end);
        (head.count_ones() + tail.count_ones()) as usize + bits::ones(Level::current(), between)
    }

    /// Whether any row of `start..end` is selected.
    pub fn any_range(&self, start: usize, end: usize) -> bool {
        if start >= end {
            return false;
        }
        let (_, head, between, tail) = self.span(start, end);
        head | tail != 0 || between.iter().any(|&w| w != 0)
    }

    /// Whether no row is selected.
    pub fn none(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Whether every row is selected.
    pub fn all(&self) -> bool {
        self.count() == self.len
    }

    /// Keeps rows selected in both. The masks must be of one length.
    pub fn and(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// Keeps rows selected in either. The masks must be of one length.
    pub fn or(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    /// Keeps rows selected in `self` but not in `other`.
    pub fn and_not(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// Inverts every row.
    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|w| *w = !*w);
        self.clear_tail();
    }

    /// Appends the selected rows of `start..end` to `out`, ascending.
    pub fn indices(&self, start: usize, end: usize, out: &mut Vec<u32>) {
        if start >= end {
            return;
        }
        let level = Level::current();
        let (first, head, between, tail) = self.span(start, end);
        bits::positions(level, &[head], first * 64, out);
        bits::positions(level, between, (first + 1) * 64, out);
        bits::positions(level, &[tail], (end - 1) / 64 * 64, out);
    }
}

/// How many rows each vector of a mask has, from its first on.
pub(crate) fn counts_of_vectors(mask: &BitMask) -> Vec<u16> {
    let level = Level::current();
    mask.words.chunks(VECTOR_ROWS / 64).map(|words| bits::ones(level, words) as u16).collect()
}

/// Which rows of a page are selected: bits of a unit's mask, of which the page's begin somewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection<'m> {
    mask: &'m BitMask,
    /// [`counts_of_vectors`], or nothing.
    counts: &'m [u16],
    first: usize,
}

impl<'m> Selection<'m> {
    /// Of a page whose first row has bit `first`. With [`counts_of_vectors`] nothing is counted for each page again.
    pub(crate) fn new(mask: &'m BitMask, counts: &'m [u16], first: usize) -> Self {
        Self { mask, counts, first }
    }

    /// Whether the bits of a vector are whole words.
    pub(crate) fn is_by_vectors(self) -> bool {
        self.first.is_multiple_of(64)
    }

    /// The bits of vector `v` of the page, none of rows outside `rows`, and how many are set; `room` is for those that are not in the mask as they are.
    pub(crate) fn of_vector<'a>(
        &'a self,
        v: usize,
        rows: &Range<usize>,
        room: &'a mut Selected,
    ) -> (&'a Selected, usize) {
        let first = v * VECTOR_ROWS;
        let (from, to) = (rows.start.saturating_sub(first), rows.end.saturating_sub(first));
        let bit = self.first + first;
        let words = &self.mask.words[(bit / 64).min(self.mask.words.len())..];
        // Most vectors are wanted whole.
        if from == 0
            && to >= VECTOR_ROWS
            && let Some(whole) = words.first_chunk()
        {
            let counted = self.counts.get(bit / VECTOR_ROWS).filter(|_| bit.is_multiple_of(VECTOR_ROWS));
            let count = counted.map_or_else(|| bits::ones(Level::current(), whole), |n| usize::from(*n));
            return (whole, count);
        }
        for (i, word) in room.iter_mut().enumerate() {
            let below = |row: usize| match row.saturating_sub(i * 64) {
                bits @ 0..64 => (1u64 << bits) - 1,
                _ => u64::MAX,
            };
            *word = words.get(i).copied().unwrap_or(0) & below(to) & !below(from);
        }
        (room, bits::ones(Level::current(), room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted_and_found() {
        for len in [1usize, 63, 64, 65, 130, 200] {
            for set in (0..len).step_by(7) {
                let mut mask = BitMask::zeros(len);
                mask.set(set);
                for start in 0..=len {
                    for end in start..=len {
                        let hit = (start..end).contains(&set);
                        assert_eq!(mask.any_range(start, end), hit, "{set} in {start}..{end}");
                        assert_eq!(mask.count_range(start, end), usize::from(hit));
                        let mut found = Vec::new();
                        mask.indices(start, end, &mut found);
                        assert_eq!(found, if hit { vec![set as u32] } else { Vec::new() });
                    }
                }
            }
        }
    }
}
