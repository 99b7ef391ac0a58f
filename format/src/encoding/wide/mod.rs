//! Integers of 128 and 256 bits: decimals of more than 18 digits.
//!
//! * [`encode`] – the choice of a form, and the writing of it;
//! * [`decode`] – opening a node, ranges, rows and tests.
//!
//! | kind | buffers | children |
//! |---|---|---|
//! | plain | the values, little-endian | |
//! | constant | one value, or none when the node is empty | |
//! | narrow | | words of 64 bits, the lowest first: all but the last `U64`, the last `I64`, whose sign fills the rest |
//! | dictionary | | codes (`U8` or `U16`); distinct values, a plain node of the same type |
//!
//! Words cut the values where decimals rarely differ: the upper ones of most columns are constant, or take few values.

pub mod decode;
pub mod encode;

pub use decode::WideDecoder;
pub use encode::WideEncoder;

use std::fmt::Debug;
use std::hash::Hash;

use arrow_buffer::i256;

use crate::phys::PhysType;

/// Words of the widest type.
const WORDS_MAX: usize = 4;

/// `i128` or [`i256`].
trait Wide: Copy + Ord + Hash + Debug {
    const PTYPE: PhysType;
    const BYTES: usize;
    /// The value of the first `BYTES` bytes, little-endian.
    fn read(bytes: &[u8]) -> Self;
    /// Appends the value's bytes, little-endian.
    fn write(self, out: &mut Vec<u8>);
    /// The value's words, lowest first, with its sign in those it does not have.
    fn words(self) -> [u64; WORDS_MAX];
    /// The value of words, which are sign-extended.
    fn of_words(words: [u64; WORDS_MAX]) -> Self;
}

impl Wide for i128 {
    const PTYPE: PhysType = PhysType::I128;
    const BYTES: usize = 16;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(0, |b| Self::from_le_bytes(*b))
    }
    #[inline(always)]
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    #[inline(always)]
    fn words(self) -> [u64; WORDS_MAX] {
        let sign = (self >> 127) as u64;
        [self as u64, (self >> 64) as u64, sign, sign]
    }
    #[inline(always)]
    fn of_words(words: [u64; WORDS_MAX]) -> Self {
        (u128::from(words[0]) | u128::from(words[1]) << 64) as i128
    }
}

impl Wide for i256 {
    const PTYPE: PhysType = PhysType::I256;
    const BYTES: usize = 32;
    #[inline(always)]
    fn read(bytes: &[u8]) -> Self {
        bytes.first_chunk().map_or(Self::ZERO, |b| Self::from_le_bytes(*b))
    }
    #[inline(always)]
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    #[inline(always)]
    fn words(self) -> [u64; WORDS_MAX] {
        let (low, high) = self.to_parts();
        [low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64]
    }
    #[inline(always)]
    fn of_words(words: [u64; WORDS_MAX]) -> Self {
        let pair = |low: u64, high: u64| u128::from(low) | u128::from(high) << 64;
        Self::from_parts(pair(words[0], words[1]), pair(words[2], words[3]) as i128)
    }
}

#[cfg(test)]
mod tests;
